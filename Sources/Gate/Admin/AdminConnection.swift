// One connection of an operator: lines in, one request at a time, lines out. What it may hold and how long is bounded.
// It relies on AdminListener to act; a descriptor that came with a line is the next request's, or is closed.
import Kernel
import Wire

final class AdminConnection: Source {
  private static let idleMs: UInt64 = 10_000
  private static let chunkBytes = 4096

  private unowned let desk: AdminListener
  private let loop: Loop
  private let socket: Descriptor
  /// Uid and name of the asker, as the kernel saw the other end.
  let peerName: String
  private var slot = Slot.none
  private var input: [UInt8] = []
  private var descriptors: [CInt] = []
  private var output = Outbox()
  private var isReadable = true
  /// The last request is being worked on; no other is taken up meanwhile.
  private var isBusy = false
  private var isClosing = false
  private var isClosed = false
  /// A sandbox hangs on it, for as long as it stands.
  var hasSandbox = false { didSet { rearm() } }
  /// Listeners of a sandbox that is not whole yet.
  var gathered: [BoundSocket] = []

  init(_ socket: consuming Descriptor, peer: LocalPeer?, desk: AdminListener, loop: Loop) {
    peerName = peer.map { AccountNames.text(uid: $0.uid) } ?? "nobody"
    self.socket = socket
    self.desk = desk
    self.loop = loop
  }

  deinit {
    LocalSocket.close(descriptors)
    LocalSocket.close(gathered.map(\.raw))
  }

  func begin() -> Slot? {
    // A connection that the kernel cannot watch is closed; the next one may be watched again.
    guard let slot = try? loop.register(self, watching: socket.raw) else { return nil }
    self.slot = slot
    rearm()
    loop.again(slot)
    return slot
  }

  /// One line of a reply.
  func say(_ value: JSONValue) {
    guard !isClosed else { return }
    output.append(contentsOf: value.line)
  }

  /// The request is answered whole.
  func finish() {
    isBusy = false
    guard !isClosed else { return }
    rearm()
    loop.again(slot)
  }

  func refuse(_ text: String) {
    say(.failure(text))
    finish()
  }

  /// After what is written, nothing more.
  func end(_ text: String) {
    isClosing = true
    refuse(text)
  }

  /// An answer that is no line of JSON, and nothing more.
  func endHTTP(_ bytes: [UInt8]) {
    isClosing = true
    if !isClosed { output.append(contentsOf: bytes) }
    finish()
  }

  /// No turn of the loop follows: what was answered goes now, as far as the other end takes it.
  func closeAtEnd() {
    if !isClosed { _ = flush() }
    close()
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    desk.ended(self, slot)
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) {
    if readiness.isReadable || readiness.hasPeerEnded { isReadable = true }
    advance()
  }

  func resume() { advance() }

  /// A request is not given up because workers are slow: they have a deadline of their own.
  func deadlinePassed() {
    if isBusy { rearm() } else if !hasSandbox || !output.isEmpty { close() }
  }

  private func rearm() {
    loop.setDeadline(slot, atMs: hasSandbox && output.isEmpty ? .max : Clock.monotonicMs() + Self.idleMs)
  }

  private func advance() {
    guard !isClosed, flush() else { return }
    if isClosing { return close() }
    guard !isBusy else { return }
    if takeLine() { return }
    if isReadable { read() }
  }

  /// True when all has gone.
  private func flush() -> Bool {
    let waiting = output.count
    let flushed = output.flush(to: socket.raw)
    if output.count < waiting { rearm() }
    if flushed == .broke { close() }
    return flushed == .all
  }

  private func read() {
    switch LocalSocket.receive(socket.raw, upTo: Self.chunkBytes, into: &input, &descriptors) {
    case .bytes:
      if descriptors.count > LocalSocket.descriptorsMax { return end("too many descriptors for one line") }
      if !takeLine() { loop.again(slot) }
    case .wouldBlock: isReadable = false
    case .end, .failed: close()
    }
  }

  /// Takes one request up, where a whole line is there.
  private func takeLine() -> Bool {
    guard let newline = input.firstIndex(of: UInt8(ascii: "\n")) else {
      guard input.count > AdminRequest.lineBytesMax else { return false }
      end("a request is at most \(AdminRequest.lineBytesMax) bytes long")
      return true
    }
    let line = Array(input[..<newline])
    input.removeFirst(newline + 1)
    if line.count > AdminRequest.lineBytesMax {
      end("a request is at most \(AdminRequest.lineBytesMax) bytes long")
      return true
    }
    let received = descriptors
    descriptors = []
    isBusy = true
    desk.handle(line, received, for: self)
    return true
  }
}

extension JSONValue {
  static func failure(_ text: String, _ more: [JSONMember] = []) -> JSONValue {
    .object([JSONMember("ok", .bool(false)), JSONMember("error", .text(text))] + more)
  }

  static func success(_ members: [JSONMember] = []) -> JSONValue { .object([JSONMember("ok", .bool(true))] + members) }
}
