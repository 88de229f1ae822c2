// DNS over TCP: one connection, on which queries may follow each other without waiting (RFC 7766).
// It relies on DNSServer for what to answer. It reads no further while replies wait to be sent, so what it holds is
// bounded.
import Flow
import Kernel
import Policy
import Wire

final class DNSConnection: Source {
  /// A query is a name, a few numbers and options: a longer one is none.
  private static let queryBytesMax = 4096
  /// Queries are left unread while this much waits to be sent, or that many wait for the resolver.
  private static let outputBytesMax = 16 * 1024
  private static let waitingMax = 64
  /// Chunks read in one turn: others are to be served too.
  private static let chunksMax = 8
  private static let chunkBytesMax = 8 * 1024

  private unowned let desk: any DNSQueryHandler
  private let tools: PumpTools
  private let loop: Loop
  private let socket: Descriptor
  let peer: DNSClient
  /// In whose share of the connections it is.
  private let owner: ShareOwner
  private var slot = Slot.none
  private var input: [UInt8] = []
  private var output = Outbox()
  private var waiting = 0
  private var isReadable = true
  /// epoll has seen the peer's end; what came before it may be unread.
  private var isEndNear = false
  private var hasPeerEnded = false
  private var isClosed = false

  init(
    socket: consuming Descriptor, peer: DNSClient, owner: ShareOwner, desk: any DNSQueryHandler, tools: PumpTools,
    loop: Loop
  ) {
    self.socket = socket
    self.peer = peer
    self.owner = owner
    self.desk = desk
    self.tools = tools
    self.loop = loop
  }

  /// Takes its slot; nil when the kernel refused to watch the socket.
  func begin() -> Slot? {
    // A connection that the kernel cannot watch is closed; the next one may be watched again.
    guard let slot = try? loop.register(self, watching: socket.raw) else { return nil }
    self.slot = slot
    armDeadline()
    loop.again(slot)
    return slot
  }

  func close() {
    if isClosed { return }
    isClosed = true
    desk.ended(slot, owner, hasWaiting: waiting > 0)
  }

  /// A reply that was not there when its query came. Replies may overtake each other (RFC 7766 section 6.2.1.1).
  func send(_ reply: [UInt8]) {
    if isClosed { return }
    waiting -= 1
    appendPrefixed(reply)
    advance()
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) {
    if readiness.isReadable || readiness.hasPeerEnded { isReadable = true }
    if readiness.hasPeerEnded { isEndNear = true }
    if readiness.isBroken { return close() }
    advance()
  }

  func resume() { advance() }

  /// Neither an idle client nor one that does not take its replies is waited for.
  func deadlinePassed() { close() }

  private func armDeadline() { loop.setDeadline(slot, atMs: loop.nowMs + desk.queryTimeoutMs) }

  // MARK: - Bytes

  private func advance() {
    for _ in 0..<Self.chunksMax {
      if isClosed { return }
      answerAll()
      guard !isClosed, flush() else { return }
      if hasWhole && mayAnswer { continue }
      guard isReadable && mayAnswer else { break }
      read()
    }
    if isClosed { return }
    if hasPeerEnded && !hasWhole && waiting == 0 && output.isEmpty { return close() }
    if mayAnswer && (isReadable || hasWhole) { loop.again(slot) }
  }

  private var mayAnswer: Bool { waiting < Self.waitingMax && output.count < Self.outputBytesMax }

  private func read() {
    switch tools.scratch.receive(from: socket.raw, upTo: Self.chunkBytesMax) {
    case .bytes(let count):
      if count < Self.chunkBytesMax && !isEndNear { isReadable = false }
      tools.scratch.withBytes(count) { input.append($0) }
    case .wouldBlock: isReadable = false
    case .end:
      isReadable = false
      hasPeerEnded = true
    case .failed: close()
    }
  }

  private var nextLength: Int? { input.count < 2 ? nil : Int(input[0]) << 8 | Int(input[1]) }

  /// A whole query has come.
  private var hasWhole: Bool { nextLength.map { input.count >= 2 + $0 } ?? false }

  private func answerAll() {
    var index = 0
    while mayAnswer, input.count - index >= 2 {
      let length = Int(input[index]) << 8 | Int(input[index + 1])
      guard length <= Self.queryBytesMax else { return close() }
      guard input.count - index - 2 >= length else { break }
      guard answer(index + 2..<index + 2 + length) else { return close() }
      index += 2 + length
    }
    if index == 0 { return }
    armDeadline()
    // An idle stream holds no buffer.
    if index == input.count { input = [] } else { input.removeFirst(index) }
  }

  /// False for what gets no answer: what follows it would not be a query either.
  private func answer(_ range: Range<Int>) -> Bool {
    var reply: [UInt8] = []
    let asked = desk.ask(
      input.span.extracting(range), from: peer, isDatagram: false, into: &reply, asker: .stream(self))
    switch asked {
    case .answered: appendPrefixed(reply)
    case .waiting: waiting += 1
    case .dropped: return false
    }
    return true
  }

  private func appendPrefixed(_ reply: [UInt8]) {
    output.append(contentsOf: [UInt8(truncatingIfNeeded: reply.count >> 8), UInt8(truncatingIfNeeded: reply.count)])
    output.append(contentsOf: reply)
  }

  /// Sends what the socket takes; false while some of it is left, or when the client is gone.
  private func flush() -> Bool {
    let flushed = output.flush(to: socket.raw)
    if flushed == .broke { close() }
    return flushed == .all
  }
}
