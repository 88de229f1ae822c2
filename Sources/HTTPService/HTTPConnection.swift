// One connection of the gate's own HTTP server: a head in, then one answer, or a stream of events.
// It relies on its listener for the bounds; each step has a deadline, and the last bytes reach the client before the
// close.
package import Kernel
import Wire

/// ```
///   reading ---> answering ---> sending ---> lingering ---> closed
///                          \--> streaming -----------------/
/// ```
package final class HTTPConnection: Source {
  private enum Step {
    case reading
    /// The handler has the request, and will answer.
    case answering
    case sending, streaming
    /// All is sent; the client's own end comes before ours, so that no reset overtakes the answer.
    case lingering
    case closed
  }

  private static let patienceMs: UInt64 = 10_000
  private static let lingerMs: UInt64 = 2_000
  private static let chunkBytes = 4096

  private let listener: HTTPListener
  private let loop: Loop
  private let socket: Descriptor
  private var slot = Slot.none
  private var step = Step.reading
  private var head = RequestHead()
  private var input: [UInt8] = []
  private var output = Outbox()
  private var droppedBytes = 0

  init(_ socket: consuming Descriptor, of listener: HTTPListener) {
    self.socket = socket
    self.listener = listener
    loop = listener.loop
  }

  /// nil: the kernel cannot watch it, and it is closed.
  func begin() -> Slot? {
    // A connection that the kernel cannot watch is closed; the next one may be watched again.
    guard let slot = try? loop.register(self, watching: socket.raw) else { return nil }
    self.slot = slot
    wait(Self.patienceMs)
    loop.again(slot)
    return slot
  }

  // MARK: - For the handler

  /// All events were taken: a client that reads slowly misses those in between.
  package var isIdle: Bool { output.isEmpty }

  /// The one answer; a connection that ended meanwhile takes none.
  package func reply(_ bytes: [UInt8]) {
    guard step == .reading || step == .answering else { return }
    step = .sending
    send(bytes)
  }

  package func beginStream(_ head: [UInt8]) {
    guard step == .answering else { return }
    step = .streaming
    send(head)
  }

  package func sendEvent(_ bytes: [UInt8]) {
    if step == .streaming { send(bytes) }
  }

  package func close() {
    guard step != .closed else { return }
    step = .closed
    listener.ended(self, slot)
  }

  // MARK: - Source

  package func ready(_ readiness: Readiness, tag: UInt8) {
    if readiness.isBroken { return close() }
    flush()
    receive()
  }

  package func resume() { receive() }

  /// While the handler works, it has a deadline of its own.
  package func deadlinePassed() {
    switch step {
    case .answering: wait(Self.patienceMs)
    case .reading where !input.isEmpty: reply(listener.handler.refusal(408, "the request took too long"))
    case .reading, .sending, .streaming, .lingering: close()
    case .closed: break
    }
  }

  private func wait(_ ms: UInt64) { loop.setDeadline(slot, atMs: Clock.monotonicMs() &+ ms) }

  // MARK: - Bytes

  private func receive() {
    while step != .closed {
      switch listener.scratch.receive(from: socket.raw, upTo: Self.chunkBytes) {
      case .bytes(let count): take(count)
      case .wouldBlock: return
      case .end, .failed:
        // A client may shut down its sending side and wait for its answer.
        if step == .answering || step == .sending { return }
        return close()
      }
    }
  }

  private func take(_ count: Int) {
    if step == .reading {
      listener.scratch.withBytes(count) { input.append($0) }
      return readHead()
    }
    // Behind a request nothing more is asked for.
    droppedBytes += count
    if droppedBytes > listener.bounds.headBytes { close() }
  }

  private func readHead() {
    let bytesMax = listener.bounds.headBytes
    switch head.parse(input.span, bytesMax: bytesMax) {
    case .incomplete: return
    case .malformed(.tooLarge): reply(listener.handler.refusal(431, "a head is at most \(bytesMax) bytes"))
    case .malformed(let problem): reply(listener.handler.refusal(400, "\(problem)"))
    case .complete:
      step = .answering
      listener.handler.answer(self, head, input.span)
    }
    input = []
  }

  private func send(_ bytes: [UInt8]) {
    output.append(contentsOf: bytes)
    wait(Self.patienceMs)
    flush()
  }

  private func flush() {
    guard step == .sending || step == .streaming, !output.isEmpty else { return }
    switch output.flush(to: socket.raw) {
    case .all: break
    case .blocked: return
    case .broke: return close()
    }
    if step == .streaming { return loop.setDeadline(slot, atMs: .max) }
    guard Socket.shutdownWrite(socket.raw) else { return close() }
    step = .lingering
    wait(Self.lingerMs)
    loop.again(slot)
  }
}
