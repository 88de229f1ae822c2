// What one client connection is made of, and what moves it: its two sockets, its Flow, one RelayDirection a direction.
// It performs the Flow's actions and tells the Flow what came of them. A value owned by its Session: see there why.
import Flow
import Intercept
import Kernel
import Policy
import Wire

struct Connection: ~Copyable {
  /// The tag of the client's socket in epoll's key; each connect attempt has the next one.
  static let clientTag: UInt8 = 0
  /// So long a peer may take to accept the last bytes.
  static let farewellMs: UInt64 = 10_000
  static let keepAliveMs: UInt64 = 60_000
  /// Chunks read in one turn while heads are read: each may hold hundreds of requests, and others are to be served too.
  static let headChunksMax = 4

  /// The worker holds the session and lets it go at its end: until then, this is a cycle.
  let worker: Worker
  let id: UInt64
  var slot = Slot.none
  let clientSocket: Descriptor
  /// In whose share of the connections it is, and of all that it asks the gate for.
  var shareOwner: ShareOwner
  /// Behind TLS its place is that of the whole connection, which may end after it.
  let isOwnerFixed: Bool
  /// Where it went to an address that was made up for a name: no other name gets it meanwhile.
  var lease: NameLease?
  var upstreamSocket = Upstream()
  var flow: Flow
  var client: SocketState
  var upstream = SocketState()
  var up = RelayDirection()
  var down = RelayDirection()
  /// What is inside, where the rule wants it looked at.
  var inspected: InspectedTunnel?
  var filters: TunnelFilters?
  var phase = Phase.open
  /// Whether epoll tells when the client can take more: asked for when it first could not.
  var hearsClientWritable = false
  var isTunnel = false
  var stage = Stage.reading
  /// When the step that it says began, counted from the request's beginning: small, as the object is one size of
  /// malloc's.
  var stepMicroseconds: UInt32 = 0
  var armedMs = UInt64.max
  var pacedUntilMs = UInt64.max
  /// When the tunnel is old enough to be worth TCP keep-alive: most end before, and never pay for its timers.
  var keepAliveAtMs = UInt64.max
  var nameToken: UInt64 = 0
  /// What it waits for in `dialling`.
  var lookup: NameLookup?
  var lingering = Lingering()
  /// A request of it may stand in the registry of approvals.
  var asksApproval = false

  enum Phase: UInt8 {
    case open
    /// The answer to the last request is still on its way; the next request waits for it.
    case flushingAnswer
    /// The last bytes are on their way to the client.
    case farewell
    /// All was sent; what the client still sends is read and dropped, so that no reset overtakes the answer.
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

  /// Watches its socket; false when the kernel refused.
  mutating func begin(_ slot: Slot) -> Bool {
    self.slot = slot
    // A connection that the kernel cannot watch is closed; the next one may be watched again.
    guard (try? worker.loop.watchReadingEdges(client.fd, slot, tag: Self.clientTag)) != nil else { return false }
    // A client's first bytes often come with its connection: they are looked for before epoll says so.
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

  /// It counts for the very password that was asked about: after a reload the connection may be on to another request.
  mutating func verified(_ verified: VerifiedPassword) {
    let question = verified.question
    guard flow.client.proxyUser == question.user, flow.client.passwordHash == question.hash,
      flow.presentedPassword == question.password
    else { return }
    tellFromOutside(verified.isRight && !moveShare() ? .gateFailed : .authenticated(verified.isRight))
  }

  /// The control side: a new policy, the end of a drain.
  mutating func tellFromOutside(_ event: Event) {
    guard phase == .open || phase == .flushingAnswer else { return }
    tell(event)
    // What is inside of a tunnel is held to a new policy by the tunnel's next turn.
    if inspected != nil && phase == .open { worker.loop.again(slot) }
    awaitNext()
  }

  /// A drain waits for what is under way, not for a client that may ask no more.
  mutating func closeIfQuiet() {
    if flow.isQuiet || flow.state.isAwaiting { tellFromOutside(.drainEnded) }
  }

  /// The last moment: whatever is left is not waited for.
  mutating func closeNow() { close(cut: true) }

  // MARK: - Bytes that have come

  /// Does all that the two sockets now allow.
  mutating func advance() {
    switch phase {
    case .closed: return
    case .lingering: return linger()
    case .farewell: sayFarewell()
    case .flushingAnswer:
      flushAnswer()
      // Requests that came in the meantime stand in the flow's input.
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

  /// Interim answers come in any number: those that the client has not taken are all that is held of them.
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

  /// Nothing was asked of it: whatever it says, it will not serve the next request.
  mutating func standingUpstreamEvent() {
    if upstream.isReadable {
      flow.standingUpstreamEnded()
      closeUpstream()
    }
  }
}
