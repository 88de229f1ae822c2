// Notifications on their way to one receiver: a bounded queue, retried with longer and longer pauses, limited per hour.
// It relies on a thread of its own while there is something to send: a receiver that is slow holds up nobody else.
import Kernel
import Synchronization

struct Notification: Sendable, Equatable {
  /// The same on each retry, so that a receiver can tell a repeat.
  let id: String
  let body: [UInt8]
}

enum Delivery: Sendable, Equatable {
  case done
  /// A retry may succeed.
  case failed(String)
  /// A retry would end in the same way.
  case refused(String)
}

final class NotificationQueue: Sendable {
  typealias Deliver = @Sendable (Notification) -> Delivery
  /// Runs the body elsewhere; false where no thread is to be had.
  typealias Start = @Sendable (@escaping @Sendable () -> Void) -> Bool

  static let waitingMax = 100
  static let perHourMax = 120
  static let hourMs: UInt64 = 3_600_000
  /// Before each retry.
  static let pausesMs: [UInt32] = [1_000, 5_000, 30_000, 120_000]

  private struct State: Sendable {
    var waiting: [Notification] = []
    var isAtWork = false
    /// When those of the last hour were taken up.
    var takenMs: [UInt64] = []
    /// Since the last one that was taken up.
    var leftOut = 0
  }

  private let name: String
  private let deliver: Deliver
  private let start: Start
  private let pause: @Sendable (UInt32) -> Void
  /// For the operator: a receiver that cannot be reached, and a limit that is reached.
  private let tell: @Sendable (String) -> Void
  private let state = Mutex(State())

  init(
    _ name: String, deliver: @escaping Deliver, start: @escaping Start = NotificationQueue.onThread,
    pause: @escaping @Sendable (UInt32) -> Void = { Clock.pause(ms: $0) },
    tell: @escaping @Sendable (String) -> Void
  ) {
    (self.name, self.deliver, self.start, self.pause, self.tell) = (name, deliver, start, pause, tell)
  }

  static let onThread: Start = { body in
    do throws(SystemError) {
      try Threads.start(name: "notify", body)
      return true
    } catch {
      return false
    }
  }

  /// `make` is told how many were left out since the last one.
  func add(nowMs: UInt64, _ make: (_ leftOut: Int) -> Notification) {
    let (begins, isFirstLeftOut) = state.withLock { state -> (Bool, Bool) in
      state.takenMs.removeAll { $0 + Self.hourMs <= nowMs }
      let hasRoom = state.waiting.count < Self.waitingMax && state.takenMs.count < Self.perHourMax
      if hasRoom {
        state.takenMs.append(nowMs)
        state.waiting.append(make(state.leftOut))
      }
      state.leftOut = hasRoom ? 0 : state.leftOut + 1
      // Also where there is no room: the last thread may not have come to be.
      let begins = !state.isAtWork && !state.waiting.isEmpty
      if begins { state.isAtWork = true }
      return (begins, state.leftOut == 1)
    }
    if isFirstLeftOut {
      tell(
        "\(name): \(Self.perHourMax) notifications an hour, or \(Self.waitingMax) that wait, "
          + "are the limit; more are left out"
      )
    }
    guard begins, !start({ [self] in work() }) else { return }
    state.withLock { $0.isAtWork = false }
    tell("\(name): no thread is to be had; what waits is sent with the next notification")
  }

  private func work() {
    while let next = takeNext() { send(next) }
  }

  private func takeNext() -> Notification? {
    state.withLock { state in
      guard !state.waiting.isEmpty else {
        state.isAtWork = false
        return nil
      }
      return state.waiting.removeFirst()
    }
  }

  private func send(_ notification: Notification) {
    for pauseMs in Self.pausesMs.map(Optional.some) + [nil] {
      switch deliver(notification) {
      case .done: return
      case .refused(let problem): return tell("\(name): a notification was not taken: \(problem)")
      case .failed(let problem):
        guard let pauseMs else {
          return tell("\(name): a notification was given up after \(Self.pausesMs.count) retries: \(problem)")
        }
        pause(pauseMs)
      }
    }
  }
}
