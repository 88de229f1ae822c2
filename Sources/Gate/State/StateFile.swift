// The file in which a gate keeps bucket levels and totals across a restart: bytes to a value, and back.
// It relies on nothing that stands in it: a number out of its bounds, or a member that is missing, makes it foreign.
package import Policy
import Wire

package struct KeptState: Equatable, Sendable {
  package var savedMs: Int64
  package var buckets: [BucketLevelKept] = []
  package var totals = KeptTotals()

  package init(savedMs: Int64) { self.savedMs = savedMs }
}

package struct KeptTotals: Equatable, Sendable {
  package var tunnels = [Int](repeating: 0, count: TunnelKind.allCases.count)
  package var requests = 0
  package var queries = 0
  package var bytesUp = 0
  package var bytesDown = 0

  package init() {}
}

package enum StateFile {
  package static let name = "state.json"
  package static let bytesMax = 64 << 20
  private static let version = 1
  /// 35 years in microseconds, as a bucket's window has them at most.
  private static let debtUsMax = 1 << 50

  package static func bytes(_ state: KeptState) -> [UInt8] {
    let buckets = state.buckets.map { bucket in
      JSONValue.object([
        JSONMember("client", .text(bucket.key.client)), JSONMember("rule", .text(bucket.key.rule)),
        JSONMember("limit", .text(bucket.key.kind.rawValue)),
        JSONMember("debt_us", .number(min(Int(clamping: bucket.debtUs), debtUsMax))),
      ])
    }
    let totals = state.totals
    return JSONValue.object([
      JSONMember("sluice_state", .number(version)), JSONMember("saved_ms", .number(Int(clamping: state.savedMs))),
      JSONMember("buckets", .list(buckets)), JSONMember("tunnels", .list(totals.tunnels.map { .number($0) })),
      JSONMember("requests", .number(totals.requests)), JSONMember("queries", .number(totals.queries)),
      JSONMember("bytes_up", .number(totals.bytesUp)), JSONMember("bytes_down", .number(totals.bytesDown)),
    ]).line
  }

  private static func parse(_ bytes: [UInt8]) -> JSONValue? {
    do throws(JSONProblem) { return try JSONValue.parse(bytes) } catch { return nil }
  }

  /// nil for what is damaged, or no such file.
  package static func read(_ bytes: [UInt8]) -> KeptState? {
    guard let value = parse(bytes), value["sluice_state"]?.asNumber == version,
      let savedMs = value["saved_ms"]?.asNumber, savedMs > 0, let buckets = value["buckets"]
    else { return nil }
    var state = KeptState(savedMs: Int64(clamping: savedMs))
    for bucket in buckets.asList {
      guard let client = bucket["client"]?.asText, let rule = bucket["rule"]?.asText,
        let kind = bucket["limit"]?.asText.flatMap(LeaseKey.Kind.init(rawValue:)),
        let debtUs = bucket["debt_us"]?.asNumber, (0...debtUsMax).contains(debtUs)
      else { return nil }
      state.buckets.append(
        BucketLevelKept(key: LeaseKey(client: client, rule: rule, kind: kind), debtUs: UInt64(clamping: debtUs)))
    }
    func total(_ name: String) -> Int? { value[name]?.asNumber.flatMap { $0 >= 0 ? $0 : nil } }
    let tunnels = (value["tunnels"]?.asList ?? []).compactMap { $0.asNumber.flatMap { $0 >= 0 ? $0 : nil } }
    guard tunnels.count == TunnelKind.allCases.count, let requests = total("requests"), let queries = total("queries"),
      let up = total("bytes_up"), let down = total("bytes_down")
    else { return nil }
    state.totals.tunnels = tunnels
    (state.totals.requests, state.totals.queries) = (requests, queries)
    (state.totals.bytesUp, state.totals.bytesDown) = (up, down)
    return state
  }
}

extension Counters {
  package var kept: KeptTotals {
    var kept = KeptTotals()
    kept.tunnels = TunnelKind.allCases.map { Int(clamping: tunnels($0)) }
    (kept.requests, kept.queries) = (Int(clamping: requests), Int(clamping: queries))
    (kept.bytesUp, kept.bytesDown) = (Int(clamping: bytesUp), Int(clamping: bytesDown))
    return kept
  }

  package init(_ kept: KeptTotals) {
    self.init()
    for (kind, count) in zip(TunnelKind.allCases, kept.tunnels) { countTunnels(kind, UInt64(clamping: count)) }
    (requests, queries) = (UInt64(clamping: kept.requests), UInt64(clamping: kept.queries))
    addBytes(up: UInt64(clamping: kept.bytesUp), down: UInt64(clamping: kept.bytesDown))
  }
}
