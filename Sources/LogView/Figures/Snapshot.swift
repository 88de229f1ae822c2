// Figures as JSON, for one client or all, over one span of time: what the page draws, and docs/dashboard.md names.
// It relies on Figures, whose texts are printable ASCII alone; each list is bounded, and says how much it leaves out.
import Policy
package import Wire

package struct Snapshot {
  private static let bucketsMax = 30
  private static let refusedMax = 25
  private static let rowsMax = 50
  private static let clientsMax = 5
  private static let usesMax = 50

  private let figures: Figures
  private var gateNames: [String]
  /// nil: all.
  private var gate: String?
  /// nil: all.
  private let client: String?
  private let nowMs: Int64
  private let frame: TimeFrame

  package init(_ gates: GateFigures, gate: String?, client: String?, span: TimeSpan, nowMs: Int64) {
    self.init(gates.of(gate), client: client, span: span, nowMs: nowMs)
    self.gate = gate
    gateNames = gates.names
  }

  init(_ figures: Figures, client: String?, span: TimeSpan, nowMs: Int64) {
    self.figures = figures
    gateNames = figures.tally.gates
    self.client = client
    self.nowMs = nowMs
    frame = TimeFrame(
      span, nowMs: nowMs, firstMs: figures.firstMs ?? nowMs, lastMs: figures.firstMs == nil ? nowMs : figures.lastMs)
  }

  package var members: [JSONMember] {
    let share = client.map { figures.share(of: $0) } ?? figures.all
    return [
      JSONMember("v", .number(1)), JSONMember("gate", gate.map { .text($0) } ?? .null),
      JSONMember("gates", .list(gateNames.sorted().map { .text($0) })),
      JSONMember("client", client.map { .text($0) } ?? .null),
      JSONMember("span", .text(frame.span.rawValue)), JSONMember("first_ms", time(figures.firstMs)),
      JSONMember("last_ms", time(figures.firstMs.map { _ in figures.lastMs })),
      JSONMember("policy", .text(figures.policyHash)), JSONMember("has_policy", .bool(figures.policy != nil)),
      JSONMember("clients", .list(figures.clientNames.sorted().map { .text($0) })),
      JSONMember("totals", totals(share.totals)), JSONMember("timeline", timeline(share)),
      JSONMember("buckets", buckets), JSONMember("refused", refused), JSONMember("rows", rows),
      JSONMember("credentials", credentials), JSONMember("flagged", flagged), JSONMember("limits", limits),
      JSONMember("passwords", passwords), JSONMember("gate_lines", gateLines),
      JSONMember("events", .list(share.events.suffix(Figures.eventsMax).reversed().map(event))),
    ]
  }

  private func isWanted(_ name: String) -> Bool { client == nil || client == name }

  private func time(_ ms: Int64?) -> JSONValue { ms.map { .number(Int($0)) } ?? .null }

  private static func list(_ shown: [JSONValue], more: Int) -> JSONValue {
    .object([JSONMember("shown", .list(shown)), JSONMember("more", .number(more))])
  }

  private static func bytes(_ count: UInt64) -> JSONValue { .number(Int(clamping: count)) }

  // MARK: - Totals and courses

  private func totals(_ totals: Totals) -> JSONValue {
    let events = LogEventKind.allCases.map { JSONMember($0.rawValue, Self.reasons(totals[$0])) }
    return .object(
      [
        JSONMember("lines", .number(totals.lines)), JSONMember("tunnels", .number(totals.tunnels)),
        JSONMember("requests", .number(totals.requests)),
        JSONMember("inspected_requests", .number(totals.inspectedRequests)),
        JSONMember("bytes_up", Self.bytes(totals.bytesUp)), JSONMember("bytes_down", Self.bytes(totals.bytesDown)),
        JSONMember("would_deny", Self.reasons(totals.wouldDeny)),
      ] + events)
  }

  private static func reasons(_ reasons: Totals.Reasons) -> JSONValue {
    let named = reasons.byName.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    // A hostile log may name a reason `all`: the first one counts.
    let members = named.filter { $0.key != "all" }.map { JSONMember($0.key, .number($0.value)) }
    return .object([JSONMember("all", .number(reasons.all))] + members)
  }

  private func timeline(_ share: Figures.Share) -> JSONValue {
    let courses = Figures.Course.allCases.map { course in
      JSONValue.object([
        JSONMember("name", .text(course.rawValue)), JSONMember("values", values(share.courses[course.place])),
      ])
    }
    return .object([
      JSONMember("step_ms", .number(Int(frame.axis.stepMs))),
      JSONMember("first_ms", .number(Int(frame.axis.first * frame.axis.stepMs))),
      JSONMember("count", .number(frame.axis.count)), JSONMember("courses", .list(courses)),
    ])
  }

  /// Empty: nothing but zeros.
  private func values(_ series: TimeSeries?) -> JSONValue {
    let values = series?.values(frame) ?? []
    return .list(values.contains { $0 > 0 } ? values.map { .number($0) } : [])
  }

  // MARK: - Buckets

  private struct BucketUse {
    var lastMinute = 0
    var hosts: [String] = []
    var hostCount = 0
  }

  private var buckets: JSONValue {
    var uses: [Int: BucketUse] = [:]
    for row in figures.tally.rows where isWanted(row.key.client) {
      guard let bucket = row.bucket else { continue }
      uses[bucket, default: BucketUse()].lastMinute += row.recent.count(nowMs: nowMs)
      uses[bucket]?.hostCount += 1
      if let count = uses[bucket]?.hosts.count, count < 3 { uses[bucket]?.hosts.append(row.key.host) }
    }
    let levels = uses.map { index, use in
      (index: index, use: use, level: figures.tally.buckets[index].estimate.level(nowMs: nowMs))
    }
    let sorted = levels.sorted { one, other in
      let (left, right) = (Self.share(one.level), Self.share(other.level))
      if left != right { return left < right }
      return (other.use.lastMinute, one.index) < (one.use.lastMinute, other.index)
    }
    let shown = sorted.prefix(Self.bucketsMax).map { index, use, level in
      JSONValue.object([
        JSONMember("gate", .text(figures.tally.gates[figures.tally.buckets[index].key.gate])),
        JSONMember("client", .text(figures.tally.buckets[index].key.client)),
        JSONMember("rule", .text(figures.tally.buckets[index].key.rule)),
        JSONMember("hosts", .list(use.hosts.map { .text($0) })), JSONMember("host_count", .number(use.hostCount)),
        JSONMember("tokens", .number(level.tokens)), JSONMember("capacity", .number(level.capacity)),
        JSONMember("per_minute", .number(level.perMinute)), JSONMember("last_minute", .number(use.lastMinute)),
        JSONMember("values", values(figures.bucketCourses[index])),
      ])
    }
    return Self.list(Array(shown), more: sorted.count - shown.count)
  }

  private static func share(_ level: (tokens: Int, capacity: Int, perMinute: Int)) -> Double {
    Double(level.tokens) / Double(max(1, level.capacity))
  }

  // MARK: - Tables

  private var refused: JSONValue {
    let all = figures.refused.most(for: client)
    let shown = all.prefix(Self.refusedMax)
    let advice = Advice.of(Array(shown), names: all.compactMap(\.name), policy: figures.policy, nowMs: nowMs)
    let values = zip(shown, advice).map { entry, advice in
      JSONValue.object([
        JSONMember("target", .text(entry.text)),
        JSONMember("clients", .list(entry.clients.keys.sorted().prefix(Self.clientsMax).map { .text($0) })),
        JSONMember("client_count", .number(entry.clients.count)),
        JSONMember("count", .number(entry.count)), JSONMember("last_ms", .number(Int(entry.lastMs))),
        JSONMember(
          "reasons",
          .list(
            entry.reasons.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map {
              .object([JSONMember("reason", .text($0.key)), JSONMember("count", .number($0.value))])
            })),
        JSONMember("yaml", .text(advice.yaml)), JSONMember("warnings", Self.texts(advice.warnings)),
        JSONMember("notes", Self.texts(advice.notes)),
      ])
    }
    return .object([
      JSONMember("shown", .list(values)), JSONMember("more", .number(all.count - shown.count)),
      JSONMember("forgotten", .number(figures.refused.forgotten)),
    ])
  }

  private static func texts(_ texts: [String]) -> JSONValue { .list(texts.map { .text(TerminalText.safe($0.utf8)) }) }

  private var rows: JSONValue {
    let all = figures.tally.rows.filter { isWanted($0.key.client) }.sorted { one, other in
      let (left, right) = (one.requests + one.wouldDeny, other.requests + other.wouldDeny)
      if left != right { return left > right }
      return (one.key.client, one.key.host, one.key.gate) < (other.key.client, other.key.host, other.key.gate)
    }
    let shown = all.prefix(Self.rowsMax).map { row in
      JSONValue.object([
        JSONMember("gate", .text(figures.tally.gates[row.key.gate])), JSONMember("client", .text(row.key.client)),
        JSONMember("host", .text(row.key.host)),
        JSONMember("last_minute", .number(row.recent.count(nowMs: nowMs))), JSONMember("ended", .number(row.ended)),
        JSONMember("refused", .number(row.refused)), JSONMember("would_deny", .number(row.wouldDeny)),
        JSONMember("failed", .number(row.failed)), JSONMember("bytes_up", Self.bytes(row.bytesUp)),
        JSONMember("bytes_down", Self.bytes(row.bytesDown)),
      ])
    }
    return Self.list(shown, more: all.count - shown.count)
  }

  private func uses<Key>(
    _ table: CountTable<Key>, _ client: (Key) -> String, _ members: (Key) -> [JSONMember]
  ) -> JSONValue {
    let all = table.latest { isWanted(client($0)) }
    let shown = all.prefix(Self.usesMax).map { entry in
      JSONValue.object(
        [JSONMember("client", .text(client(entry.key)))] + members(entry.key) + [
          JSONMember("count", .number(entry.count)), JSONMember("last_ms", .number(Int(entry.lastMs))),
        ])
    }
    return .object([
      JSONMember("shown", .list(shown)), JSONMember("more", .number(all.count - shown.count)),
      JSONMember("beyond", .number(table.beyond)),
    ])
  }

  private var credentials: JSONValue {
    uses(figures.credentials, \.client) {
      [
        JSONMember("credential", .text($0.credential)), JSONMember("target", .text($0.target)),
        JSONMember("place", .text($0.place)), JSONMember("scrubbed", .bool($0.isScrubbed)),
      ]
    }
  }

  private var flagged: JSONValue {
    uses(figures.flagged, \.client) {
      [JSONMember("target", .text($0.target)), JSONMember("finding", .text($0.finding))]
    }
  }

  private var limits: JSONValue { uses(figures.limits, \.client) { [JSONMember("limit", .text($0.limit))] } }

  private var passwords: JSONValue {
    uses(figures.passwords, \.client) { [JSONMember("target", .text($0.target))] }
  }

  private var gateLines: JSONValue {
    let shown = figures.gates.entries.sorted { $0.name < $1.name }.map { gate in
      JSONValue.object([
        JSONMember("gate", .text(gate.name)), JSONMember("lines", .number(gate.lines)),
        JSONMember("refused", .number(gate.refused)), JSONMember("last_ms", .number(Int(clamping: gate.lastMs))),
      ])
    }
    return .object([JSONMember("shown", .list(shown)), JSONMember("beyond", .number(figures.gates.beyond))])
  }

  private func event(_ event: Figures.Event) -> JSONValue {
    .object([
      JSONMember("time_ms", .number(Int(event.timeMs))), JSONMember("event", .text(event.kind.rawValue)),
      JSONMember("gate", .text(figures.tally.gates[event.gate])),
      JSONMember("would_deny", .bool(event.isOnlyNoted)), JSONMember("client", .text(event.client)),
      JSONMember("target", .text(event.target)), JSONMember("reason", .text(event.reason)),
      JSONMember("rule", .text(event.rule)),
    ])
  }
}
