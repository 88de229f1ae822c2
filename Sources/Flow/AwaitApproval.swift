// Step "decide", where no rule does: the request waits for a person, or for a policy that settles it.
// It relies on the registry behind `Action.askApproval`; nothing is looked up, dialled or read meanwhile.
import Policy
import Wire

extension Flow {
  /// `open` where a person may be asked about this target. An address that is the gate's own or a metadata service's,
  /// or that no rule could let out, is refused at once.
  func approvalStanding(of target: Target, _ conditions: borrowing Conditions) -> ApprovalStanding {
    if conditions.policy.settings.approvals == nil { return .off }
    if let answer = buffers?.approvalAnswer { return .answered(answer) }
    guard case .address(let address) = target.host else { return .open }
    // Credentials of the machine: a rule in the file may name them, and nobody is asked in between.
    if MetadataServices.contains(address) { return .off }
    let spec = AllowSpec(
      line: SourceLine(approval: ""), pattern: .exact(target.host), ports: PortSet([target.port...target.port]))
    let rule = AllowRule(spec, limit: nil, usage: RuleUsage())
    return screen(address, target, rule, conditions) == nil ? .open : .off
  }

  mutating func ask(_ subject: ApprovalSubject, _ finding: Finding, _ conditions: borrowing Conditions) -> Action {
    state = .awaiting
    // Until the registry says how long.
    deadlineMs = conditions.nowMs + (conditions.policy.settings.approvals?.waitMs ?? 0)
    buffers?.approvalAnswer = nil
    let key = ApprovalKey(client: client.name, subject: subject)
    return .askApproval(ApprovalQuestion(key, reason: finding.reason, via: via.rawValue))
  }

  mutating func onAwaiting(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .approval(.waiting(_, let untilMs)):
      deadlineMs = untilMs
      return .wait
    case .approval(let answer):
      buffers?.approvalAnswer = answer
      return decide(conditions)
    // The registry is asked again: it knows whose time is over, and who was refused.
    case .deadlinePassed, .approvalAnswered: return decide(conditions)
    case .clientLeft, .clientReset, .clientEnded, .upstreamReset:
      end(Outcome(.closed))
      return .close(.cut)
    case .drainEnded: return refuse(.shutdown, conditions)
    case .gateFailed: return refuse(.tooMany, conditions)
    default: return .wait
    }
  }
}
