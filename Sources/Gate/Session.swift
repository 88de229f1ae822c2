// One client connection: it performs the actions of its Flow, and tells the flow what came of them.
// It lives on one loop and never leaves it; the relay's bytes are moved by Channel.
import Flow
import Kernel
import Policy
import Wire

final class Session: Source {
  /// The tag of the client's socket in epoll's key; each connect attempt has the next one.
  private static let clientTag: UInt8 = 0
  private static let lingerMs: UInt64 = 2_000
  private static let lingerBytesMax = 256 * 1024

  private unowned let worker: Worker
  private let id: UInt64
  private var slot = Slot.none
  private let clientSocket: Descriptor
  private var upstreamSocket = Upstream()
  private var flow: Flow
  private var client: Side
  private var upstream = Side()
  private var up = Channel()
  private var down = Channel()
  private var phase = Phase.open
  private var armedMs = UInt64.max
  private var pacedUntilMs = UInt64.max
  private var nameToken: UInt64 = 0
  private var lingeredBytes = 0

  private enum Phase: UInt8 {
    case open
    /// The answer to the last request is still on its way; the next request waits for it.
    case flushingAnswer
    /// The last bytes are on their way to the client.
    case farewell
    /// All was sent; what the client still sends is read and dropped, so that no reset overtakes the answer.
    case lingering
    case closed
  }

  init(worker: Worker, id: UInt64, socket: consuming Descriptor, flow: consuming Flow) {
    self.worker = worker
    self.id = id
    client = Side(fd: socket.raw)
    clientSocket = socket
    self.flow = flow
  }

  /// Takes its slot and watches its socket; false when the kernel refused.
  func begin() -> Bool {
    slot = worker.loop.register(self)
    guard worker.loop.watchEdges(client.fd, slot, tag: Self.clientTag) else {
      worker.loop.release(slot)
      slot = .none
      return false
    }
    armDeadline()
    return true
  }

  var slotIndex: Int { slot.index }

  /// A client's first bytes often come with its connection: look before epoll says so.
  func start() {
    client.isReadable = true
    advance()
  }

  // MARK: - What the loop calls

  func ready(_ readiness: Readiness, tag: UInt8) {
    if tag == Self.clientTag {
      client.note(readiness)
    } else if upstreamSocket.isStanding(tag) {
      upstream.note(readiness)
      if flow.state == .readingHead { return standingUpstreamEvent() }
    } else {
      return settle(tag, readiness)
    }
    advance()
  }

  func resume() { advance() }

  func deadlinePassed() {
    armedMs = .max
    switch phase {
    case .closed: return
    case .farewell, .lingering: return close(cut: phase == .farewell)
    case .open, .flushingAnswer: break
    }
    worker.refreshConditions()
    if worker.conditions.nowMs >= pacedUntilMs {
      pacedUntilMs = .max
      client.isReadable = true
      upstream.isReadable = upstream.fd >= 0
      advance()
    }
    if phase == .open || phase == .flushingAnswer, worker.conditions.nowMs >= flow.deadlineMs { tell(.deadlinePassed) }
    armDeadline()
  }

  /// The control side: a new policy, the end of a drain, the verdict on a password.
  func tellFromOutside(_ event: Event) {
    guard phase == .open || phase == .flushingAnswer else { return }
    tell(event)
    armDeadline()
  }

  /// A drain waits for what is under way, not for a client that may ask no more.
  func closeIfQuiet() {
    if flow.state == .readingHead && !flow.hasInput { tellFromOutside(.drainEnded) }
  }

  /// The last moment: whatever is left is not waited for.
  func closeNow() { close(cut: true) }

  // MARK: - Bytes that have come

  /// Does all that the two sockets now allow.
  private func advance() {
    worker.refreshConditions()
    switch phase {
    case .closed: return
    case .lingering: return linger()
    case .farewell: return sayFarewell()
    case .flushingAnswer:
      flushAnswer()
      // Requests that came in the meantime stand in the flow's input.
      if phase == .open && flow.hasInput { tell(.clientSent) }
    case .open: break
    }
    if phase == .open && flow.wantsClientBytes && client.isReadable { readClient() }
    if phase == .open && flow.wantsAnswerHead && upstream.isReadable { readAnswer() }
    if phase == .open { relay() }
    armDeadline()
  }

  private func readClient() {
    while phase == .open && flow.wantsClientBytes && client.isReadable {
      let asked = Channel.copyBytesMax
      switch worker.tools.scratch.receive(from: client.fd, upTo: asked) {
      case .bytes(let count):
        if count < asked && !client.hasPeerEnded { client.isReadable = false }
        worker.tools.scratch.withBytes(count) { flow.clientSent($0) }
        tell(.clientSent)
      case .wouldBlock:
        client.isReadable = false
        if client.isGone { tell(.relayReset) }
      case .end:
        client.isReadable = false
        up.hasSourceEnded = true
        tell(.clientEnded)
      case .failed:
        client.isReadable = false
        tell(.relayReset)
      }
    }
  }

  private func readAnswer() {
    while phase == .open && flow.wantsAnswerHead && upstream.isReadable {
      let asked = Channel.copyBytesMax
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
  private func standingUpstreamEvent() {
    if upstream.isReadable {
      flow.standingUpstreamEnded()
      closeUpstream()
    }
  }

  // MARK: - The relay

  private func relay() {
    flow.touched(atMs: worker.conditions.nowMs)
    var isAgain = false
    if up.isOpen || !up.isEmpty { isAgain = pumpUp() }
    if phase == .open && (down.isOpen || !down.isEmpty) { isAgain = pumpDown() || isAgain }
    if phase == .open && flow.state == .relaying && up.hasCarriedEnd && down.hasCarriedEnd { tell(.relayEnded) }
    if phase == .open && flow.state == .exchanging && client.hasPeerEnded && up.meter.hasEnded { tell(.clientEnded) }
    if isAgain && phase == .open { worker.loop.again(slot) }
  }

  private func pumpUp() -> Bool {
    let end = up.pump(from: &client, to: &upstream, worker.tools, bucket: use(flow.rule?.uploadBytes))
    switch end {
    case .blocked: return false
    case .again: return true
    case .bodyEnded:
      up.isOpen = false
      tell(.requestBodyEnded)
    case .sourceEnded:
      guard flow.state == .exchanging else { return up.carryEnd(to: &upstream, isLast: down.hasCarriedEnd) }
      tell(.clientEnded)
    case .malformed: tell(.bodyMalformed)
    case .reset: tell(.relayReset)
    case .limited(let retryAfterNs): limited(.uploadLimited, retryAfterNs)
    }
    return false
  }

  private func pumpDown() -> Bool {
    let end = down.pump(from: &upstream, to: &client, worker.tools, bucket: use(flow.rule?.downloadBytes))
    switch end {
    case .blocked: return false
    case .again: return true
    case .bodyEnded:
      down.isOpen = false
      if flow.state == .exchanging { tell(.responseBodyEnded) }
    case .sourceEnded:
      guard flow.state == .exchanging else { return down.carryEnd(to: &client, isLast: up.hasCarriedEnd) }
      down.isOpen = false
      tell(down.meter.endsWithConnection ? .responseBodyEnded : .upstreamEnded)
    case .malformed: tell(.bodyMalformed)
    case .reset: tell(.relayReset)
    case .limited(let retryAfterNs): limited(.downloadLimited, retryAfterNs)
    }
    return false
  }

  private func limited(_ event: Event, _ retryAfterNs: UInt64) {
    if !pace(retryAfterNs) { tell(event) }
  }

  /// Waits for tokens where the rule says so.
  private func pace(_ retryAfterNs: UInt64) -> Bool {
    guard flow.rule?.onLimit == .pace else { return false }
    let waitMs = max(1, min(retryAfterNs / 1_000_000, 1_000))
    pacedUntilMs = min(pacedUntilMs, worker.conditions.nowMs + waitMs)
    return true
  }

  private func use(_ bucket: ByteBucket?) -> ByteBucketUse {
    ByteBucketUse(bucket: flow.isReportOnly ? nil : bucket, nowNs: worker.conditions.nowNs)
  }

  // MARK: - Actions

  private func tell(_ event: Event) {
    perform(flow.handle(event, worker.conditions))
  }

  private func perform(_ first: Action) {
    var next: Action? = first
    while let action = next {
      next = nil
      report()
      switch action {
      case .wait: break
      case .authenticate: authenticate()
      case .resolve(let name): next = resolve(name)
      case .connect(let address, let port): next = connect(address, port)
      case .relay(let isUp, let isDown): next = openRelay(up: isUp, down: isDown)
      case .sendRequest(let body): next = sendRequest(body)
      case .sendInterim:
        down.hold(flow.takeToClient())
        next = flow.hasAnswer ? flow.handle(.upstreamSent, worker.conditions) : nil
      case .sendResponse(let body): next = sendResponse(body)
      case .nextRequest(let keepUpstream): next = nextRequest(keepUpstream: keepUpstream)
      case .close(let ending): close(ending)
      }
    }
  }

  private func report() {
    if let notice = flow.takeNotice() { worker.record(notice, of: flow, facts()) }
    guard let outcome = flow.takeOutcome() else { return }
    worker.record(outcome, of: flow, facts())
    up.moved = 0
    down.moved = 0
  }

  private func facts() -> AuditFacts {
    AuditFacts(
      id: id, bytesUp: up.moved, bytesDown: down.moved, durationMs: worker.conditions.nowMs &- flow.startedMs)
  }

  private func authenticate() {
    guard let hash = flow.client.passwordHash, let user = flow.client.proxyUser else {
      return tell(.authenticated(false))
    }
    let password = flow.presentedPassword
    switch worker.passwords.check(user: user, password: password, hash: hash, asker: slot) {
    case .known(let isRight): tell(.authenticated(isRight))
    case .asked: break
    }
  }

  private func resolve(_ name: HostName) -> Action? {
    closeUpstream()
    nameToken &+= 1
    switch worker.names.resolve(name, for: self, token: nameToken) {
    case .pending: return nil
    case .ready(let v4, let v6):
      perform(flow.handle(.answered(NameAnswer(family: .v6, addresses: v6)), worker.conditions))
      return flow.handle(.answered(NameAnswer(family: .v4, addresses: v4)), worker.conditions)
    }
  }

  private func openRelay(up isUp: Bool, down isDown: Bool) -> Action? {
    down.hold(flow.takeToClient())
    if isUp {
      up.open(.tunnel)
      up.hold(flow.takeToUpstream())
      up.hold(flow.takeInput(), isPaid: false)
      down.hold(flow.takeAnswer())
    }
    if isDown { down.open(.tunnel) }
    flow.releaseBuffers()
    if let end = down.flush(to: &client), case .reset = end { return flow.handle(.relayReset, worker.conditions) }
    relay()
    return nil
  }

  private func sendRequest(_ body: BodyLength) -> Action? {
    up.open(BodyMeter(body))
    down.isOpen = false
    up.hold(flow.takeToUpstream())
    let (bytes, progress) = flow.takeInput(within: &up.meter)
    up.hold(bytes, isPaid: false)
    if case .malformed = progress { return flow.handle(.bodyMalformed, worker.conditions) }
    if up.meter.hasEnded { up.isOpen = false }
    let end = up.flush(to: &upstream, bucket: use(flow.rule?.uploadBytes))
    if case .reset? = end { return flow.handle(.upstreamEnded, worker.conditions) }
    if case .limited(let waitNs)? = end, !pace(waitNs) { return flow.handle(.uploadLimited, worker.conditions) }
    if case .none = body { return nil }
    return up.meter.hasEnded ? flow.handle(.requestBodyEnded, worker.conditions) : nil
  }

  private func sendResponse(_ body: BodyLength) -> Action? {
    down.open(BodyMeter(body))
    down.hold(flow.takeToClient())
    let (bytes, progress) = flow.takeAnswer(within: &down.meter)
    down.hold(bytes)
    if case .malformed = progress { return flow.handle(.bodyMalformed, worker.conditions) }
    if let end = down.flush(to: &client), case .reset = end { return flow.handle(.relayReset, worker.conditions) }
    guard down.meter.hasEnded else { return nil }
    down.isOpen = false
    return flow.handle(.responseBodyEnded, worker.conditions)
  }

  private func nextRequest(keepUpstream: Bool) -> Action? {
    if !keepUpstream || (upstream.fd >= 0 && upstream.hasPeerEnded) {
      flow.standingUpstreamEnded()
      closeUpstream()
    }
    down.hold(flow.takeToClient())
    phase = .flushingAnswer
    flushAnswer()
    guard phase == .open, flow.hasInput else { return nil }
    return flow.handle(.clientSent, worker.conditions)
  }

  /// No further request is read before the last answer has gone: else answers could pile up without bound.
  private func flushAnswer() {
    switch down.flush(to: &client) {
    case nil: phase = .open
    case .reset: tell(.relayReset)
    default: break
    }
  }

  // MARK: - Connect

  private func connect(_ address: IPAddress, _ port: UInt16) -> Action? {
    if upstreamSocket.isStanding { closeUpstream() }
    switch upstreamSocket.start(address, port: port, worker.loop, slot) {
    case .underWay: return nil
    case .failed(let code): return flow.handle(.attemptFailed(code: code), worker.conditions)
    case .exhausted: return flow.handle(.gateFailed, worker.conditions)
    }
  }

  private func settle(_ tag: UInt8, _ readiness: Readiness) {
    worker.refreshConditions()
    guard phase == .open else { return }
    switch upstreamSocket.settle(tag) {
    case .nothing: return
    case .failed(let code): tell(.attemptFailed(code: code))
    case .connected(let dialled, let peer):
      upstream = Side(fd: upstreamSocket.fd)
      // A server that speaks first may have done so: no further edge tells of what this one told.
      upstream.note(readiness)
      tell(.connected(dialled: dialled, peer: peer))
    }
    advance()
  }

  private func closeUpstream(cut: Bool = false) {
    upstreamSocket.close(cut: cut)
    upstream = Side()
    down.hasSourceEnded = false
  }

  // MARK: - Ends

  private func close(_ ending: Ending) {
    report()
    up.abandon(worker.tools.pipes)
    if case .cut = ending { return close(cut: true) }
    // Both ends were carried over: nothing is left to say or to hear.
    if up.hasCarriedEnd && down.hasCarriedEnd && down.isEmpty { return close(cut: false) }
    closeUpstream()
    down.isOpen = false
    down.hold(flow.takeToClient())
    phase = .farewell
    arm(atMs: worker.conditions.nowMs + Self.lingerMs * 5)
    sayFarewell()
  }

  private func sayFarewell() {
    switch down.finish(to: &client, worker.tools) {
    case nil:
      if up.hasSourceEnded { return close(cut: false) }
      guard Socket.shutdownWrite(client.fd) else { return close(cut: true) }
      phase = .lingering
      arm(atMs: worker.conditions.nowMs + Self.lingerMs)
      linger()
    case .reset: close(cut: true)
    default: break
    }
  }

  /// Reads and drops until the client's end: a close(2) with unread bytes would send a reset that may overtake the answer.
  private func linger() {
    while client.isReadable {
      switch worker.tools.scratch.receive(from: client.fd, upTo: Channel.copyBytesMax) {
      case .bytes(let count):
        lingeredBytes += count
        if lingeredBytes > Self.lingerBytesMax { return close(cut: false) }
      case .wouldBlock: client.isReadable = false
      case .end, .failed: return close(cut: false)
      }
    }
  }

  private func close(cut: Bool) {
    guard phase != .closed else { return }
    phase = .closed
    if cut { Socket.abort(client.fd) }
    closeUpstream(cut: cut)
    up.abandon(worker.tools.pipes)
    down.abandon(worker.tools.pipes)
    worker.ended(self, slot)
    slot = .none
  }

  // MARK: - The deadline

  private func armDeadline() {
    guard phase == .open || phase == .flushingAnswer else { return }
    arm(atMs: min(flow.deadlineMs, pacedUntilMs))
  }

  private func arm(atMs dueMs: UInt64) {
    guard dueMs != armedMs else { return }
    armedMs = dueMs
    worker.loop.setDeadline(slot, atMs: dueMs)
  }
}

extension Session: NamesAsker {
  func resolved(_ answer: NamesAnswer, token: UInt64) {
    guard phase == .open, token == nameToken else { return }
    worker.refreshConditions()
    tell(.answered(NameAnswer(family: answer.family, addresses: answer.addresses)))
    armDeadline()
  }
}
