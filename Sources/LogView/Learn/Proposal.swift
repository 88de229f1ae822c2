// The smallest policy that lets out what a log shows: a rule for each target, a limit for its rate, and why, in
// comments. It relies on Traffic for what was seen and on Suspicion for what to look at twice; what is suspect is
// commented out. Proposal+Text writes it down.
package import Policy
import Wire

package struct ProposalOptions: Sendable {
  /// Names below one parent become one wildcard.
  package var usesWildcards = false
  /// Rules that carry a warning are live too.
  package var includesSuspect = false
  /// A limit is so many times the busiest minute, and its burst so many times the densest second.
  package var headroom = 5
  /// Facts begin with the first refusal: the minute before it had as many requests as its limit let out.
  var countsFromRefusal = false
  /// Only what this policy does not let out already.
  package var base: Policy?

  package init() {}
}

package struct Proposal: Sendable {
  package struct Rule: Sendable {
    /// The client whose own `network_policy` it belongs to; nil: the file's.
    package var client: String?
    package var host: String
    package var port: UInt16
    let isAddress: Bool
    package var addresses: [String] = []
    package var facts: Traffic.Facts
    package var clients: Set<String>
    package var demand: Demand
    package var warnings: [String] = []
    /// Names that a wildcard stands for.
    package var names: [String] = []
    /// Nil where a limit of the policy serves already.
    package var limit: RateAdvice?
    /// The entry of the policy that it would have without one of its own: other keys of that stay in force.
    var inherited: RateLimit?
    /// Rules are sorted by the labels of the name, the last one first.
    fileprivate var order: [String]
    fileprivate var parent: String?
  }

  /// A limit of the policy that was reached.
  package struct Raise: Sendable {
    package let client: String?
    package let rule: AllowRule
    package let limit: RateLimit
    package let advice: RateAdvice
    package let demand: Demand
    package let count: Int
    package let clients: Set<String>

    /// True where the limit is for this rule's hosts only: its numbers can be set in place.
    package var isOwn: Bool { limit.pattern == rule.pattern && limit.ports == rule.ports }
  }

  package private(set) var rules: [Rule] = []
  package private(set) var raises: [Raise] = []
  /// Said at the end: targets that no rule is proposed for, names without a port, rules that were not used.
  package private(set) var notes: [String] = []
  let options: ProposalOptions
  let traffic: Traffic

  private static let notesMax = 200
  private static let namesForWildcard = 3

  package init(_ traffic: Traffic, _ options: ProposalOptions, nowUnix: Int64) {
    self.init(traffic, options, nowUnix: nowUnix, nil)
  }

  /// `suspicion`: made once for several of them.
  init(_ traffic: Traffic, _ options: ProposalOptions, nowUnix: Int64, _ known: Suspicion?) {
    self.traffic = traffic
    self.options = options
    let merged = merge(nowUnix: nowUnix)
    let suspicion =
      known
      ?? Suspicion(
        trusted: Self.trusted(options.base), seen: merged.keys.compactMap(\.target.host.name) + traffic.names.keys,
        refused: merged.filter { $0.value.facts.closed == 0 }.map(\.key.target))
    for (place, wish) in merged { consider(place, wish, suspicion) }
    rules.sort { ($0.order, $0.port, $0.client ?? "") < ($1.order, $1.port, $1.client ?? "") }
    if options.usesWildcards { joinNames() }
    rules = rules.map(limited)
    notes.sort()
    noteNames(Set(merged.keys.compactMap(\.target.host.name)))
    noteUnused(nowUnix: nowUnix)
  }

  package var suspectCount: Int { rules.count { !$0.warnings.isEmpty } }

  // MARK: - From traffic to rules

  private struct Place: Hashable {
    let client: String?
    let target: Target
  }

  private struct Wish {
    var facts = Traffic.Facts()
    var clients: Set<String> = []
    /// Buckets belong to (client, rule): the busiest client counts.
    var demand = Demand()

    mutating func add(_ more: Traffic.Facts, of client: String) {
      facts.add(more)
      clients.insert(client)
      demand.formMax(more.demand)
    }
  }

  /// Over all clients with the same rules; without what the base policy lets out for them.
  private mutating func merge(nowUnix: Int64) -> [Place: Wish] {
    var merged: [Place: Wish] = [:]
    var reached = ReachedLimits()
    for (key, facts) in traffic.targets {
      if let base = options.base,
        case .allow(let rule) = base.network(of: key.client).judge(key.target, nowUnix: nowUnix)
      {
        reached.add(rule, facts, of: key.client, section: base.section(of: key.client))
        noteRequests(key, facts, rule)
        continue
      }
      let place = Place(client: options.base?.section(of: key.client), target: key.target)
      merged[place, default: Wish()].add(facts, of: key.client)
    }
    for one in reached.all { raise(one) }
    raises.sort { ("\($0.limit.line)", "\($0.rule.line)") < ("\($1.limit.line)", "\($1.rule.line)") }
    return merged
  }

  static func trusted(_ base: Policy?) -> [HostName] {
    var names: [HostName] = []
    for network in base?.networks ?? [] {
      for rule in network.allow {
        switch rule.pattern {
        case .exact(.name(let name)), .wildcard(let name): names.append(name)
        case .exact(.address), .network, .any: break
        }
      }
    }
    return names
  }

  private mutating func consider(_ place: Place, _ wish: Wish, _ suspicion: Suspicion) {
    let (target, facts) = (place.target, wish.facts)
    for (reason, text) in Self.blocking {
      let count = facts.count(reason)
      if count > 0 { return note("\(target): \(text) (\(Amount.times(count))); no rule is proposed") }
    }
    let wanted = facts.closed + facts.failed + facts.count(.notAllowed)
    guard wanted > 0 || facts.count(.rateLimited) + facts.count(.tooMany) > 0 else {
      let reasons = Set(facts.refused.keys).union(facts.noted.keys).map(\.rawValue).sorted().joined(separator: ", ")
      return note("\(target): refused for another reason than its rule (\(reasons)); no rule is proposed")
    }
    var rule = Rule(
      client: place.client, host: "\(target.host)", port: target.port, isAddress: target.host.name == nil,
      facts: facts, clients: wish.clients, demand: wish.demand,
      order: target.host.name.map { "\($0)".split(separator: ".").reversed().map(String.init) } ?? [
        "", "\(target.host)",
      ])
    rule.warnings =
      suspicion.reasons(against: target.host, addresses: facts.addresses)
      + Self.misuses.compactMap { reason, text in
        facts.count(reason) > 0 ? "\(text) (\(Amount.times(facts.count(reason))))" : nil
      }
    let closed = facts.addresses.filter { !Self.isOpen($0, target.host) }
    if target.host.name != nil, !closed.isEmpty {
      // The rule's list is then the only place where it may be: all addresses that were dialled stand in it.
      rule.addresses = facts.addresses.map { "\(AddressPrefix($0, length: $0.width))" }.sorted()
    }
    if case .name(let name) = target.host { rule.parent = name.parent }
    rules.append(rule)
  }

  private static let blocking: [(Reason, String)] = [
    (.deniedByRule, "a deny rule names it"),
    (.expired, "its rule has expired: renew that one if it is meant"),
    (.loop, "it leads to the gate itself"),
  ]

  /// Refusals that an attack leaves behind, at a target that is wanted as well.
  private static let misuses: [(Reason, String)] = [
    (.secretRefused, "requests to it carried a secret"),
    (.sniMismatch, "tunnels to it asked for another server inside"),
    (.authorityMismatch, "requests in its tunnels named another host"),
  ]

  private static func isOpen(_ address: IPAddress, _ host: Host) -> Bool {
    address.kind == .global || (address.kind == .privateUse && host.isPrivateUse)
  }

  /// Names right below one parent, on one port, without warnings and keys of their own.
  private mutating func joinNames() {
    var groups: [String: [Int]] = [:]
    for (index, rule) in rules.enumerated() where rule.warnings.isEmpty && keys(of: rule).isEmpty {
      guard let parent = rule.parent, NameParts.isOwned(parent) else { continue }
      groups["\(parent):\(rule.port) \(rule.client ?? "")", default: []].append(index)
    }
    var gone: Set<Int> = []
    for members in groups.values where members.count >= Self.namesForWildcard {
      var joined = rules[members[0]]
      joined.host = "*.\(joined.parent ?? "")"
      joined.names = members.map { rules[$0].host }
      joined.order.removeLast()
      for index in members.dropFirst() {
        joined.facts.add(rules[index].facts)
        joined.clients.formUnion(rules[index].clients)
        joined.demand = joined.demand + rules[index].demand
      }
      rules[members[0]] = joined
      gone.formUnion(members.dropFirst())
    }
    rules = rules.enumerated().filter { !gone.contains($0.offset) }.map(\.element)
  }

  // MARK: - Limits

  private func limited(_ unlimited: Rule) -> Rule {
    var rule = unlimited
    let advice = RateAdvice.fresh(rule.demand, headroom: options.headroom, set: rule.facts.set)
    rule.limit = advice
    guard let base = options.base, let spec = Self.spec(rule) else { return rule }
    let network = rule.client.map { base.network(of: $0) } ?? base.fallback.network
    guard let inherited = network.limits.limit(for: spec), let perMinute = inherited.requestsPerMinute else {
      return rule
    }
    let burst = inherited.burst ?? perMinute
    if perMinute >= advice.perMinute && burst >= advice.burst ?? advice.perMinute {
      rule.limit = nil
      return rule
    }
    rule.inherited = inherited
    rule.limit = .fresh(
      rule.demand, headroom: options.headroom,
      set: (max(perMinute, rule.facts.set.perMinute), max(burst, rule.facts.set.burst)))
    return rule
  }

  private static func spec(_ rule: Rule) -> AllowSpec? {
    let text = rule.host.hasPrefix("*.") ? String(rule.host.dropFirst(2)) : rule.host
    guard let host = Host(pattern: text) else { return nil }
    var pattern = HostPattern.exact(host)
    if rule.host.hasPrefix("*."), case .name(let name) = host { pattern = .wildcard(name) }
    return AllowSpec(
      line: SourceLine(file: "", line: 0), pattern: pattern, ports: PortSet([rule.port...rule.port]))
  }

  private mutating func raise(_ reached: ReachedLimits.Entry) {
    let network = reached.section.flatMap { options.base?.network(of: $0) } ?? options.base?.fallback.network
    let rule = reached.rule
    let spec = AllowSpec(line: rule.line, pattern: rule.pattern, ports: rule.ports)
    guard let limit = network?.limits.limit(for: spec) else { return }
    if reached.count(.tooMany) > 0, let most = limit.concurrent {
      note(
        "\(rule.pattern):\(rule.ports): limited \(Amount.times(reached.count(.tooMany))) by `concurrent: \(most)`"
          + " (\(limit.line)); write more there if so many at once are meant")
    }
    guard reached.count(.rateLimited) > 0, let bucket = rule.requests else { return }
    var demand = reached.demand
    // A refusal by an older, lower limit: the one of this policy serves.
    let wasLower =
      reached.set.perMinute > 0 && (reached.set.perMinute < bucket.perMinute || reached.set.burst < bucket.burst)
    if wasLower, demand.minute <= bucket.perMinute, demand.second <= bucket.burst { return }
    if options.countsFromRefusal { demand.reach(perMinute: bucket.perMinute, burst: bucket.burst) }
    raises.append(
      Raise(
        client: reached.section, rule: rule, limit: limit,
        advice: .raised(demand, headroom: options.headroom, set: (bucket.perMinute, bucket.burst)),
        demand: demand, count: reached.count(.rateLimited), clients: reached.clients))
  }

  // MARK: - Notes

  private mutating func note(_ text: String) { notes.append(text) }

  /// Requests that a rule lets out as far as their target goes, and refuses for their method or path.
  private mutating func noteRequests(_ key: Traffic.Key, _ facts: Traffic.Facts, _ rule: AllowRule) {
    for (reason, word) in [(Reason.methodRefused, "methods"), (.pathRefused, "paths")] where facts.count(reason) > 0 {
      note(
        "\(key.target): \(Amount.times(facts.count(reason))) \(reason.rawValue) for \(key.client); add to `\(word)` of"
          + " \(rule.line) what is meant")
    }
    let wanted = facts.refusedShapes.keys
    if !wanted.isEmpty { note("\(key.target): refused for \(key.client): \(wanted)") }
  }

  private mutating func noteNames(_ known: Set<HostName>) {
    let alone = traffic.names.filter { !known.contains($0.key) }.sorted { "\($0.key)" < "\($1.key)" }
    for (name, count) in alone where !isAllowed(name) {
      note("\(name): asked for by DNS alone (\(Amount.times(count))), so no port is known; no rule is proposed")
    }
    if notes.count > Self.notesMax {
      let more = notes.count - Self.notesMax
      notes.removeLast(more)
      note("and \(more) more")
    }
    if traffic.dropped > 0 {
      note("\(traffic.dropped) lines named targets beyond the first \(Traffic.targetsMax), and were not counted")
    }
  }

  private func isAllowed(_ name: HostName) -> Bool {
    guard let base = options.base, case .allow = base.fallback.network.judge(name: name, nowUnix: 0) else {
      return false
    }
    return true
  }

  private mutating func noteUnused(nowUnix: Int64) {
    guard let base = options.base else { return }
    // Several rules may stand in one line.
    func name(_ rule: AllowRule) -> String { "\(rule.line): \(rule.pattern):\(rule.ports)" }
    var used: Set<String> = []
    for key in traffic.targets.keys {
      if case .allow(let rule) = base.network(of: key.client).judge(key.target, nowUnix: nowUnix) {
        used.insert(name(rule))
      }
    }
    var said: Set<String> = []
    for rule in base.networks.flatMap(\.allow).map(name) where !used.contains(rule) && said.insert(rule).inserted {
      if said.count > Self.notesMax { break }
      note("\(rule) was not used in this log")
    }
  }
}

/// Limits of the policy that refused something, each with the demand on its bucket.
private struct ReachedLimits {
  struct Entry {
    let section: String?
    let rule: AllowRule
    private(set) var clients: Set<String> = []
    /// The highest limit that refused, by the log.
    private(set) var set = (perMinute: 0, burst: 0)
    private var counts: [Reason: Int] = [:]
    private var demands: [String: Demand] = [:]

    init(_ rule: AllowRule, section: String?) { (self.rule, self.section) = (rule, section) }

    /// A bucket belongs to a client and a rule: targets of one rule share it, clients do not.
    var demand: Demand {
      demands.values.reduce(into: Demand()) { $0.formMax($1) }
    }

    func count(_ reason: Reason) -> Int { counts[reason] ?? 0 }

    mutating func add(_ facts: Traffic.Facts, of client: String) {
      demands[client] = (demands[client] ?? Demand()) + facts.demand
      set = (max(set.perMinute, facts.set.perMinute), max(set.burst, facts.set.burst))
      for reason in [Reason.rateLimited, .tooMany] where facts.count(reason) > 0 {
        counts[reason, default: 0] += facts.count(reason)
        clients.insert(client)
      }
    }
  }

  private var entries: [ObjectIdentifier: Entry] = [:]

  mutating func add(_ rule: AllowRule, _ facts: Traffic.Facts, of client: String, section: String?) {
    entries[ObjectIdentifier(rule), default: Entry(rule, section: section)].add(facts, of: client)
  }

  var all: [Entry] { entries.values.filter { $0.count(.rateLimited) + $0.count(.tooMany) > 0 } }
}

extension Host {
  fileprivate var name: HostName? {
    guard case .name(let name) = self else { return nil }
    return name
  }

  /// A host as `Rule.host` has it: an IPv6 address in brackets.
  fileprivate init?(pattern text: String) {
    let bytes = Array(text.utf8)
    if text.hasPrefix("["), text.hasSuffix("]") {
      guard let address = IPAddress(parsing: Array(bytes.dropFirst().dropLast()).span) else { return nil }
      self = .address(address)
      return
    }
    do throws(HostNameProblem) { self = try Host(parsing: bytes.span) } catch { return nil }
  }
}

extension HostName {
  fileprivate var parent: String? {
    guard let dot = bytes.firstIndex(of: UInt8(ascii: ".")) else { return nil }
    return String(decoding: bytes[(dot + 1)...], as: UTF8.self)
  }
}

extension Policy {
  /// As the gate would judge a client of this name.
  fileprivate func network(of client: String) -> NetworkPolicy {
    clients.first { $0.name == client }?.network ?? fallback.network
  }

  /// The client's name where it has a `network_policy` of its own.
  fileprivate func section(of client: String) -> String? {
    let network = network(of: client)
    return network.reportRule.line == fallback.network.reportRule.line ? nil : client
  }

  fileprivate var networks: [NetworkPolicy] { [fallback.network] + clients.map(\.network) }
}

private func < (
  one: (order: [String], port: UInt16, client: String), other: (order: [String], port: UInt16, client: String)
) -> Bool {
  if one.order == other.order { return (one.port, one.client) < (other.port, other.client) }
  return one.order.lexicographicallyPrecedes(other.order)
}
