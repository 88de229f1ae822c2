// Asks workers something and puts their answers together, without waiting for them: they come by mail.
// It relies on the main thread alone to call it, and on a worker's last report to tell that it answers no more.
import Kernel

final class Survey {
  struct Answers {
    var bodies: [WorkerReport.Body] = []
    /// False where a worker did not answer in time.
    var isWhole = true
    /// Workers that did not answer in time.
    var silent: [Int] = []
  }

  private struct Pending {
    var awaited: Set<Int>
    var answers = Answers()
    let dueMs: UInt64
    let finish: (Answers) -> Void
  }

  static let waitMs: UInt64 = 5_000

  private let mailboxes: [Mailbox<WorkerMessage>]
  private var working: Set<Int>
  private var pending: [UInt64: Pending] = [:]
  private var timers: [(dueMs: UInt64, body: () -> Void)] = []
  /// Zero is the token of what nobody asked for.
  private var lastToken: UInt64 = 0
  /// The counts of workers that have ended.
  private(set) var retired = WorkerCounts()

  init(_ mailboxes: [Mailbox<WorkerMessage>]) {
    self.mailboxes = mailboxes
    working = Set(mailboxes.indices)
  }

  func askAll(_ message: (_ token: UInt64) -> WorkerMessage, finish: @escaping (Answers) -> Void) {
    ask(working, message, finish: finish)
  }

  func ask(_ worker: Int, _ message: (_ token: UInt64) -> WorkerMessage, finish: @escaping (Answers) -> Void) {
    ask(working.intersection([worker]), message, finish: finish)
  }

  private func ask(
    _ workers: Set<Int>, _ message: (_ token: UInt64) -> WorkerMessage, finish: @escaping (Answers) -> Void
  ) {
    guard !workers.isEmpty else { return finish(Answers(isWhole: false)) }
    lastToken += 1
    pending[lastToken] = Pending(awaited: workers, dueMs: Clock.monotonicMs() + Self.waitMs, finish: finish)
    for worker in workers { mailboxes[worker].post(message(lastToken)) }
  }

  func after(ms: UInt64, _ body: @escaping () -> Void) { timers.append((Clock.monotonicMs() + ms, body)) }

  // MARK: - What the main loop calls

  func take(_ report: WorkerReport) {
    if case .ended(let counts) = report.body {
      retired += counts
      working.remove(report.worker)
      for token in pending.keys { settle(token, report.worker, nil) }
      return
    }
    settle(report.token, report.worker, report.body)
  }

  /// When something is due, if nothing comes before.
  var dueMs: UInt64? { (timers.map(\.dueMs) + pending.values.map(\.dueMs)).min() }

  func runDue(nowMs: UInt64 = Clock.monotonicMs()) {
    let due = timers.filter { $0.dueMs <= nowMs }
    timers.removeAll { $0.dueMs <= nowMs }
    for timer in due { timer.body() }
    for (token, late) in pending where late.dueMs <= nowMs {
      pending[token] = nil
      late.finish(Answers(bodies: late.answers.bodies, isWhole: false, silent: late.awaited.sorted()))
    }
  }

  private func settle(_ token: UInt64, _ worker: Int, _ body: WorkerReport.Body?) {
    guard pending[token]?.awaited.remove(worker) != nil else { return }
    if let body { pending[token]?.answers.bodies.append(body) }
    guard let done = pending[token], done.awaited.isEmpty else { return }
    pending[token] = nil
    done.finish(done.answers)
  }
}
