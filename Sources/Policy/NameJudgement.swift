// The verdict on a name without a port, as in a DNS question: some port must be allowed for the name.
// It relies on the rules of the verdict on a target, so that a name is answered if some target of it is allowed.
package import Wire

package enum NameJudgement: Sendable {
  /// The rules that allow the name on some port, the most specific first; never empty.
  case allow([AllowRule])
  case refuse(Reason, SourceLine?)
}

extension NetworkPolicy {
  /// A rule counts if at least one of its ports is not denied.
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

  /// All ports denied for this name, and the line of the most specific deny rule.
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
