// The smallest policy that lets out what a log shows: a rule for each target, a limit for its rate, and why, in
// comments. It relies on Traffic for what was seen and on Suspicion for what to look at twice; what is suspect is
// commented out.
package import Policy
import Wire

package struct ProposalOptions: Sendable {
  /// Names below one parent become one wildcard.
  package var usesWildcards = false
  /// Rules that carry a warning are live too.
  package var includesSuspect = false
  /// A limit is so many times the busiest minute.
  package var headroom = 2
  /// Only what this policy does not let out already.
  package var base: Policy?

  package init() {}
}

package struct Proposal: Sendable {
  package struct Rule: Sendable {
    package var host: String
    package var port: UInt16
    package var addresses: [String] = []
    package var facts: Traffic.Facts
    package var clients: Set<String>
    package var peak: Int
    package var warnings: [String] = []
    /// Names that a wildcard stands for.
    package var names: [String] = []
    /// How the rules are sorted: by the labels of the name, the last one first.
    fileprivate var order: [String]
    fileprivate var parent: String?
  }

  package private(set) var rules: [Rule] = []
  /// What is said at the end: targets that no rule is proposed for, names without a port, rules that were not used.
  package private(set) var notes: [String] = []
  private let options: ProposalOptions
  private let traffic: Traffic

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
        trusted: Self.trusted(options.base), seen: merged.keys.compactMap(\.host.name) + traffic.names.keys)
    for (target, wish) in merged { consider(target, wish, suspicion) }
    rules.sort { ($0.order, $0.port) < ($1.order, $1.port) }
    if options.usesWildcards { joinNames() }
    notes.sort()
    noteNames(merged)
    noteUnused(nowUnix: nowUnix)
  }

  package var suspectCount: Int { rules.count { !$0.warnings.isEmpty } }

  // MARK: - From traffic to rules

  private struct Wish {
    var facts = Traffic.Facts()
    var clients: Set<String> = []
    /// Buckets belong to (client, rule): the busiest client's minute counts.
    var peak = 0

    mutating func add(_ more: Traffic.Facts, of client: String) {
      facts.add(more)
      clients.insert(client)
      peak = max(peak, more.peak)
    }
  }

  /// Over all clients; without what the base policy lets out for them.
  private mutating func merge(nowUnix: Int64) -> [Target: Wish] {
    var merged: [Target: Wish] = [:]
    for (key, facts) in traffic.targets {
      if let base = options.base,
        case .allow(let rule) = base.network(of: key.client).judge(key.target, nowUnix: nowUnix)
      {
        noteLimits(key, facts, rule)
        continue
      }
      merged[key.target, default: Wish()].add(facts, of: key.client)
    }
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

  private mutating func consider(_ target: Target, _ wish: Wish, _ suspicion: Suspicion) {
    let facts = wish.facts
    for (reason, text) in Self.blocking {
      let count = (facts.refused[reason] ?? 0) + (facts.noted[reason] ?? 0)
      if count > 0 { return note("\(target): \(text) (\(Amount.times(count))); no rule is proposed") }
    }
    let wanted = facts.closed + facts.failed + (facts.refused[.notAllowed] ?? 0) + (facts.noted[.notAllowed] ?? 0)
    let isLimited = [Reason.rateLimited, .tooMany].contains { (facts.refused[$0] ?? 0) + (facts.noted[$0] ?? 0) > 0 }
    guard wanted > 0 || isLimited else {
      let reasons = Set(facts.refused.keys).union(facts.noted.keys).map(\.rawValue).sorted().joined(separator: ", ")
      return note("\(target): refused for another reason than its rule (\(reasons)); no rule is proposed")
    }
    var rule = Rule(
      host: "\(target.host)", port: target.port, facts: facts, clients: wish.clients, peak: wish.peak,
      order: target.host.name.map { "\($0)".split(separator: ".").reversed().map(String.init) } ?? [
        "", "\(target.host)",
      ])
    rule.warnings = suspicion.reasons(against: target.host, addresses: facts.addresses)
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

  private static func isOpen(_ address: IPAddress, _ host: Host) -> Bool {
    address.kind == .global || (address.kind == .privateUse && host.isPrivateUse)
  }

  /// Names right below one parent, on one port, without warnings and addresses of their own.
  private mutating func joinNames() {
    var groups: [String: [Int]] = [:]
    for (index, rule) in rules.enumerated() where rule.warnings.isEmpty && rule.addresses.isEmpty {
      guard let parent = rule.parent, NameParts.isOwned(parent) else { continue }
      groups["\(parent):\(rule.port)", default: []].append(index)
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
        // One bucket for all of them: their busiest minutes may be the same one.
        joined.peak += rules[index].peak
      }
      rules[members[0]] = joined
      gone.formUnion(members.dropFirst())
    }
    rules = rules.enumerated().filter { !gone.contains($0.offset) }.map(\.element)
  }

  // MARK: - Notes

  private mutating func note(_ text: String) { notes.append(text) }

  private mutating func noteLimits(_ key: Traffic.Key, _ facts: Traffic.Facts, _ rule: AllowRule) {
    let count = (facts.refused[.rateLimited] ?? 0) + (facts.noted[.rateLimited] ?? 0)
    guard count > 0, let bucket = rule.requests else { return }
    note(
      "\(key.target): limited \(Amount.times(count)) for \(key.client), by \(rule.limitLine ?? rule.line)"
        + " (\(bucket.perMinute) a minute, burst \(bucket.burst)); at most \(facts.peak) in a minute: "
        + "requests_per_minute: \(rate(facts.peak)) would let them out")
  }

  private mutating func noteNames(_ merged: [Target: Wish]) {
    let known = Set(merged.keys.compactMap(\.host.name))
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

  /// Rounded up to what a person would write.
  func rate(_ peak: Int) -> Int {
    let wanted = max(1, peak) * options.headroom
    var step = 1
    while wanted / step >= 100 { step *= 10 }
    return (wanted + step - 1) / step * step
  }
}

extension Proposal {
  /// A policy file; with a base, what to add to it.
  package var text: String {
    var out: [String] = header
    let live = rules.contains { options.includesSuspect || $0.warnings.isEmpty }
    out.append("network_policy:")
    if options.base == nil { out.append("  default: deny") }
    out.append(live ? "  allow:" : "  allow: []")
    for rule in rules { out += lines(of: rule) }
    if live { out.append("  rate_limits:") }
    for rule in rules {
      out.append(
        (isLive(rule) ? "    " : "    # ") + limit(of: rule)
          + "  # at most \(rule.peak) in a minute, times \(options.headroom)")
    }
    for note in notes { out.append("# \(TerminalText.safe(note.utf8))") }
    return out.joined(separator: "\n") + "\n"
  }

  private func isLive(_ rule: Rule) -> Bool { options.includesSuspect || rule.warnings.isEmpty }

  private var header: [String] {
    var out = ["# From \(traffic.lines) lines of a log\(period), clients: \(Self.list(traffic.clients))."]
    if options.base != nil { out.append("# Only what is new: to be added to `allow` and `rate_limits` of the policy.") }
    if suspectCount > 0 {
      out.append(
        "# \(suspectCount) of \(rules.count) rules carry a WARNING\(options.includesSuspect ? "" : " and are commented out")."
      )
    }
    return out
  }

  private var period: String {
    guard let first = traffic.firstMs, let last = traffic.lastMs else { return "" }
    var text: [UInt8] = Array(", ".utf8)
    Timestamp.append(unixMilliseconds: first, to: &text)
    text += " to ".utf8
    Timestamp.append(unixMilliseconds: last, to: &text)
    return String(decoding: text, as: UTF8.self)
  }

  private func lines(of rule: Rule) -> [String] {
    var out: [String] = rule.warnings.map { "    # WARNING: \($0)" }
    out.append("    # \(Self.seen(rule))")
    if !rule.names.isEmpty { out.append("    # for \(Self.list(Set(rule.names)))") }
    out.append((isLive(rule) ? "    " : "    # ") + Self.entry(of: rule))
    return out
  }

  private static func entry(of rule: Rule) -> String {
    if rule.addresses.isEmpty { return "- \(quoted(rule))" }
    return "- {host: \(quoted(rule)), addresses: [\(rule.addresses.map { "\"\($0)\"" }.joined(separator: ", "))]}"
  }

  private func limit(of rule: Rule) -> String {
    "- {host: \(Self.quoted(rule)), requests_per_minute: \(rate(rule.peak))}"
  }

  /// What to paste below `network_policy` for one rule, whatever is to be said against it.
  func fragment(_ rule: Rule, withRule: Bool) -> String {
    let allow = withRule ? ["allow:", "  \(Self.entry(of: rule))"] : []
    return (allow + ["rate_limits:", "  \(limit(of: rule))"]).joined(separator: "\n") + "\n"
  }

  private static func seen(_ rule: Rule) -> String {
    let facts = rule.facts
    var parts = ["seen \(Amount.times(facts.count)) from \(list(rule.clients))"]
    let refused = facts.refused.values.reduce(0, +)
    if refused > 0 { parts.append("\(refused) refused") }
    if facts.failed > 0 { parts.append("\(facts.failed) failed") }
    if facts.closed > 0 { parts.append("\(Amount.bytes(facts.bytesUp)) up, \(Amount.bytes(facts.bytesDown)) down") }
    return parts.joined(separator: "; ")
  }

  private static func list(_ names: Set<String>) -> String {
    let sorted = names.sorted()
    let shown = sorted.prefix(8).map { TerminalText.column(TerminalText.safe($0.utf8), min(64, $0.utf8.count)) }
    return shown.joined(separator: ", ") + (sorted.count > 8 ? " and \(sorted.count - 8) more" : "")
  }

  private static func quoted(_ rule: Rule) -> String {
    let text = "\(rule.host):\(rule.port)"
    return text.hasPrefix("*") || text.hasPrefix("[") ? "\"\(text)\"" : text
  }
}

extension Host {
  fileprivate var name: HostName? {
    guard case .name(let name) = self else { return nil }
    return name
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

  fileprivate var networks: [NetworkPolicy] { [fallback.network] + clients.map(\.network) }
}

private func < (one: (order: [String], port: UInt16), other: (order: [String], port: UInt16)) -> Bool {
  if one.order == other.order { return one.port < other.port }
  return one.order.lexicographicallyPrecedes(other.order)
}
