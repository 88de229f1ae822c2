// Messages from other threads to a loop, and a bell for a thread without a loop: an eventfd beside a locked queue.
// It relies on the receiver to watch `fd` and to drain on each wake.
import CLinux
import Synchronization

private final class EventCounter: Sendable {
  private let descriptor: Descriptor

  init(isBlocking: Bool) throws(SystemError) {
    let fd = clinux_eventfd(isBlocking ? 1 : 0)
    guard fd >= 0 else { throw SystemError("eventfd", code: -fd) }
    descriptor = Descriptor(owning: fd)
  }

  var fd: CInt { descriptor.raw }

  func add() {
    var one: UInt64 = 1
    // The counter cannot overflow, but a lost wake would mean an endless wait: try again.
    for _ in 0..<4 {
      // SAFETY: eight bytes of a local.
      if unsafe withUnsafeBytes(of: &one, { unsafe clinux_write(fd, $0.baseAddress, 8) }) == 8 { return }
    }
  }

  /// Resets the counter. False if it was zero, or if the read failed.
  func take() -> Bool {
    var value: UInt64 = 0
    // SAFETY: eight bytes of a local.
    return unsafe withUnsafeMutableBytes(of: &value) { unsafe clinux_read(fd, $0.baseAddress, 8) } == 8
  }
}

package final class Mailbox<Message: Sendable>: Sendable {
  private let counter: EventCounter
  private let waiting = Mutex<[Message]>([])

  package init() throws(SystemError) { counter = try EventCounter(isBlocking: false) }

  package var fd: CInt { counter.fd }

  package func post(_ message: Message) {
    let isFirst = waiting.withLock { waiting in
      waiting.append(message)
      return waiting.count == 1
    }
    if isFirst { counter.add() }
  }

  package func drain() -> [Message] {
    _ = counter.take()
    return waiting.withLock { waiting in
      defer { waiting = [] }
      return waiting
    }
  }
}

/// Wakes one waiting thread.
package final class Bell: Sendable {
  private let counter: EventCounter

  package init() throws(SystemError) { counter = try EventCounter(isBlocking: true) }

  package func ring() { counter.add() }

  /// Blocks until the bell rings. False if the wait fails.
  package func wait() -> Bool { counter.take() }

  /// Waits at most `msMax`; a negative value means no limit.
  package func wait(msMax: CInt) -> Bool { clinux_wait_readable(counter.fd, msMax) > 0 && counter.take() }
}
