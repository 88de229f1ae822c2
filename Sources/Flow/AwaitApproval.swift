// Step "decide" without a matching rule: the request waits for a person, or for a policy that settles it.
// It relies on the registry behind `Action.askApproval`; nothing is looked up, dialled or read meanwhile.
import Policy
import Wire

extension Flow {
  /// `open` if a person may be asked about this target. The gate's own address, a metadata service, and an address
  /// that no rule could allow are refused at once.
  func approvalStanding(of target: Target, _ conditions: borrowing Conditions) -> ApprovalStanding {
    if conditions.policy.settings.approvals == nil { return .off }
    if let answer = buffers?.approvalAnswer { return .answered(answer) }
    guard case .address(let address) = target.host else { return .open }
    // A metadata service gives out the machine's credentials: only a rule in the file may allow it, never an
    // approval.
    if MetadataServices.contains(address) { return .off }
    let spec = AllowSpec(
      line: SourceLine(approval: ""), pattern: .exact(target.host), ports: PortSet([target.port...target.port]))
    let rule = AllowRule(spec, limit: nil, usage: RuleUsage())
    return screen(address, target, rule, conditions) == nil ? .open : .off
  }

  mutating func ask(_ subject: ApprovalSubject, _ finding: Finding, _ conditions: borrowing Conditions) -> Action {
    state = .awaiting
    // A provisional deadline, until the registry answers with the real one.
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
    // Ask the registry again: it knows which questions have expired and which were refused.
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
