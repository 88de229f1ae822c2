// One connection to a listener that speaks TLS: its socket, its TLS, and the sessions that serve what comes by it.
// It relies on TLSListenerSession for what is inside; each session is an ordinary one, whose client is one end of a
// socket pair.
import Flow
import Intercept
import Kernel
import Policy
import Wire

/// ```
///   opening (PROXY header of listed peers, first byte) ---> serving ---> lingering ---> closed
/// ```
final class TLSListenerConnection: Source {
  private enum Phase {
    case opening(expectsHeader: Bool)
    case serving(TLSListenerSession)
    /// All was sent; what the client still sends is read and dropped, so that no reset overtakes the answer.
    case lingering
    case closed
  }

  private let worker: Worker
  private let socket: Descriptor
  private let listener: ListenerTLS
  private let id: UInt64
  private let startedMs: UInt64
  private var source: IPAddress
  private(set) var slot = Slot.none
  private var phase: Phase
  private var side: SocketState
  private var early: [UInt8] = []
  private var lingering = Lingering()
  private var dueMs = UInt64.max
  private var untaken = SendDeadline()
  /// In whose share of the connections it is, with all its streams.
  private(set) var shareOwner: ShareOwner
  /// By their own slots.
  private var legs: [Int: StreamSocketSource] = [:]

  init(
    worker: Worker, socket: consuming Descriptor, from source: IPAddress, _ listener: ListenerTLS, expectsHeader: Bool,
    owner: ShareOwner
  ) {
    self.worker = worker
    shareOwner = owner
    side = SocketState(fd: socket.raw)
    self.socket = socket
    self.source = source
    self.listener = listener
    id = worker.shared.takeId()
    startedMs = worker.conditions.nowMs
    phase = .opening(expectsHeader: expectsHeader)
  }

  /// False when the kernel refused to watch the socket.
  func begin() -> Bool {
    // A connection that the kernel cannot watch is closed; the next one may be watched again.
    guard let slot = try? worker.loop.register(self, watching: side.fd) else { return false }
    self.slot = slot
    side.isReadable = true
    arm(atMs: startedMs + worker.conditions.policy.settings.timeouts.headMs)
    worker.loop.again(slot)
    return true
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) {
    side.note(readiness)
    advance()
  }

  func resume() { advance() }

  func deadlinePassed() {
    dueMs = .max
    switch phase {
    case .opening:
      record(.timeout, "no TLS handshake in time")
      close(.cut)
    case .serving: advance()
    case .lingering: lingeredLong()
    case .closed: break
    }
  }

  /// A drain or the end of the gate: what has not begun is not waited for.
  func drain() {
    if case .opening = phase { close(.cut) } else { advance() }
  }

  func closeNow() { close(.cut) }

  private func advance() {
    if case .opening(let expectsHeader) = phase { open(expectsHeader) }
    switch phase {
    case .serving(let front): serve(front)
    case .lingering: linger()
    case .opening, .closed: break
    }
  }

  private func arm(atMs dueMs: UInt64) {
    guard dueMs != self.dueMs else { return }
    self.dueMs = dueMs
    worker.loop.setDeadline(slot, atMs: dueMs)
  }

  // MARK: - Before TLS

  private func open(_ expectsHeader: Bool) {
    var expectsHeader = expectsHeader
    while side.isReadable {
      // A listed peer's header is bounded, and whatever follows it waits.
      switch worker.tools.scratch.receive(from: side.fd, upTo: ProxyHeader.bytesMax) {
      case .bytes(let count): early += worker.tools.scratch.bytes(0..<count)
      case .wouldBlock: side.isReadable = false
      case .end:
        if !early.isEmpty { record(.badRequest, "The connection ended before its TLS handshake") }
        return close(.cut)
      case .failed: return close(.cut)
      }
      if expectsHeader {
        guard let isThere = readHeader() else { return }
        if !isThere { continue }
        expectsHeader = false
        phase = .opening(expectsHeader: false)
      }
      if let first = early.first { return begin(first) }
    }
  }

  /// nil: it is none, and the connection is closed.
  private func readHeader() -> Bool? {
    switch ProxyHeader.parse(early.span) {
    case .incomplete: return false
    case .malformed(let problem):
      record(.badRequest, "\(problem)")
      close(.cut)
      return nil
    case .complete(let header, let byteCount):
      early.removeFirst(byteCount)
      if case .tcp(let source, _) = header { self.source = source.address }
      let owner = worker.conditions.policy.shareOwner(source: source)
      if owner != shareOwner {
        guard worker.movePlace(from: shareOwner, to: owner) else {
          record(.tooMany, "its share of connections is used up")
          close(.cut)
          return nil
        }
        shareOwner = owner
      }
      return true
    }
  }

  private func begin(_ first: UInt8) {
    if first != 0x16 {
      record(.badRequest, "This listener speaks TLS, and the client did not")
      if first.isLetter {
        let reply = Flow.wantsTLSReply
        _ = Socket.send(side.fd, reply.span)
      }
      return close(.graceful)
    }
    guard
      let front = TLSListenerSession(listener, worker.interceptTools, fd: side.fd, early: early, startedMs: startedMs)
    else {
      return close(.cut)
    }
    early = []
    phase = .serving(front)
    Socket.keepAlive(side.fd, idleSeconds: Int(Connection.keepAliveMs / 1000))
  }

  // MARK: - TLS

  private func serve(_ front: TLSListenerSession) {
    front.noteClient(isReadable: side.isReadable, isWritable: side.isWritable, hasPeerEnded: side.hasPeerEnded)
    // From now on the front knows; the next edge tells more.
    (side.isReadable, side.isWritable, side.hasPeerEnded) = (false, false, false)
    let settings = worker.conditions.policy.settings
    let tick = ListenerTick(
      nowMs: worker.conditions.nowMs, headBytesMax: settings.limits.headBytes, headMs: settings.timeouts.headMs,
      keepAliveMs: settings.timeouts.keepAliveMs, idleMs: settings.timeouts.idleMs,
      isDraining: worker.conditions.isDraining)
    switch front.advance(tick, self) {
    case .waiting: arm(atMs: front.deadlineMs)
    case .again: worker.loop.again(slot)
    case .ended(let ending): close(ending)
    }
  }

  func legChanged(_ leg: StreamSocket) {
    guard case .serving(let front) = phase else { return }
    front.legChanged(leg)
    worker.loop.again(slot)
  }

  // MARK: - Ends

  private func close(_ ending: StreamSocket.Ending) {
    if case .closed = phase { return }
    phase = .lingering
    for source in legs.values { drop(source, isReset: true) }
    guard ending == .graceful, Socket.shutdownWrite(side.fd) else {
      Socket.abort(side.fd)
      return finish()
    }
    lingering.begin(nowMs: worker.conditions.nowMs)
    arm(atMs: lingering.deadlineMs(nowMs: worker.conditions.nowMs))
    side.isReadable = true
    linger()
  }

  private func linger() {
    for _ in 0..<Lingering.chunksMax {
      guard side.isReadable else { return }
      switch worker.tools.scratch.receive(from: side.fd, upTo: RelayDirection.copyBytesMax) {
      case .bytes(let count):
        guard lingering.takes(count) else { return finish() }
        arm(atMs: lingering.deadlineMs(nowMs: worker.conditions.nowMs))
      case .wouldBlock: side.isReadable = false
      case .end, .failed: return finish()
      }
    }
    worker.loop.again(slot)
  }

  /// The client had time to end its side too. A slow one has not taken all yet: what the kernel still holds for it is
  /// waited for here, under a deadline, and not left behind without an owner.
  private func lingeredLong() {
    let taken = Socket.taken(side.fd)
    if !taken.waits { return finish() }
    let patienceMs = min(worker.conditions.policy.settings.timeouts.idleMs, SendDeadline.patienceMs)
    let isTaken = untaken.holds(whileWaiting: true, patienceMs: patienceMs, nowMs: worker.conditions.nowMs) {
      taken.bytes
    }
    if isTaken { return arm(atMs: worker.conditions.nowMs + Lingering.quietMs) }
    Socket.abort(side.fd)
    finish()
  }

  private func finish() {
    phase = .closed
    worker.fronts.ended(slot, shareOwner)
  }
}

extension TLSListenerConnection: ListenerSessionHost {
  func openLeg(for stream: Int32) -> StreamSocketOffer {
    // The one session of a connection of HTTP/1.1 is that connection.
    let isWhole = stream == 0
    if !isWhole && !worker.takePlace(for: shareOwner) {
      worker.recordRefused(client: clientName, .tooMany, worker.shared.takeId())
      return .tooMany
    }
    guard let source = makeLeg(stream) else {
      if !isWhole { worker.shared.givePlace(by: shareOwner) }
      return .notNow
    }
    legs[source.slot.index] = source
    worker.fronts.join(source)
    return .leg(source.leg)
  }

  private func makeLeg(_ stream: Int32) -> StreamSocketSource? {
    // No descriptor is left for it where this fails: the client may ask again.
    guard let ends = try? Socket.pair() else { return nil }
    let far = Descriptor(owning: ends.far)
    let source = StreamSocketSource(StreamSocket(Descriptor(owning: ends.near), stream: stream), of: self)
    guard source.begin(worker.loop) else { return nil }
    let flow = Flow(source: self.source, worker.conditions)
    let id = worker.shared.takeId()
    guard let session = worker.begin(far, flow, lease: nil, id: id, owner: shareOwner, isOwnerFixed: true) else {
      source.end(worker.loop)
      return nil
    }
    source.session = session
    return source
  }

  func close(_ leg: StreamSocket, isReset: Bool) {
    guard let source = legs.values.first(where: { $0.leg === leg }) else { return }
    drop(source, isReset: isReset)
  }

  private func drop(_ source: StreamSocketSource, isReset: Bool) {
    legs[source.slot.index] = nil
    worker.fronts.part(source)
    source.end(worker.loop)
    if isReset { worker.session(at: source.session)?.tellFromOutside(.clientReset) }
    source.leg.close()
  }

  private var clientName: String { worker.clientName(source, nil) }

  func record(_ reason: Reason, _ detail: String) { worker.recordRefused(client: clientName, reason, id, detail) }
}

extension UInt8 {
  fileprivate var isLetter: Bool { (self | 0x20) &- 0x61 < 26 }
}
