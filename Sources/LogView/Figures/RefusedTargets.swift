// Targets that were refused most, for whom and why, with all that a rule for them is made of.
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
    /// The highest limit that refused it; none is 0.
    var perMinute = 0
    var facts = Traffic.Facts()
  }

  static let max = 2000
  private static let reasonsMax = 30

  private var entries: [Key: Entry] = [:]
  /// Refusals of targets that gave way to others.
  private(set) var forgotten = 0

  mutating func add(_ line: borrowing LogLine, _ of: Tally.Key, reason: String, _ timeMs: Int64) {
    let key = Key(client: of.client, host: of.host, port: line.port)
    if entries[key] == nil {
      if entries.count == Self.max * 2 { trim() }
      entries[key] = Self.entry(key, line)
    }
    guard let index = entries.index(forKey: key) else { return }
    entries.values[index].note(line, reason, timeMs, reasonsMax: Self.reasonsMax)
  }

  /// Requests for the same target that were let out between two refusals tell how fast it is asked for.
  mutating func addLetOut(_ line: borrowing LogLine, _ of: Tally.Key) {
    let key = Key(client: of.client, host: of.host, port: line.port)
    if let index = entries.index(forKey: key) { entries.values[index].facts.add(line) }
  }

  private static func entry(_ key: Key, _ line: borrowing LogLine) -> Entry {
    var entry = Entry(key: key)
    guard let host = line.host else { return entry }
    if case .name(let name) = host { entry.name = name }
    if let port = key.port, port > 0 { entry.target = Target(host: host, port: port) }
    return entry
  }

  private mutating func trim() {
    let ranks = entries.values.map { ($0.count, $0.lastMs) }.sorted(by: >)
    let bar = ranks[Self.max]
    for entry in entries.values where (entry.count, entry.lastMs) <= bar { forgotten += entry.count }
    entries = entries.filter { ($0.value.count, $0.value.lastMs) > bar }
  }

  /// By target, over one client or all: most refusals first; of two, the later one.
  func most(for client: String?) -> [RefusedTarget] {
    var merged: [String: RefusedTarget] = [:]
    for entry in entries.values where client == nil || client == entry.key.client {
      merged[entry.key.target, default: RefusedTarget(entry)].add(entry)
    }
    return merged.values.sorted { one, other in
      if one.count != other.count { return one.count > other.count }
      return (other.lastMs, one.text) < (one.lastMs, other.text)
    }
  }
}

extension RefusedTargets.Entry {
  fileprivate mutating func note(
    _ line: borrowing LogLine, _ reason: String, _ timeMs: Int64, reasonsMax: Int
  ) {
    count += line.count
    lastMs = timeMs
    perMinute = max(perMinute, line.number(.perMinute).flatMap { UInt32(exactly: $0) }.map(Int.init) ?? 0)
    if reasons[reason] != nil || reasons.count < reasonsMax { reasons[reason, default: 0] += line.count }
    facts.add(line)
  }
}

/// One target, for all that were refused it.
struct RefusedTarget: Sendable {
  let text: String
  let target: Target?
  let name: HostName?
  private(set) var count = 0
  private(set) var lastMs: Int64 = 0
  private(set) var reasons: [String: Int] = [:]
  private(set) var perMinute = 0
  private(set) var clients: [String: Traffic.Facts] = [:]

  fileprivate init(_ entry: RefusedTargets.Entry) {
    (text, target, name) = (entry.key.target, entry.target, entry.name)
  }

  fileprivate mutating func add(_ entry: RefusedTargets.Entry) {
    count += entry.count
    lastMs = max(lastMs, entry.lastMs)
    perMinute = max(perMinute, entry.perMinute)
    reasons.merge(entry.reasons, uniquingKeysWith: +)
    clients[entry.key.client] = entry.facts
  }
}

/// Advice on a refused target: rules to paste, a warning to read first, or why no rule is proposed.
struct Advice: Sendable {
  private(set) var yaml = ""
  private(set) var warnings: [String] = []
  private(set) var notes: [String] = []

  private static let notesMax = 2

  /// For each target one. `names` are all that were refused: many below one parent are a sign.
  static func of(_ targets: [RefusedTarget], names: [HostName], policy: Policy?, nowMs: Int64) -> [Advice] {
    let suspicion = Suspicion(
      trusted: Proposal.trusted(policy), seen: names, refused: targets.compactMap(\.target))
    return targets.map { refused in
      guard let target = refused.target else { return withoutPort(refused) }
      var traffic: [Traffic.Key: Traffic.Facts] = [:]
      for (client, facts) in refused.clients { traffic[Traffic.Key(client: client, target: target)] = facts }
      var options = ProposalOptions()
      options.base = policy
      options.countsFromRefusal = true
      return Advice(Proposal(Traffic(traffic), options, nowUnix: nowMs / 1000, suspicion), refused)
    }
  }

  private init() {}

  private init(_ proposal: Proposal, _ refused: RefusedTarget) {
    let front = refused.text + ": "
    notes = proposal.notes.filter { $0.hasPrefix(front) }.prefix(Self.notesMax).map {
      String($0.dropFirst(front.count))
    }
    // A limit that was too low belongs to a rule that is there: only the limit is proposed.
    let limits = [Reason.rateLimited.rawValue, Reason.tooMany.rawValue]
    if let raise = proposal.raises.first {
      let set = raise.rule.requests.map { "\($0.perMinute) a minute, burst \($0.burst)" } ?? ""
      notes = ["its limit is \(set): \(raise.limit.line)"]
      yaml = Proposal.fragment(raise)
    } else if let rule = proposal.rules.first, !refused.reasons.keys.allSatisfy(limits.contains) {
      warnings = rule.warnings
      yaml = proposal.fragment(rule)
    } else if let rule = proposal.rules.first, refused.perMinute > 0 {
      let set = (perMinute: refused.perMinute, burst: max(1, rule.facts.set.burst))
      var demand = rule.demand
      demand.reach(perMinute: set.perMinute, burst: set.burst)
      notes = ["its limit is \(set.perMinute) a minute, burst \(set.burst)"]
      yaml = Proposal.fragment(
        limit: "\(rule.host):\(rule.port)", .raised(demand, headroom: proposal.options.headroom, set: set))
    }
  }

  private static func withoutPort(_ refused: RefusedTarget) -> Advice {
    var advice = Advice()
    advice.notes = [
      refused.name == nil
        ? "the log names no target that a rule could name"
        : "asked for by DNS alone, so no port is known; a rule is HOST:PORT"
    ]
    return advice
  }
}
