// Performs the Flow's actions: one function per action, and the log line of an outcome.
// It relies on an action being performed at once; a result that takes time comes back as an event.
import Flow
import Kernel
import Policy
import Wire

extension Connection {
  mutating func tell(_ event: Event) {
    perform(flow.handle(event, worker.conditions))
  }

  mutating func perform(_ first: Action) {
    defer {
      if lookup != nil && !flow.state.isDialling { forgetLookup() }
      if asksApproval && !flow.state.isAwaiting && inspected == nil { withdrawApproval() }
    }
    var next: Action? = first
    while let action = next {
      next = nil
      report()
      switch action {
      case .wait: if flow.state.isPacing { worker.noteFetching(slot) }
      case .authenticate: next = authenticate()
      case .askApproval(let question): next = ask(question)
      case .resolve(let name): next = resolve(name)
      case .nameDestination(let address):
        lease = worker.shared.syntheticNames.lease(address)
        next = flow.handle(.destinationNamed(lease?.name), worker.conditions)
      case .connect(let address, let port): next = connect(address, port)
      case .reply:
        down.hold(flow.takeToClient(), isOwn: flow.isReplyOwn)
        if case .sinkReset? = down.flush(to: &client, bucket: downloadBucket()) {
          next = flow.handle(.clientReset, worker.conditions)
        } else if flow.hasInput {
          next = flow.handle(.clientSent, worker.conditions)
        }
      case .relay(let isUp, let isDown): next = openRelay(up: isUp, down: isDown)
      case .intercept: next = openInspected()
      case .explain: next = explain()
      case .answerQuestion: next = answerQuestion()
      case .inspectExchange:
        next = isStandingUnfit() ? flow.replaceStandingUpstream(worker.conditions) : inspectExchange()
      case .sendRequest(let body):
        next = isStandingUnfit() ? flow.replaceStandingUpstream(worker.conditions) : sendRequest(body)
      case .sendInterim:
        down.hold(flow.takeToClient(), isOwn: flow.isReplyOwn)
        next = flow.hasAnswer ? flow.handle(.upstreamSent, worker.conditions) : nil
      case .sendResponse(let body): next = sendResponse(body)
      case .nextRequest(let keepUpstream): next = nextRequest(keepUpstream: keepUpstream)
      case .close(let ending): close(ending)
      }
    }
  }

  mutating func report() {
    guard flow.hasReport else { return }
    if let notice = flow.takeNotice() { worker.record(notice, of: flow, facts()) }
    guard let outcome = flow.takeOutcome() else { return }
    worker.record(outcome, of: flow, facts())
    up.moved = 0
    down.moved = 0
  }

  mutating func facts() -> AuditFacts {
    AuditFacts(
      id: id, bytesUp: up.moved, bytesDown: down.moved,
      durationMs: (worker.conditions.nowNs &- flow.startedNs) / 1_000_000)
  }

  mutating func authenticate() -> Action? {
    guard let hash = flow.client.passwordHash, let user = flow.client.proxyUser else {
      return flow.handle(.authenticated(false), worker.conditions)
    }
    let password = flow.presentedPassword
    let sharing = worker.conditions.policy.sharing
    switch worker.passwords.check(
      user: user, password: password, hash: hash, asker: slot, for: shareOwner, sharing)
    {
    case .known(let isRight):
      if isRight && !moveShare() { return flow.handle(.gateFailed, worker.conditions) }
      return flow.handle(.authenticated(isRight), worker.conditions)
    case .asked: return nil
    }
  }

  mutating func resolve(_ name: HostName) -> Action? {
    closeUpstream()
    resolutionBegins()
    forgetLookup()
    nameToken &+= 1
    let sharing = worker.conditions.policy.sharing
    switch worker.resolver.resolve(name, for: slot, token: nameToken, owner: shareOwner, sharing) {
    case .pending(let lookup):
      self.lookup = lookup
      return nil
    case .full: return flow.handle(.gateFailed, worker.conditions)
    case .ready(let v4, let v6):
      return flow.handle(.resolved(v4: v4.addresses, v6: v6.addresses), worker.conditions)
    }
  }

  /// Cancels the lookup of a connection that has ended or no longer needs the name.
  mutating func forgetLookup() {
    guard let lookup = lookup.take() else { return }
    worker.resolver.forget(lookup, for: slot, token: nameToken)
  }

  /// Moves the connection to its client's share once the client is identified. False if the client's share is used
  /// up.
  mutating func moveShare() -> Bool {
    let policy = worker.conditions.policy
    let owner =
      flow.client.proxyUser == nil
      ? policy.shareOwner(source: flow.source, sandbox: flow.sandbox)
      : policy.shareOwner(of: flow.client, source: flow.source)
    guard owner != shareOwner && !isOwnerFixed else { return true }
    guard worker.movePlace(from: shareOwner, to: owner) else { return false }
    shareOwner = owner
    return true
  }

  mutating func openRelay(up isUp: Bool, down isDown: Bool) -> Action? {
    down.hold(flow.takeToClient(), isOwn: flow.isReplyOwn)
    // The flow asks for the relay twice if the first bytes are checked in between.
    tunnelOpens()
    if isUp {
      up.open(.tunnel)
      let early = flow.takeAllForTunnel()
      up.hold(early.toUpstream, isOwn: false)
      up.hold(early.input, isOwn: false)
      down.hold(early.answer, isOwn: false)
    }
    if isDown { down.open(.tunnel) }
    relay()
    return nil
  }

  /// An idle upstream that is readable has sent unexpected bytes or has closed: it cannot serve another request.
  private func isStandingUnfit() -> Bool {
    guard flow.usesStandingUpstream, upstream.fd >= 0 else { return false }
    if case .wouldBlock = Socket.peek(upstream.fd) { return false }
    return true
  }

  mutating func sendRequest(_ body: BodyLength) -> Action? {
    worker.audit.count { $0.requests &+= 1 }
    requestOpens()
    up.open(BodyMeter(body))
    down.isOpen = false
    up.hold(flow.takeToUpstream(), isOwn: false)
    let (bytes, progress) = flow.takeInput(within: &up.meter)
    up.hold(bytes, isOwn: false)
    if case .malformed = progress { return flow.handle(.bodyMalformed, worker.conditions) }
    if up.meter.hasEnded { up.isOpen = false }
    let end = up.flush(to: &upstream, bucket: uploadBucket())
    if case .sinkReset? = end { return flow.handle(.upstreamEnded, worker.conditions) }
    if case .limited(let grant)? = end, !pace(grant) { return flow.handle(.uploadLimited, worker.conditions) }
    if case .none = body { return nil }
    return up.meter.hasEnded ? flow.handle(.requestBodyEnded, worker.conditions) : nil
  }

  mutating func sendResponse(_ body: BodyLength) -> Action? {
    down.open(BodyMeter(body))
    down.hold(flow.takeToClient(), isOwn: flow.isReplyOwn)
    let (bytes, progress) = flow.takeAnswer(within: &down.meter)
    down.hold(bytes, isOwn: false)
    if case .malformed = progress { return flow.handle(.bodyMalformed, worker.conditions) }
    switch down.flush(to: &client, bucket: downloadBucket()) {
    case .sinkReset: return flow.handle(.clientReset, worker.conditions)
    case .limited(let grant) where !pace(grant): return flow.handle(.downloadLimited, worker.conditions)
    default: break
    }
    guard down.meter.hasEnded else { return nil }
    down.isOpen = false
    return flow.handle(.responseBodyEnded, worker.conditions)
  }

  mutating func nextRequest(keepUpstream: Bool) -> Action? {
    nextRequestBegins()
    if !keepUpstream || (upstream.fd >= 0 && upstream.hasPeerEnded) {
      flow.standingUpstreamEnded()
      closeUpstream()
    }
    down.hold(flow.takeToClient(), isOwn: flow.isReplyOwn)
    phase = .flushingAnswer
    flushAnswer()
    // The last read may have left bytes in the socket, and no further edge reports them.
    if client.isReadable { worker.loop.again(slot) }
    guard phase == .open, flow.hasInput else { return nil }
    return flow.handle(.clientSent, worker.conditions)
  }

  /// No further request is read before the last answer is sent: otherwise answers could pile up without bound.
  mutating func flushAnswer() {
    switch down.flush(to: &client, bucket: downloadBucket()) {
    case nil: phase = .open
    case let end?: stalled(end)
    }
  }

  // MARK: - Connect

  mutating func connect(_ address: IPAddress, _ port: UInt16) -> Action? {
    if upstreamSocket.isStanding { closeUpstream() }
    attemptBegins()
    switch upstreamSocket.start(address, port: port, worker.loop, slot) {
    case .underWay: return nil
    case .failed(let code): return flow.handle(.attemptFailed(code: code), worker.conditions)
    case .exhausted: return flow.handle(.gateFailed, worker.conditions)
    }
  }

  mutating func settle(_ tag: UInt8, _ readiness: Readiness) {
    guard phase == .open else { return }
    switch upstreamSocket.settle(tag) {
    case .nothing: return
    case .failed(let code): tell(.attemptFailed(code: code))
    case .connected(let dialled, let peer):
      upstream = SocketState(fd: upstreamSocket.fd, haste: .atFirstSend)
      // A server that speaks first may have sent bytes already, and no further edge reports them.
      upstream.note(readiness)
      connectionStands()
      keepAliveAtMs = worker.conditions.nowMs + Self.keepAliveMs
      tell(.connected(dialled: dialled, peer: peer))
    }
    advance()
  }

  /// Drops the bytes that the upstream has not taken: no other upstream may get a second copy of the request.
  mutating func closeUpstream(cut: Bool = false) {
    upstreamSocket.close(cut: cut)
    up.abandon(worker.tools.pipes)
    upstream = SocketState()
    down.hasSourceEnded = false
  }
}
