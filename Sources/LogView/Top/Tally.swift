// The counts of `sluice top` and `sluice dashboard`: per gate, client and host, requests of the last minute, bytes,
// refusals; and what buckets hold. It relies on bounds of its own; what the log does not say (which tunnels are open)
// is not guessed.
package import Policy
import Wire

package struct Tally: Sendable {
  /// More clients and hosts than this share one row.
  package static let rowsMax = 10_000
  package static let latestMax = 50
  static let othersName = "(others)"

  package struct Key: Hashable, Sendable {
    /// The gate's place among `gates`.
    package var gate = 0
    package var client: String
    package var host: String
  }

  package struct Row: Sendable {
    package let key: Key
    package var ended = 0
    package var failed = 0
    package var refused = 0
    package var wouldDeny = 0
    package var bytesUp: UInt64 = 0
    package var bytesDown: UInt64 = 0
    package var lastReason = ""
    var recent = RecentCounts(.lastMinute)
    /// Place of its bucket among `buckets`.
    var bucket: Int?

    package var requests: Int { ended + failed + refused }
  }

  package struct Refusal: Sendable {
    package var timeMs: Int64
    package var gate = 0
    package var client: String
    package var target: String
    package var reason: String
    package var isOnlyNoted: Bool
  }

  /// Each gate has buckets of its own.
  struct BucketKey: Hashable {
    var gate = 0
    var client: String
    var rule: String
  }

  private let policy: Policy?
  /// Names of gates, as lines tell them; one that has none is "-".
  package private(set) var gates: [String] = []
  private var gateIndexes: [ArraySlice<UInt8>: Int] = [:]
  /// Of the line before: most lines have the same.
  private var lastGate: (name: [UInt8], index: Int)?
  package private(set) var rows: [Row] = []
  private var indexes: [Key: Int] = [:]
  private(set) var buckets: [(key: BucketKey, estimate: BucketEstimate)] = []
  private var bucketIndexes: [BucketKey: Int] = [:]
  package private(set) var reasons: [String: Int] = [:]
  /// The newest last.
  package private(set) var latest: [Refusal] = []
  package private(set) var lines = 0
  package var broken = 0
  /// Gates whose shared limits are out of reach.
  package private(set) var unshared: Set<String> = []
  package private(set) var lastMs: Int64 = 0
  static let reasonsMax = 100
  private static let bucketsMax = 10_000
  /// More gates than this share one name.
  package static let gatesMax = 1000
  static let textBytesMax = 300

  /// A policy gives limits that no line has told yet.
  package init(policy: Policy? = nil) { self.policy = policy }

  /// The row that the line belongs to; nil when it is about no target.
  @discardableResult
  package mutating func add(_ line: borrowing LogLine) -> Int? {
    lines += 1
    let timeMs = line.timeMs ?? lastMs
    lastMs = max(lastMs, timeMs)
    let event = line.event
    if event == .limits { noteLimits(line) }
    guard !line.isProbe, Self.isCounted(line, event) else { return nil }
    let index = row(of: line)
    noteBucket(line, index, timeMs)
    rows[index].bytesUp = rows[index].bytesUp &+ (line.number(.bytesUp) ?? 0)
    rows[index].bytesDown = rows[index].bytesDown &+ (line.number(.bytesDown) ?? 0)
    let isNote = line.flag(.wouldDeny)
    switch event {
    case .denied, .limited, .flagged:
      if isNote { rows[index].wouldDeny += line.count } else { rows[index].refused += line.count }
      noteRefusal(line, index, timeMs, isNote)
    case .failed: rows[index].failed += line.count
    case .closed, .revoked: rows[index].ended += 1
    case .policy, .credential, .approval, .limits, .other: return nil
    }
    // A request that report mode lets out has another line at its end.
    if !isNote { rows[index].recent.add(line.startMs ?? timeMs, line.count) }
    return index
  }

  private static func isCounted(_ line: borrowing LogLine, _ event: LogEventKind) -> Bool {
    switch event {
    case .denied, .limited: true
    case .flagged: line.isRefusal
    case .closed, .failed, .revoked: line.has(.host)
    case .policy, .credential, .approval, .limits, .other: false
    }
  }

  /// Requests that began in the sixty seconds before.
  package func perMinute(_ row: Row, nowMs: Int64) -> Int { row.recent.count(nowMs: nowMs) }

  package func bucket(_ row: Row, nowMs: Int64) -> (tokens: Int, capacity: Int, perMinute: Int)? {
    row.bucket.map { buckets[$0].estimate.level(nowMs: nowMs) }
  }

  private mutating func row(of line: borrowing LogLine) -> Int {
    let key = Key(gate: gate(of: line), client: Self.short(line, .client), host: Self.short(line, .host))
    if let index = indexes[key] { return index }
    if rows.count < Self.rowsMax - 1 { return addRow(key) }
    let others = Key(gate: 0, client: Self.othersName, host: Self.othersName)
    return indexes[others] ?? addRow(others)
  }

  /// The place of the line's gate among `gates`.
  mutating func gate(of line: borrowing LogLine) -> Int {
    let name = line.bytes(.gate)?.prefix(Self.textBytesMax) ?? []
    if let lastGate, name.elementsEqual(lastGate.name) { return lastGate.index }
    let index = gateIndexes[name] ?? addGate(name)
    lastGate = (Array(name), index)
    return index
  }

  private mutating func addGate(_ name: ArraySlice<UInt8>) -> Int {
    guard gates.count < Self.gatesMax else {
      if gates.count == Self.gatesMax { gates.append(Self.othersName) }
      return Self.gatesMax
    }
    gates.append(name.isEmpty ? "-" : TerminalText.safe(name))
    gateIndexes[ArraySlice(Array(name))] = gates.count - 1
    return gates.count - 1
  }

  private mutating func addRow(_ key: Key) -> Int {
    rows.append(Row(key: key))
    indexes[key] = rows.count - 1
    return rows.count - 1
  }

  /// Client and host of a line, as a terminal may show them: the row has them, but for the row that many share.
  mutating func ownKey(_ index: Int?, _ line: borrowing LogLine) -> Key {
    if let index, index < Self.rowsMax - 1 { return rows[index].key }
    return Key(gate: gate(of: line), client: Self.short(line, .client), host: Self.short(line, .host))
  }

  /// As a terminal may show it, and no longer than a name can be.
  static func short(_ line: borrowing LogLine, _ field: LogField) -> String {
    line.bytes(field).map { TerminalText.safe($0.prefix(textBytesMax)) } ?? "-"
  }

  /// Of a sandbox's processes: such a line has no target and no reason.
  static func limit(_ line: borrowing LogLine) -> String? {
    let limit = line.others.first { $0.name.elementsEqual("limit".utf8) }
    return limit.map { TerminalText.safe($0.json.filter { $0 != UInt8(ascii: "\"") }.prefix(textBytesMax)) }
  }

  private mutating func noteLimits(_ line: borrowing LogLine) {
    let gate = Self.word(line, "gate") ?? "-"
    if Self.word(line, "state") != "lost" {
      unshared.remove(gate)
    } else if unshared.count < Self.gatesMax {
      unshared.insert(gate)
    }
  }

  private static func word(_ line: borrowing LogLine, _ name: String) -> String? {
    let field = line.others.first { $0.name.elementsEqual(name.utf8) }
    return field.map { TerminalText.safe($0.json.filter { $0 != UInt8(ascii: "\"") }.prefix(textBytesMax)) }
  }

  private mutating func noteRefusal(_ line: borrowing LogLine, _ index: Int, _ timeMs: Int64, _ isNote: Bool) {
    let reason = line.has(.reason) ? Self.short(line, .reason) : Self.limit(line) ?? "-"
    rows[index].lastReason = reason
    let counted = isNote ? "would deny: \(reason)" : reason
    if reasons[counted] != nil || reasons.count < Self.reasonsMax { reasons[counted, default: 0] += line.count }
    let key = ownKey(index, line)
    if latest.count == Self.latestMax { latest.removeFirst() }
    latest.append(
      Refusal(
        timeMs: timeMs, gate: key.gate, client: key.client, target: line.port.map { "\(key.host):\($0)" } ?? key.host,
        reason: reason, isOnlyNoted: isNote))
  }

  // MARK: - Buckets

  /// One bucket a (client, rule): a limited line tells its level, every other request takes one token.
  private mutating func noteBucket(_ line: borrowing LogLine, _ row: Int, _ timeMs: Int64) {
    guard line.has(.rule) else { return }
    let key = BucketKey(gate: rows[row].key.gate, client: rows[row].key.client, rule: Self.short(line, .rule))
    if let tokens = line.number(.tokens), let capacity = line.number(.capacity), let perMinute = line.number(.perMinute)
    {
      let estimate = BucketEstimate(
        tokens: Double(tokens), capacity: Double(capacity), perMinute: Double(perMinute), atMs: timeMs)
      if let index = bucketIndexes[key] { buckets[index].estimate = estimate } else { addBucket(key, estimate) }
      rows[row].bucket = bucketIndexes[key]
      return
    }
    if bucketIndexes[key] == nil, let policy, let limit = policy.limit(of: line) {
      let burst = Double(limit.burst)
      addBucket(key, BucketEstimate(tokens: burst, capacity: burst, perMinute: Double(limit.perMinute), atMs: timeMs))
    }
    rows[row].bucket = bucketIndexes[key]
    // A request that is denied after its verdict has taken a token too, but not one that a rule denies.
    guard let index = bucketIndexes[key], line.event == .closed || line.event == .failed else { return }
    buckets[index].estimate.take(atMs: timeMs)
  }

  private mutating func addBucket(_ key: BucketKey, _ estimate: BucketEstimate) {
    guard buckets.count < Self.bucketsMax else { return }
    buckets.append((key, estimate))
    bucketIndexes[key] = buckets.count - 1
  }
}

extension Policy {
  fileprivate func limit(of line: borrowing LogLine) -> RequestBucket? {
    guard let host = line.host, let port = line.port else { return nil }
    let client = line.text(.client)
    let network = clients.first { $0.name == client }?.network ?? fallback.network
    guard case .allow(let rule) = network.judge(Target(host: host, port: port), nowUnix: 0) else { return nil }
    return rule.requests
  }
}

/// Level of a bucket by now, from the last line that stated it.
struct BucketEstimate: Sendable {
  var tokens: Double
  let capacity: Double
  let perMinute: Double
  var atMs: Int64

  private func tokens(atMs: Int64) -> Double {
    min(capacity, tokens + Double(max(0, atMs - self.atMs)) / 60_000 * perMinute)
  }

  mutating func take(atMs: Int64) {
    tokens = max(0, tokens(atMs: atMs) - 1)
    self.atMs = max(self.atMs, atMs)
  }

  func level(nowMs: Int64) -> (tokens: Int, capacity: Int, perMinute: Int) {
    (Int(clamping: tokens(atMs: nowMs)), Int(clamping: capacity), Int(clamping: perMinute))
  }
}

extension Int {
  fileprivate init(clamping value: Double) {
    self = value >= 1e15 ? 1_000_000_000_000_000 : value.isFinite ? Int(value) : 0
  }
}
