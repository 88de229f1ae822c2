// The rules of one client, and the verdict on a target. Deny is the default, and deny wins.
// It relies on HostIndex, so that ten thousand rules cost no more than ten.
package import Wire

/// `network_policy` as written in the file.
package struct NetworkSpec: Sendable {
  package var defaultAllows = false
  package var isReportOnly = false
  package var deny: [DenyRule] = []
  package var allow: [AllowSpec] = []
  package var rateLimits: [RateLimit] = []
  /// The line of `network_policy`. The implicit rules of report mode and of `default: allow` have this line.
  package var line: SourceLine

  package init(line: SourceLine) { self.line = line }
}

package final class NetworkPolicy: Sendable {
  package let isReportOnly: Bool
  package let defaultAllows: Bool
  package let deny: [DenyRule]
  package let allow: [AllowRule]
  /// The rule that allows all other targets in report mode: no limit, no protocol.
  package let reportRule: AllowRule
  /// Rule that lets out the rest under `default: allow`.
  private let defaultRule: AllowRule
  /// The entries of `rate_limits`.
  package let limits: LimitTable
  private let deniedAddresses: DeniedAddresses
  private let allowedPorts: PortSet
  private let denyIndex: HostIndex
  private let allowIndex: HostIndex

  /// Tokens used under `old` stay used.
  package init(
    _ spec: NetworkSpec, approved: [ApprovedRule] = [], inheriting old: NetworkPolicy? = nil,
    sharing scope: SharedScope? = nil
  ) {
    let spec = spec.joined(by: approved)
    isReportOnly = spec.isReportOnly
    defaultAllows = spec.defaultAllows
    deny = spec.deny
    let denied = DeniedAddresses(spec.deny)
    deniedAddresses = denied
    var usages: [RuleKey: RuleUsage] = [:]
    for rule in old?.allow ?? [] { usages[rule.key] = rule.usage }
    let limits = LimitTable(spec.rateLimits)
    self.limits = limits
    allow = spec.allow.map { rule in
      let usage = usages[RuleKey(pattern: rule.pattern, ports: rule.ports)] ?? RuleUsage()
      let limit = limits.limit(for: rule)
      return AllowRule(rule, limit: limit, usage: usage.sharing(limit, rule, scope), denied: denied)
    }
    var everything = AllowSpec(line: spec.line, pattern: .any, ports: .all)
    let limit = limits.limit(for: everything)
    let usage = (old?.defaultRule.usage ?? RuleUsage()).sharing(limit, everything, scope)
    defaultRule = AllowRule(everything, limit: limit, usage: usage, denied: denied)
    everything.wireProtocol = .tcp
    reportRule = AllowRule(everything, limit: nil, usage: RuleUsage(), denied: denied)
    allowedPorts = PortSet(spec.allow.flatMap(\.ports.ranges))
    denyIndex = HostIndex(spec.deny.enumerated().map { ($0.offset, $0.element.pattern) })
    allowIndex = HostIndex(Self.leastSpecificFirst(allow))
  }

  /// For rules with the same hosts, fewer ports are a better match, then the earlier line.
  private static func leastSpecificFirst(_ rules: [AllowRule]) -> [(index: Int, pattern: HostPattern)] {
    let order = rules.indices.sorted { left, right in
      let (one, other) = (rules[left].ports.count, rules[right].ports.count)
      return one == other ? left > right : one > other
    }
    return order.map { ($0, rules[$0].pattern) }
  }

  /// All rules that allow something in enforce mode.
  package var rulesInForce: [AllowRule] { defaultAllows ? allow + [defaultRule] : allow }

  /// True if any allow rule names an address.
  package var namesAddresses: Bool { allowIndex.namesAddresses }

  /// True if some host is allowed on this port. If false, the host's name makes no difference.
  package func mayAllow(port: UInt16) -> Bool { defaultAllows || allowedPorts.contains(port) }

  package func judge(_ target: Target, nowUnix: Int64) -> Verdict {
    if let rule = denying(target) { return .refuse(.deniedByRule, rule.line) }
    var best: Int?
    var expired: Int?
    // An address that a client names is never dialled unless a rule names that address.
    var isName = false
    if case .name = target.host { isName = true }
    allowIndex.visit(target.host, includingAny: isName) { index in
      let rule = allow[index]
      guard rule.ports.contains(target.port), rule.pattern.matches(target.host) else { return }
      // An expired approval counts as absent.
      if !rule.isExpired(nowUnix: nowUnix) { best = index } else if rule.approval == nil { expired = index }
    }
    if let best { return .allow(allow[best]) }
    if let expired { return .refuse(.expired, allow[expired].line) }
    return defaultAllows && isName ? .allow(defaultRule) : .refuse(.notAllowed, nil)
  }

  /// Rule that lets out the rest under `default: allow`.
  var openByDefault: AllowRule? { defaultAllows ? defaultRule : nil }

  /// Visits the rules of a name on any port, the least specific first.
  func visitAllowing(_ host: Host, _ visit: (AllowRule) -> Void) {
    allowIndex.visit(host, includingAny: true) { index in
      if allow[index].pattern.matches(host) { visit(allow[index]) }
    }
  }

  func visitDenying(_ host: Host, _ visit: (DenyRule) -> Void) {
    denyIndex.visit(host, includingAny: true) { index in
      if deny[index].pattern.matches(host) { visit(deny[index]) }
    }
  }

  private func denying(_ target: Target) -> DenyRule? {
    if deny.isEmpty { return nil }
    if case .address(let address) = target.host, let rule = deniedAddresses.rule(address, port: target.port) {
      return rule
    }
    var found: Int?
    denyIndex.visit(target.host, includingAny: true) { index in
      if deny[index].ports.contains(target.port), deny[index].pattern.matches(target.host) { found = index }
    }
    return found.map { deny[$0] }
  }
}

/// The entries of `rate_limits`. The most specific entry that fully covers a rule applies to it. Indexed by host, so
/// that ten thousand rules with ten thousand limits load at once.
package struct LimitTable: Sendable {
  private var exact: [HostPattern: [RateLimit]] = [:]
  private var wide: [RateLimit] = []

  package init(_ limits: [RateLimit]) {
    for limit in limits {
      if case .exact = limit.pattern { exact[limit.pattern, default: []].append(limit) } else { wide.append(limit) }
    }
  }

  package func limit(for rule: AllowSpec) -> RateLimit? {
    var best: RateLimit?
    for limits in [exact[rule.pattern] ?? [], wide] {
      for limit in limits where limit.covers(rule) {
        if let found = best, !limit.isMoreSpecific(than: found) { continue }
        best = limit
      }
      if best != nil { return best }
    }
    return nil
  }
}
