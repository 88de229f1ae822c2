// Approval requests of this connection: asked, answered, and withdrawn when no longer needed. It relies on the
// registry that all loops share; the client is not read while it waits, but its end is seen.
import Flow
import Kernel
import Policy

extension Connection {
  mutating func ask(_ question: ApprovalQuestion) -> Action? {
    // The self-check of a sandbox expects a refusal: ask no person about it.
    if worker.audit.isProbe(question.key.client, id) { return flow.handle(.approval(.full), worker.conditions) }
    // An open question of this connection is about an earlier request, or the same one.
    asksApproval = true
    let waiter = ApprovalWaiter(seat, ordinal: flow.ordinal)
    let time = approvalTime
    let answer = worker.shared.approvals.change { $0.ask(question, by: waiter, time) }
    return flow.handle(.approval(answer), worker.conditions)
  }

  /// Called when the flow no longer waits, and at the connection's end.
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

  /// Approvals for the requests of an inspected tunnel. Nil if the policy has no approvals.
  mutating func approvalsOfTunnel() -> ConnectionApprovals? {
    guard worker.conditions.policy.settings.approvals != nil, flow.via != .http else { return nil }
    asksApproval = true
    return ConnectionApprovals(
      worker.shared.approvals, seat, client: flow.client.name, via: flow.via.rawValue, approvalTime)
  }

  /// Reviews for the content of requests and answers. Nil if the policy has no approvals.
  var reviews: ConnectionReviews? {
    guard worker.conditions.policy.settings.approvals != nil else { return nil }
    return ConnectionReviews(worker.shared.approvals, seat, via: flow.via.rawValue)
  }

  private var seat: ApprovalWaiter.Seat { ApprovalWaiter.Seat(worker: worker.index, connection: id) }
  private var approvalTime: ApprovalRegistry.Time {
    ApprovalRegistry.Time(ms: worker.conditions.nowMs, unixMs: worker.loop.wallMs)
  }
}
