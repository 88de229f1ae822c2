// The difference of two policies in what they allow, for every kind of host and port that either distinguishes.
// It relies on the judge: each pattern stands for the hosts that no narrower pattern names, so one host of it is
// tested for all.
import Wire

package struct PolicyChange: Hashable, Sendable {
  package enum Kind: String, Sendable {
    case letsOut = "lets_out"
    case shuts
    /// Both allow it, with different settings.
    case changes
    /// A change of a client, or of the whole file.
    case other
  }

  package var kind: Kind
  /// Nil for the whole file.
  package var client: String?
  /// Pattern and ports.
  package var target: String?
  package var details: [String] = []
  package var line: SourceLine?
}

package struct PolicyDiff {
  private let old: Policy
  private let new: Policy
  private let nowUnix: Int64
  package private(set) var changes: [PolicyChange] = []

  package init(from old: Policy, to new: Policy, nowUnix: Int64) {
    self.old = old
    self.new = new
    self.nowUnix = nowUnix
    compareSettings()
    compare(old.fallback, new.fallback, name: Policy.fallbackName)
    let names = Set((old.clients + new.clients).map(\.name)).sorted()
    for name in names { compareClient(name) }
  }

  // MARK: - Clients

  private mutating func compareClient(_ name: String) {
    let before = old.clients.first { $0.name == name }
    let after = new.clients.first { $0.name == name }
    if before == nil { say(name, "is new; until now the file's own rules held for who it is") }
    if after == nil { say(name, "is gone; the file's own rules hold for who it was") }
    if let before, let after {
      if before.sources != after.sources {
        say(name, "source: \(Self.list(before.sources)) -> \(Self.list(after.sources))")
      }
      if before.proxyUser != after.proxyUser { say(name, "proxy_user is another") }
      if before.passwordHash != after.passwordHash { say(name, "the password is another") }
    }
    compare(before ?? old.fallback, after ?? new.fallback, name: name)
  }

  private mutating func say(_ client: String, _ text: String) {
    changes.append(PolicyChange(kind: .other, client: client, details: [text]))
  }

  private static func list(_ networks: [AddressPrefix]) -> String {
    networks.isEmpty ? "any" : networks.map { "\($0)" }.sorted().joined(separator: " ")
  }

  // MARK: - Rules

  private mutating func compare(_ before: Client, _ after: Client, name: String) {
    let (one, other) = (before.network, after.network)
    if one.isReportOnly != other.isReportOnly {
      say(name, "mode: \(Self.mode(one)) -> \(Self.mode(other)); report lets out what enforce refuses")
    }
    if one.defaultAllows != other.defaultAllows {
      say(name, "default: \(one.defaultAllows ? "allow" : "deny") -> \(other.defaultAllows ? "allow" : "deny")")
    }
    var patterns = Set<HostPattern>([.any])
    for network in [one, other] { patterns.formUnion(network.deny.map(\.pattern) + network.allow.map(\.pattern)) }
    compareDeniedAddresses(one, other, name)
    for pattern in patterns.sorted(by: Self.precedes) {
      guard let host = pattern.someHost(apartFrom: patterns) else { continue }
      compare(one, other, name, pattern, host)
    }
  }

  /// Compares deny rules for addresses separately: they also apply to names that resolve to the address, which no
  /// verdict on a target shows.
  private mutating func compareDeniedAddresses(_ one: NetworkPolicy, _ other: NetworkPolicy, _ name: String) {
    func denied(_ network: NetworkPolicy) -> [String: SourceLine] {
      let rules = network.deny.filter { $0.pattern.prefix != nil }.map { ("\($0.pattern):\($0.ports)", $0.line) }
      return Dictionary(rules, uniquingKeysWith: { first, _ in first })
    }
    let (before, after) = (denied(one), denied(other))
    for (target, line) in before.merging(after, uniquingKeysWith: { $1 }).sorted(by: { $0.key < $1.key }) {
      let (was, now) = (before[target] != nil, after[target] != nil)
      if was == now { continue }
      let detail = "where allowed names resolve to it: \(was ? "denied -> allowed" : "allowed -> denied")"
      changes.append(PolicyChange(kind: .changes, client: name, target: target, details: [detail], line: line))
    }
  }

  private static func mode(_ network: NetworkPolicy) -> String { network.isReportOnly ? "report" : "enforce" }

  private static func precedes(_ one: HostPattern, _ other: HostPattern) -> Bool { "\(one)" < "\(other)" }

  /// Compares ports in ranges without a rule boundary inside. Neighbours with the same change are merged.
  private mutating func compare(
    _ one: NetworkPolicy, _ other: NetworkPolicy, _ name: String, _ pattern: HostPattern, _ host: Host
  ) {
    var begins = Set<Int>([1, 443, 444])
    func note(_ ports: PortSet) {
      for range in ports.ranges { begins.formUnion([Int(range.lowerBound), Int(range.upperBound) + 1]) }
    }
    for network in [one, other] {
      network.visitAllowing(host) { note($0.ports) }
      network.visitDenying(host) { note($0.ports) }
    }
    let bounds = begins.filter { $0 <= 65_535 }.sorted()
    var found: [(change: PolicyChange, ports: [ClosedRange<UInt16>])] = []
    for (index, begin) in bounds.enumerated() {
      let end = index + 1 < bounds.count ? bounds[index + 1] - 1 : 65_535
      let target = Target(host: host, port: UInt16(begin))
      guard let change = change(one, other, name, target) else { continue }
      let range = UInt16(begin)...UInt16(end)
      if let same = found.firstIndex(where: { $0.change == change }) {
        found[same].ports.append(range)
      } else {
        found.append((change, [range]))
      }
    }
    for (change, ports) in found {
      var change = change
      change.target = "\(pattern):\(PortSet(ports))"
      changes.append(change)
    }
  }

  private func change(_ one: NetworkPolicy, _ other: NetworkPolicy, _ name: String, _ target: Target) -> PolicyChange? {
    switch (one.judge(target, nowUnix: nowUnix), other.judge(target, nowUnix: nowUnix)) {
    case (.refuse, .refuse): return nil
    case (.refuse, .allow(let rule)):
      return PolicyChange(
        kind: .letsOut, client: name, details: rule.facts(port: target.port).map { "\($0.name): \($0.value)" },
        line: rule.line)
    case (.allow(let rule), .refuse(let reason, let line)):
      return PolicyChange(kind: .shuts, client: name, details: [reason.rawValue], line: line ?? rule.line)
    case (.allow(let before), .allow(let after)):
      let changed = PolicyFact.changes(before.facts(port: target.port), after.facts(port: target.port))
      let details = changed.map { "\($0.name): \($0.change)" }
      guard !details.isEmpty else { return nil }
      return PolicyChange(kind: .changes, client: name, details: details, line: after.line)
    }
  }

  // MARK: - Settings

  private mutating func compareSettings() {
    for (name, change) in PolicyFact.changes(old.settingsFacts, new.settingsFacts) {
      changes.append(PolicyChange(kind: .other, details: ["\(name): \(change)"]))
    }
  }
}

extension AddressPrefix {
  /// An address of this network that no narrower pattern names. Nil if none is found.
  fileprivate func someAddress(apartFrom patterns: Set<HostPattern>) -> IPAddress? {
    let inside = patterns.compactMap(\.prefix).filter { $0 != self && contains($0.address) && $0.length > length }
    for number in 0...inside.count {
      guard let candidate = address.advanced(by: number), contains(candidate) else { return nil }
      if !inside.contains(where: { $0.contains(candidate) }) { return candidate }
    }
    // Inner networks may cover the start; the address after each may be free.
    for other in inside {
      guard let candidate = other.last.advanced(by: 1), contains(candidate) else { continue }
      if !inside.contains(where: { $0.contains(candidate) }) { return candidate }
    }
    return nil
  }

  private var last: IPAddress {
    switch address {
    case .v4(let value): .v4(value | (length == 0 ? .max : ~(UInt32.max << UInt32(32 - length))))
    case .v6(let high, let low):
      .v6(
        high: length >= 64 ? high : high | (UInt64.max >> UInt64(length)),
        low: length >= 128 ? low : low | (length <= 64 ? .max : UInt64.max >> UInt64(length - 64)))
    }
  }
}

extension IPAddress {
  /// Nil past the last address.
  fileprivate func advanced(by count: Int) -> IPAddress? {
    switch self {
    case .v4(let value):
      let (sum, overflow) = value.addingReportingOverflow(UInt32(truncatingIfNeeded: count))
      return overflow ? nil : .v4(sum)
    case .v6(let high, let low):
      let (sum, overflow) = low.addingReportingOverflow(UInt64(truncatingIfNeeded: count))
      if !overflow { return .v6(high: high, low: sum) }
      return high == .max ? nil : .v6(high: high + 1, low: sum)
    }
  }
}

extension HostPattern {
  /// A host whose narrowest pattern is this one. Nil if every such name would be too long.
  fileprivate func someHost(apartFrom patterns: Set<HostPattern>) -> Host? {
    let parent: String
    switch self {
    case .exact(let host): return host
    case .wildcard(let name): parent = ".\(name)"
    case .network(let prefix): return prefix.someAddress(apartFrom: patterns).map(Host.address)
    case .any: parent = ".invalid"
    }
    for number in 0...patterns.count {
      // A label that no rule has. It starts with a letter, so the name is never read as a number.
      guard let name = try? HostName("x\(String(number, radix: 36))\(parent)") else { return nil }
      let host = Host.name(name)
      if !patterns.contains(.exact(host)),
        !patterns.contains(where: { $0 != self && covers($0) && $0.covers(.exact(host)) })
      {
        return host
      }
    }
    return nil
  }
}
