// The main thread's loop: it waits for signals, the admin socket, and reports of workers.
// It relies on being made before any other thread starts, since those inherit the mask of signals.
import Flow
import Kernel

final class MainLoop: Source, LoopDelegate {
  let loop: Loop
  let survey: Survey
  /// Set before the first turn.
  var onApproval: (ApprovalEvent) -> Void = { _ in }
  /// nil where somebody else takes signals.
  private let signals: Signals?
  var takesSignals: Bool { signals != nil }
  private let reports: Mailbox<WorkerReport>
  private var slot = Slot.none

  init(_ shared: Shared, takesSignals: Bool = true) throws(SystemError) {
    var signals: Signals?
    if takesSignals { signals = try Signals() }
    let signalsFD = signals?.fd
    self.signals = signals
    loop = try Loop()
    reports = shared.reports
    survey = Survey(shared.mailboxes)
    slot = loop.register(self)
    try loop.watchMailbox(reports.fd)
    if let signalsFD { try loop.watchLevels(signalsFD, slot, tag: 0, readable: true, writable: false, isNew: true) }
  }

  /// One turn of at most that long, and the signal that came in it.
  func wait(msMax: UInt64) -> Signals.Signal? {
    let nowMs = Clock.monotonicMs()
    let dueMs = survey.dueMs ?? .max
    loop.turn(self, waitMsMax: min(msMax, dueMs - min(nowMs, dueMs)))
    switch signals {
    case .none: return nil
    case .some(let signals): return signals.take()
    }
  }

  func mailArrived() {
    for report in reports.drain() {
      if case .approval(let event) = report.body { onApproval(event) } else { survey.take(report) }
    }
  }
  func turnEnded() { survey.runDue() }
  func turnBegan() {}

  // A signal wakes the turn; `wait` reads it.
  func ready(_ readiness: Readiness, tag: UInt8) {}
  func deadlinePassed() {}
  func resume() {}
}
