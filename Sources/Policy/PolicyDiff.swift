// What one policy lets out and another does not: asked of every kind of host and port that either of them tells apart.
// It relies on judging itself: each pattern of a rule stands for the hosts that no narrower pattern names, so one of them
// answers for all.
import Wire

package struct PolicyChange: Hashable, Sendable {
  package enum Kind: String, Sendable {
    case letsOut = "lets_out"
    case shuts
    /// Let out by both, in another way.
    case changes
    /// Of a client, or of the file as a whole.
    case other
  }

  package var kind: Kind
  /// nil: of the whole file.
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
    for pattern in patterns.sorted(by: Self.precedes) {
      guard let host = pattern.someHost(apartFrom: patterns) else { continue }
      compare(one, other, name, pattern, host)
    }
  }

  private static func mode(_ network: NetworkPolicy) -> String { network.isReportOnly ? "report" : "enforce" }

  private static func precedes(_ one: HostPattern, _ other: HostPattern) -> Bool { "\(one)" < "\(other)" }

  /// Ports in pieces within which no rule of this host begins or ends; neighbours with the same change are one.
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
        kind: .letsOut, client: name, details: rule.bounds(port: target.port).map(\.text), line: rule.line)
    case (.allow(let rule), .refuse(let reason, let line)):
      return PolicyChange(kind: .shuts, client: name, details: [reason.rawValue], line: line ?? rule.line)
    case (.allow(let before), .allow(let after)):
      let details = Self.differences(before.bounds(port: target.port), after.bounds(port: target.port))
      guard !details.isEmpty else { return nil }
      return PolicyChange(kind: .changes, client: name, details: details, line: after.line)
    }
  }

  private static func differences(_ before: [RuleBound], _ after: [RuleBound]) -> [String] {
    var details: [String] = []
    let names = before.map(\.name) + after.map(\.name).filter { name in !before.contains { $0.name == name } }
    for name in names {
      let was = before.first { $0.name == name }?.value ?? "none"
      let is_ = after.first { $0.name == name }?.value ?? "none"
      if was != is_ { details.append("\(name): \(was) -> \(is_)") }
    }
    return details
  }

  // MARK: - Settings

  private mutating func compareSettings() {
    let (one, other) = (old.settings, new.settings)
    var names: [String] = []
    if one.listen != other.listen { names.append("listen") }
    if one.dns != other.dns { names.append("dns") }
    if one.log != other.log { names.append("log") }
    if one.limits != other.limits { names.append("limits") }
    if one.timeouts != other.timeouts { names.append("timeouts") }
    if one.resolver != other.resolver { names.append("resolver") }
    if one.process != other.process { names.append("process_limits") }
    for name in names { changes.append(PolicyChange(kind: .other, details: ["\(name) is another"])) }
  }
}

/// One thing that a rule holds a target to.
struct RuleBound {
  let name: String
  let value: String
  var text: String { "\(name): \(value)" }
}

extension AllowRule {
  /// In the words of the policy file; what is not bounded is left out.
  func bounds(port: UInt16) -> [RuleBound] {
    var bounds = [RuleBound(name: "protocol", value: wireProtocol(port: port).rawValue)]
    func add(_ name: String, _ value: String?) { if let value { bounds.append(RuleBound(name: name, value: value)) } }
    if !allowsECH { add("ech", "refuse") }
    if !dnsTypes.isEmpty { add("dns.types", dnsTypesText) }
    add(
      "expires",
      expiresAt.map { time in
        var text: [UInt8] = []
        Timestamp.append(unixMilliseconds: time * 1000, to: &text)
        return String(decoding: text, as: UTF8.self)
      })
    if !addresses.isEmpty { add("addresses", addresses.map { "\($0)" }.sorted().joined(separator: " ")) }
    add("requests_per_minute", requests.map { "\($0.perMinute)" })
    add("burst", requests.map { "\($0.burst)" })
    add("concurrent", concurrent.map { "\($0.limit)" })
    add("upload_bytes_per_minute", uploadBytes.map { "\($0.perMinute)" })
    add("download_bytes_per_minute", downloadBytes.map { "\($0.perMinute)" })
    add("tunnel_lifetime_seconds", tunnelLifetimeMs.map { "\($0 / 1000)" })
    if onLimit == .pace { add("on_limit", onLimit.rawValue) }
    return bounds
  }
}

extension AddressPrefix {
  /// An address that no narrower pattern names; nil where there is none among the first ones.
  fileprivate func someAddress(apartFrom patterns: Set<HostPattern>) -> IPAddress? {
    let inside = patterns.compactMap(\.prefix).filter { $0 != self && contains($0.address) && $0.length > length }
    for number in 0...inside.count {
      guard let candidate = address.advanced(by: number), contains(candidate) else { return nil }
      if !inside.contains(where: { $0.contains(candidate) }) { return candidate }
    }
    // Networks fill the beginning; the end of each may be free.
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
  /// A host that this pattern is the narrowest one for; nil when there is none that is short enough.
  fileprivate func someHost(apartFrom patterns: Set<HostPattern>) -> Host? {
    let parent: String
    switch self {
    case .exact(let host): return host
    case .wildcard(let name): parent = ".\(name)"
    case .network(let prefix): return prefix.someAddress(apartFrom: patterns).map(Host.address)
    case .any: parent = ".invalid"
    }
    for number in 0...patterns.count {
      // A label that no rule has; one that begins with a letter is never a part of a number.
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
