// Which targets were refused most, for whom and why, with all that a rule for them is made of.
// It relies on a bound that does not favour the first: when there are too many, those that were refused least go.
import Policy
import Wire

struct RefusedTargets: Sendable {
  struct Key: Hashable, Sendable {
    let client: String
    let host: String
    let port: UInt16?

    var target: String { port.map { "\(host):\($0)" } ?? host }
  }

  struct Entry: Sendable {
    let key: Key
    var count = 0
    var lastMs: Int64 = 0
    var reasons: [String: Int] = [:]
    /// nil: the line named nothing that a rule can name.
    var target: Target?
    var name: HostName?
    var facts = Traffic.Facts()
  }

  static let max = 2000
  private static let reasonsMax = 30

  private var entries: [Key: Entry] = [:]
  /// Refusals of targets that gave way to others.
  private(set) var forgotten = 0

  mutating func add(_ line: borrowing LogLine, client: String, reason: String, _ timeMs: Int64) {
    let key = Key(client: client, host: Tally.short(line, .host), port: line.port)
    if entries[key] == nil {
      if entries.count == Self.max * 2 { trim() }
      entries[key] = Self.entry(key, line)
    }
    guard let index = entries.index(forKey: key) else { return }
    entries.values[index].note(line, reason, timeMs, reasonsMax: Self.reasonsMax)
  }

  /// What the same target is let out between two refusals tells how fast it is asked for.
  mutating func addLetOut(_ line: borrowing LogLine, client: String) {
    let key = Key(client: client, host: Tally.short(line, .host), port: line.port)
    if let index = entries.index(forKey: key) { entries.values[index].facts.add(line) }
  }

  private static func entry(_ key: Key, _ line: borrowing LogLine) -> Entry {
    var entry = Entry(key: key)
    guard let host = line.host else { return entry }
    if case .name(let name) = host { entry.name = name }
    if let port = key.port, port > 0 { entry.target = Target(host: host, port: port) }
    return entry
  }

  /// Most refusals first; of two, the later one.
  func most(where isWanted: (Key) -> Bool) -> [Entry] {
    entries.values.filter { isWanted($0.key) }.sorted(by: Self.isBefore)
  }

  private static func isBefore(_ one: Entry, _ other: Entry) -> Bool {
    if one.count != other.count { return one.count > other.count }
    if one.lastMs != other.lastMs { return one.lastMs > other.lastMs }
    return (one.key.client, one.key.target) < (other.key.client, other.key.target)
  }

  private mutating func trim() {
    for entry in most(where: { _ in true }).dropFirst(Self.max) {
      entries[entry.key] = nil
      forgotten += entry.count
    }
  }
}

extension RefusedTargets.Entry {
  fileprivate mutating func note(
    _ line: borrowing LogLine, _ reason: String, _ timeMs: Int64, reasonsMax: Int
  ) {
    count += 1
    lastMs = timeMs
    if reasons[reason] != nil || reasons.count < reasonsMax { reasons[reason, default: 0] += 1 }
    facts.add(line)
  }
}

/// What would let a refused target out: rules to paste, what to look at first, or why no rule is proposed.
struct Advice: Sendable {
  var yaml = ""
  var warnings: [String] = []
  var notes: [String] = []

  /// For each entry one. `names` are all that were refused: many below one parent are a sign.
  static func of(_ entries: [RefusedTargets.Entry], names: [HostName], policy: Policy?, nowMs: Int64) -> [Advice] {
    var options = ProposalOptions()
    options.base = policy
    let suspicion = Suspicion(trusted: Proposal.trusted(policy), seen: names)
    return entries.map { entry in
      guard let target = entry.target else { return withoutPort(entry) }
      var targets: [Traffic.Key: Traffic.Facts] = [:]
      targets[Traffic.Key(client: entry.key.client, target: target)] = entry.facts
      let proposal = Proposal(Traffic(targets), options, nowUnix: nowMs / 1000, suspicion)
      return Advice(proposal, of: entry)
    }
  }

  private init() {}

  private init(_ proposal: Proposal, of entry: RefusedTargets.Entry) {
    let told = entry.key.target + ": "
    notes = proposal.notes.filter { !$0.hasSuffix(" was not used in this log") }.map {
      $0.hasPrefix(told) ? String($0.dropFirst(told.utf8.count)) : $0
    }
    guard let rule = proposal.rules.first else { return }
    warnings = rule.warnings
    let isOnlyLimited = Set(entry.reasons.keys).isSubset(of: [Reason.rateLimited.rawValue, Reason.tooMany.rawValue])
    yaml = proposal.fragment(rule, withRule: !isOnlyLimited)
  }

  private static func withoutPort(_ entry: RefusedTargets.Entry) -> Advice {
    var advice = Advice()
    advice.notes = [
      entry.name == nil
        ? "the log names no target that a rule could name"
        : "asked for by DNS alone, so no port is known; a rule is HOST:PORT"
    ]
    return advice
  }
}
