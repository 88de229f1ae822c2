// The registry of approvals as all loops share it: a lock around the pure value, and its events by mail to the main
// thread, which writes them down. It relies on requests that ask being few: none that a rule allows comes here.
import Flow
import Kernel
import Policy
import Synchronization

final class Approvals: Sendable {
  private let registry: Mutex<ApprovalRegistry>
  private let reports: Mailbox<WorkerReport>

  init(_ settings: ApprovalRegistry.Settings, reports: Mailbox<WorkerReport>) {
    registry = Mutex(ApprovalRegistry(settings, seed: UInt64.random(in: .min ... .max)))
    self.reports = reports
  }

  /// Changes the registry under its lock; the events that this makes are told to the main thread.
  func change<Result, Failure>(
    _ body: (inout sending ApprovalRegistry) throws(Failure) -> sending Result
  ) throws(Failure) -> Result {
    let result = try registry.withLock { registry throws(Failure) in
      let result = try body(&registry)
      // In the order in which it happened, so under the lock.
      for event in registry.takeEvents() { reports.post(WorkerReport(worker: 0, token: 0, body: .approval(event))) }
      return result
    }
    return result
  }
}

extension ApprovalRegistry.Time {
  static var now: ApprovalRegistry.Time { ApprovalRegistry.Time(ms: Clock.monotonicMs(), unixMs: Clock.wallMs()) }
}

/// The registry as one connection asks it.
struct ConnectionApprovals: ApprovalDesk {
  private let approvals: Approvals
  private let seat: ApprovalWaiter.Seat
  private let client: String
  private let via: String
  private let now: ApprovalRegistry.Time

  init(_ approvals: Approvals, _ seat: ApprovalWaiter.Seat, client: String, via: String, _ now: ApprovalRegistry.Time) {
    (self.approvals, self.seat, self.client, self.via, self.now) = (approvals, seat, client, via, now)
  }

  func ask(_ subject: ApprovalSubject, _ reason: Reason, ordinal: UInt32) -> ApprovalAnswer {
    let question = ApprovalQuestion(ApprovalKey(client: client, subject: subject), reason: reason, via: via)
    let waiter = ApprovalWaiter(seat, ordinal: ordinal)
    return approvals.change { $0.ask(question, by: waiter, now) }
  }

  func withdraw(ordinal: UInt32) { approvals.change { $0.withdraw(ApprovalWaiter(seat, ordinal: ordinal)) } }
  func withdrawAll() { approvals.change { $0.withdraw(seat) } }
}

/// The registry as the exchanges of one connection ask it about their content.
struct ConnectionReviews: ReviewDesk, Equatable {
  private let approvals: Approvals
  private let seat: ApprovalWaiter.Seat
  private let via: String

  init(_ approvals: Approvals, _ seat: ApprovalWaiter.Seat, via: String) {
    (self.approvals, self.seat, self.via) = (approvals, seat, via)
  }

  static func == (one: Self, other: Self) -> Bool { one.seat == other.seat && one.via == other.via }

  func ask(
    _ subject: ApprovalSubject, _ reason: Reason, _ sheet: ReviewSheet, client: String, ordinal: UInt32, waits: Bool
  ) -> ReviewAnswer {
    let question = ApprovalQuestion(
      ApprovalKey(client: client, subject: subject), reason: reason, via: via, sheet: sheet)
    let waiter = waits ? ApprovalWaiter(seat, ordinal: ordinal) : nil
    return approvals.change { $0.review(question, by: waiter, .now) }
  }

  func withdraw(ordinal: UInt32) { approvals.change { $0.withdraw(ApprovalWaiter(seat, ordinal: ordinal)) } }
}
