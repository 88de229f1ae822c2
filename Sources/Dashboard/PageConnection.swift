// One connection of a browser: a head in, a reply out, or events for as long as it takes them.
// It relies on PageServer for what to answer; what it holds is one head and one reply or event, each for a bounded time.
import Kernel
import Wire

final class PageConnection: Source {
  private static let patienceMs: UInt64 = 10_000
  /// How long a reply that went out waits to be taken before the close, which would cut it off.
  private static let lingerMs: UInt64 = 2000
  private static let chunkBytes = 4096

  private enum State { case reading, replying, streaming, lingering }

  private unowned let server: PageServer
  private let socket: Descriptor
  private var slot = Slot.none
  private var state = State.reading
  private var head = RequestHead()
  private var input: [UInt8] = []
  private var output = Outbox()
  private var isClosed = false
  /// Of a stream.
  private(set) var choice = FiguresChoice()
  /// Which figures it was sent last.
  var version: UInt64 = 0

  init(_ socket: consuming Descriptor, _ server: PageServer) {
    self.socket = socket
    self.server = server
  }

  func begin() -> Slot? {
    // A connection that the kernel cannot watch is closed; the next one may be watched again.
    guard let slot = try? server.loop.register(self, watching: socket.raw) else { return nil }
    self.slot = slot
    wait(Self.patienceMs)
    server.loop.again(slot)
    return slot
  }

  var isStream: Bool { state == .streaming }
  /// Takes another event: one that reads slowly misses those in between.
  var isIdle: Bool { output.isEmpty }

  func reply(_ bytes: [UInt8]) {
    state = .replying
    send(bytes)
  }

  func stream(_ choice: FiguresChoice) {
    self.choice = choice
    state = .streaming
    send(PageReply.stream())
  }

  func send(_ bytes: [UInt8]) {
    output.append(contentsOf: bytes)
    wait(Self.patienceMs)
    flush()
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    server.ended(slot)
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) {
    if readiness.isBroken { return close() }
    flush()
    receive()
  }

  func resume() { receive() }

  func deadlinePassed() {
    guard state == .reading, !input.isEmpty else { return close() }
    reply(PageReply.problem(408, "the request took too long", isHEAD: false))
  }

  private func wait(_ ms: UInt64) { server.loop.setDeadline(slot, atMs: Clock.monotonicMs() + ms) }

  // MARK: - Bytes

  private func receive() {
    while !isClosed {
      switch server.scratch.receive(from: socket.raw, upTo: Self.chunkBytes) {
      case .bytes(let count):
        // Behind a request nothing more is asked for.
        guard state == .reading else { continue }
        server.scratch.withBytes(count) { input.append($0) }
        readHead()
      case .wouldBlock: return
      case .end, .failed: return close()
      }
    }
  }

  private func readHead() {
    switch head.parse(input.span, bytesMax: PageRules.headBytesMax) {
    case .incomplete: return
    case .malformed(.tooLarge):
      reply(PageReply.problem(431, "a head is at most \(PageRules.headBytesMax) bytes", isHEAD: false))
    case .malformed(let problem): reply(PageReply.problem(400, "\(problem)", isHEAD: false))
    case .complete: server.answer(self, head, input.span)
    }
    input = []
  }

  private func flush() {
    guard !isClosed, !output.isEmpty else { return }
    switch output.flush(to: socket.raw) {
    case .all: break
    case .blocked: return
    case .broke: return close()
    }
    if state == .streaming { return server.loop.setDeadline(slot, atMs: .max) }
    state = .lingering
    _ = Socket.shutdownWrite(socket.raw)
    wait(Self.lingerMs)
  }
}
