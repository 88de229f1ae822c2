// A request of this connection that waits for a person: asked, answered, and withdrawn when it waits no more.
// It relies on the registry that all loops share; the client is not read meanwhile, but its end is seen.
import Flow
import Kernel
import Policy

extension Connection {
  mutating func ask(_ question: ApprovalQuestion) -> Action? {
    // A sandbox that checks itself wants to be refused, and nobody is asked about that.
    if worker.audit.isProbe(question.key.client, id) { return flow.handle(.approval(.full), worker.conditions) }
    // A question that this connection still has out is about an earlier request, or the same one.
    asksApproval = true
    let waiter = ApprovalWaiter(seat, ordinal: flow.ordinal)
    let time = approvalTime
    let answer = worker.shared.approvals.change { $0.ask(question, by: waiter, time) }
    return flow.handle(.approval(answer), worker.conditions)
  }

  /// Called when the flow has gone on, and at the end.
  mutating func withdrawApproval() {
    guard asksApproval else { return }
    asksApproval = false
    let seat = seat
    worker.shared.approvals.change { $0.withdraw(seat) }
  }

  mutating func approvalAnswered() {
    if inspected != nil { return advance() }
    tellFromOutside(.approvalAnswered)
  }

  /// For the requests of an inspected tunnel; nil where nobody is asked.
  mutating func approvalsOfTunnel() -> ConnectionApprovals? {
    guard worker.conditions.policy.settings.approvals != nil, flow.via != .http else { return nil }
    asksApproval = true
    return ConnectionApprovals(
      worker.shared.approvals, seat, client: flow.client.name, via: flow.via.rawValue, approvalTime)
  }

  /// For the content of its requests and answers; nil where nobody is asked.
  var reviews: ConnectionReviews? {
    guard worker.conditions.policy.settings.approvals != nil else { return nil }
    return ConnectionReviews(worker.shared.approvals, seat, via: flow.via.rawValue)
  }

  private var seat: ApprovalWaiter.Seat { ApprovalWaiter.Seat(worker: worker.index, connection: id) }
  private var approvalTime: ApprovalRegistry.Time {
    ApprovalRegistry.Time(ms: worker.conditions.nowMs, unixMs: worker.loop.wallMs)
  }
}
