// One client connection: its two sockets, its Flow, and one RelayDirection per direction. A connection performs the
// Flow's actions and tells the Flow the results. It relies on its Session, which owns the connection as a value.
import Flow
import Intercept
import Kernel
import Policy
import Wire

struct Connection: ~Copyable {
  /// The tag of the client's socket in epoll's key; each connect attempt has the next one.
  static let clientTag: UInt8 = 0
  /// Time limit for a peer to take the last bytes.
  static let farewellMs: UInt64 = 10_000
  static let keepAliveMs: UInt64 = 60_000
  /// Chunks read in one turn while heads are read. Each may hold hundreds of requests, and other clients wait
  /// meanwhile.
  static let headChunksMax = 4

  /// The worker owns the session and releases it at its end. Until then, this reference is a cycle.
  let worker: Worker
  let id: UInt64
  var slot = Slot.none
  let clientSocket: Descriptor
  /// The owner whose fair share this connection and its lookups and password checks count against.
  var shareOwner: ShareOwner
  /// True behind a TLS listener: the connection slot belongs to the outer connection, which may outlive this one.
  let isOwnerFixed: Bool
  /// The lease of a synthetic address that the client connected to. No other name gets that address meanwhile.
  var lease: NameLease?
  var upstreamSocket = Upstream()
  var flow: Flow
  var client: SocketState
  var upstream = SocketState()
  var up = RelayDirection()
  var down = RelayDirection()
  /// The inspected tunnel or exchange. Nil unless the rule inspects.
  var inspected: InspectedTunnel?
  var filters: TunnelFilters?
  var phase = Phase.open
  /// True if epoll reports a writable client; requested when the first write blocks.
  var hearsClientWritable = false
  var isTunnel = false
  var stage = Stage.reading
  /// Start of the current stage, counted from the start of the request. Kept small so that the object fits a malloc
  /// size class.
  var stepMicroseconds: UInt32 = 0
  var armedMs = UInt64.max
  var pacedUntilMs = UInt64.max
  /// Time at which TCP keep-alive starts. Most tunnels end earlier and never pay for the kernel's timers.
  var keepAliveAtMs = UInt64.max
  var nameToken: UInt64 = 0
  /// The name lookup that the flow waits for while dialling.
  var lookup: NameLookup?
  var lingering = Lingering()
  /// True if the registry of approvals may hold a request of this connection.
  var asksApproval = false

  enum Phase: UInt8 {
    case open
    /// The answer to the last request is still being sent; the next request waits for it.
    case flushingAnswer
    /// The last bytes are being sent to the client.
    case farewell
    /// All bytes are sent. Bytes from the client are read and dropped, so that no reset overtakes the answer.
    case lingering
    case closed
  }

  init(
    worker: Worker, id: UInt64, socket: consuming Descriptor, flow: consuming Flow, lease: NameLease?,
    owner: ShareOwner,
    isOwnerFixed: Bool
  ) {
    self.worker = worker
    self.id = id
    shareOwner = owner
    self.isOwnerFixed = isOwnerFixed
    client = SocketState(fd: socket.raw)
    clientSocket = socket
    self.flow = flow
    self.lease = lease
  }

  /// Watches the client socket. False if the kernel refused.
  mutating func begin(_ slot: Slot) -> Bool {
    self.slot = slot
    // A connection that the kernel cannot watch is closed; the next one may be watched again.
    guard (try? worker.loop.watchReadingEdges(client.fd, slot, tag: Self.clientTag)) != nil else { return false }
    // A client's first bytes often arrive with its connection: try to read before epoll reports them.
    client.isReadable = true
    awaitNext()
    return true
  }

  // MARK: - What the loop calls

  mutating func ready(_ readiness: Readiness, tag: UInt8) {
    if tag == Self.clientTag {
      client.note(readiness)
    } else if upstreamSocket.isStanding(tag) {
      upstream.note(readiness)
      if flow.state.isReadingHead { return standingUpstreamEvent() }
    } else {
      return settle(tag, readiness)
    }
    advance()
  }

  mutating func deadlinePassed() {
    armedMs = .max
    switch phase {
    case .closed: return
    case .farewell where pacedUntilMs != .max:
      pacedUntilMs = .max
      arm(atMs: worker.conditions.nowMs + Self.farewellMs)
      return sayFarewell()
    case .farewell, .lingering: return close(cut: phase == .farewell)
    case .open, .flushingAnswer: break
    }
    if worker.conditions.nowMs >= pacedUntilMs {
      pacedUntilMs = .max
      client.isReadable = true
      upstream.isReadable = upstream.fd >= 0
      advance()
    }
    if let inspected, worker.conditions.nowMs >= inspected.deadlineMs { advance() }
    if worker.conditions.nowMs >= keepAliveAtMs { keepAlive() }
    if phase == .open || phase == .flushingAnswer, worker.conditions.nowMs >= flow.deadlineMs { tell(.deadlinePassed) }
    awaitNext()
  }

  mutating func resolved(_ answer: NameAnswer, token: UInt64) {
    guard phase == .open, token == nameToken else { return }
    tell(.answered(answer))
    awaitNext()
  }

  /// Applies only if the flow still waits for this password: after a reload the connection may be at another request.
  mutating func verified(_ verified: VerifiedPassword) {
    let question = verified.question
    guard flow.client.proxyUser == question.user, flow.client.passwordHash == question.hash,
      flow.presentedPassword == question.password
    else { return }
    tellFromOutside(verified.isRight && !moveShare() ? .gateFailed : .authenticated(verified.isRight))
  }

  /// Events of the control side: a new policy, an approval, the end of a drain.
  mutating func tellFromOutside(_ event: Event) {
    guard phase == .open || phase == .flushingAnswer else { return }
    tell(event)
    // An inspected tunnel applies the new policy in its next turn.
    if inspected != nil && phase == .open { worker.loop.again(slot) }
    awaitNext()
  }

  /// A drain waits for open requests, not for a client that may never send another one.
  mutating func closeIfQuiet() {
    if flow.isQuiet || flow.state.isAwaiting { tellFromOutside(.drainEnded) }
  }

  /// Closes at once, without sending what is left.
  mutating func closeNow() { close(cut: true) }

  // MARK: - Bytes that have come

  /// Does all the work that the two sockets allow now.
  mutating func advance() {
    switch phase {
    case .closed: return
    case .lingering: return linger()
    case .farewell: sayFarewell()
    case .flushingAnswer:
      flushAnswer()
      // The flow's input may hold requests that arrived meanwhile.
      if phase == .open && flow.hasInput { tell(.clientSent) }
    case .open: break
    }
    if phase == .open && flow.state.wantsClientBytes && client.isReadable { readClient() }
    if phase == .open && upstream.isReadable, case .exchanging = flow.state { readAnswer() }
    if phase == .open { inspected == nil ? relay() : moveInspected() }
    awaitNext()
  }

  mutating func readClient() {
    var chunks = 0
    while phase == .open && flow.state.wantsClientBytes && client.isReadable {
      chunks += 1
      if chunks > Self.headChunksMax { return worker.loop.again(slot) }
      let asked = RelayDirection.copyBytesMax
      switch worker.tools.scratch.receive(from: client.fd, upTo: asked) {
      case .bytes(let count):
        if count < asked && !client.hasPeerEnded { client.isReadable = false }
        worker.tools.scratch.withBytes(count) { flow.clientSent($0) }
        let isForAnother = flow.state.isReadingProxyHeader
        tell(.clientSent)
        if isForAnother && !flow.state.isReadingProxyHeader && !moveShare() { tell(.gateFailed) }
      case .wouldBlock:
        client.isReadable = false
        if client.isGone { tell(.clientReset) }
      case .end:
        client.isReadable = false
        up.hasSourceEnded = true
        tell(.clientEnded)
      case .failed:
        client.isReadable = false
        tell(.clientReset)
      }
    }
  }

  /// Reads the answer's head. An upstream may send any number of interim answers: unsent ones are flushed first, so
  /// memory stays bounded.
  mutating func readAnswer() {
    var chunks = 0
    while phase == .open && upstream.isReadable && flow.wantsAnswerHead {
      if let end = down.flush(to: &client, bucket: downloadBucket()) {
        return stalled(end)
      }
      chunks += 1
      if chunks > Self.headChunksMax { return worker.loop.again(slot) }
      let asked = RelayDirection.copyBytesMax
      switch worker.tools.scratch.receive(from: upstream.fd, upTo: asked) {
      case .bytes(let count):
        if count < asked && !upstream.hasPeerEnded { upstream.isReadable = false }
        worker.tools.scratch.withBytes(count) { flow.upstreamSent($0) }
        tell(.upstreamSent)
      case .wouldBlock: upstream.isReadable = false
      case .end:
        upstream.isReadable = false
        tell(.upstreamEnded)
      case .failed:
        upstream.isReadable = false
        tell(.upstreamEnded)
      }
    }
  }

  /// An idle upstream must not send anything (RFC 9112 section 9.2): bytes or an end make it unfit for the next
  /// request.
  mutating func standingUpstreamEvent() {
    if upstream.isReadable {
      flow.standingUpstreamEnded()
      closeUpstream()
    }
  }
}
