// The verdict on a name without a port, as a DNS question has it: is there a port on which a rule lets this name out.
// It relies on the same rules as the verdict on a target, so that a name is answered if some target of it is allowed.
package import Wire

package enum NameJudgement: Sendable {
  /// The rules that let the name out on some port, the most specific first; never empty.
  case allow([AllowRule])
  case refuse(Reason, SourceLine?)
}

extension NetworkPolicy {
  /// A rule counts while a port of it is left that no deny rule takes away.
  package func judge(name: HostName, nowUnix: Int64) -> NameJudgement {
    let host = Host.name(name)
    let denied = denying(host)
    var open: [AllowRule] = []
    var expired: AllowRule?
    var closed = denied?.ports.ranges ?? []
    visitAllowing(host) { rule in
      if denied?.ports.covers(rule.ports) == true { return }
      if let approval = rule.approval, rule.isExpired(nowUnix: nowUnix) || approval.uses?.isSpent == true { return }
      if rule.isExpired(nowUnix: nowUnix) {
        expired = rule
        closed += rule.ports.ranges
      } else {
        open.append(rule)
      }
    }
    if !open.isEmpty { return .allow(open.reversed()) }
    if let rule = openByDefault, closed.isEmpty || !PortSet(closed).covers(rule.ports) { return .allow([rule]) }
    if let expired { return .refuse(.expired, expired.line) }
    guard let denied else { return .refuse(.notAllowed, nil) }
    return .refuse(.deniedByRule, denied.line)
  }

  /// All ports that deny rules take from this name, and where the most specific of them stands.
  private func denying(_ host: Host) -> (ports: PortSet, line: SourceLine)? {
    if deny.isEmpty { return nil }
    var ranges: [ClosedRange<UInt16>] = []
    var line: SourceLine?
    visitDenying(host) { rule in
      ranges += rule.ports.ranges
      line = rule.line
    }
    return line.map { (PortSet(ranges), $0) }
  }
}
