// One connection of a monitoring system: one request of HTTP/1, one answer, then its end.
// It relies on MetricsListener for the text; what it may send and how long it may take is bounded.
import Kernel
import Wire

final class MetricsConnection: Source {
  private static let idleMs: UInt64 = 10_000
  private static let chunkBytes = 4096

  private unowned let desk: MetricsListener
  private let loop: Loop
  private let socket: Descriptor
  private var slot = Slot.none
  private var input: [UInt8] = []
  private var output = Outbox()
  private var step = Step.reading

  private enum Step {
    case reading
    /// The workers are asked.
    case waiting
    case answering
    /// All is sent; the client's own end comes before ours, so that no reset overtakes the answer.
    case leaving
    case closed
  }
  private var isHead = false

  init(_ socket: consuming Descriptor, desk: MetricsListener, loop: Loop) {
    self.socket = socket
    self.desk = desk
    self.loop = loop
  }

  func begin() -> Slot? {
    // A connection that the kernel cannot watch is closed; the next one may be watched again.
    guard let slot = try? loop.register(self, watching: socket.raw) else { return nil }
    self.slot = slot
    loop.setDeadline(slot, atMs: Clock.monotonicMs() + Self.idleMs)
    loop.again(slot)
    return slot
  }

  func answer(_ text: [UInt8]) {
    guard step == .waiting else { return }
    send(MetricsRequest.answer(.ok(text), isHead: isHead))
  }

  func close() {
    guard step != .closed else { return }
    step = .closed
    desk.ended(slot)
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) { advance() }
  func resume() { advance() }
  /// From the first byte to the last one it has that long; while workers are asked, they have a deadline of their own.
  func deadlinePassed() {
    if step == .waiting { loop.setDeadline(slot, atMs: loop.nowMs + Self.idleMs) } else { close() }
  }

  private func advance() {
    switch step {
    case .closed, .waiting: break
    case .reading: read()
    case .answering: flush()
    case .leaving: drop()
    }
  }

  private func read() {
    while step == .reading {
      switch desk.scratch.receive(from: socket.raw, upTo: Self.chunkBytes) {
      case .bytes(let count):
        desk.scratch.withBytes(count) { input.append($0) }
        take()
      case .wouldBlock: return
      case .end, .failed: return close()
      }
    }
  }

  private func take() {
    switch MetricsRequest.parse(input) {
    case .incomplete: break
    case .refused(let refusal): send(MetricsRequest.answer(refusal, isHead: false))
    case .asked(let isHead):
      self.isHead = isHead
      step = .waiting
      desk.ask(for: self)
    }
  }

  private func send(_ bytes: [UInt8]) {
    output.append(contentsOf: bytes)
    step = .answering
    loop.setDeadline(slot, atMs: loop.nowMs + Self.idleMs)
    flush()
  }

  private func flush() {
    switch output.flush(to: socket.raw) {
    case .all: break
    case .blocked: return
    case .broke: return close()
    }
    guard Socket.shutdownWrite(socket.raw) else { return close() }
    step = .leaving
    drop()
  }

  private func drop() {
    for _ in 0..<MetricsRequest.headBytesMax / Self.chunkBytes {
      switch desk.scratch.receive(from: socket.raw, upTo: Self.chunkBytes) {
      case .bytes: continue
      case .wouldBlock: return
      case .end, .failed: return close()
      }
    }
    close()
  }
}
