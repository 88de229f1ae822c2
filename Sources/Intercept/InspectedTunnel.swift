// The inside of one tunnel: TLS with the upstream, TLS with the client, and between them the requests, one by one.
// It relies on the Gate for sockets, edges and the flow's verdict; it owns neither descriptor.
package import Flow
package import Policy
package import Wire

/// What inspected tunnels of one loop share.
package final class InterceptTools {
  let buffer = ReadBuffer()
  var leaves = LeafCache()
  var sessions = UpstreamSessions()
  /// nil without memory for it.
  private(set) lazy var http2 = HTTP2Library()

  package init() {}
}

/// ```
///   upstream handshake --- verified ---> client handshake, ALPN as the upstream chose ---> bridging ---> ended
///          |                                        ^
///          +-- not to be trusted, or broken --------+  every request gets the one refusal
/// ```
package final class InspectedTunnel {
  private enum Phase {
    case upstreamHandshake
    case clientHandshake
    case bridging(any Bridge)
    case ended
  }

  private let tools: InterceptTools
  /// nil for an exchange without TLS.
  private let contexts: InterceptContexts?
  private let target: Target
  private let client: String
  private let clientFD: CInt
  /// What the client sent before: its ClientHello, and maybe more.
  private var early: [UInt8]
  private var phase: Phase
  private var upstreamStream: TLSStream?
  private var clientStream: TLSStream?
  private var plain: (client: SocketStream, upstream: SocketStream, bridge: HTTP1Bridge)?
  private var standing: Refusal?
  private var startedMs: UInt64
  private var handshakeDueMs: UInt64 = .max
  /// Bytes wait for tokens of a byte limit until then.
  private var starvedUntilMs: UInt64 = .max
  private var takenBefore: (up: UInt64, down: UInt64) = (0, 0)
  /// Bytes wait for a peer that has taken none since the last turn: what the other one says meanwhile does not make the
  /// tunnel a busy one.
  package private(set) var isStuck = false
  /// Where sessions of the upstream's TLS are kept, and found.
  private var sessionKey: UpstreamSessions.Key?
  /// When the certificate of the upstream was verified: before this tunnel, if its handshake resumes a session.
  private var verifiedMs: UInt64 = 0

  /// Both sockets are connected, and stay open until this is gone.
  package init(
    _ contexts: InterceptContexts, _ tools: InterceptTools, target: Target, client: String, clientFD: CInt,
    upstreamFD: CInt, early: [UInt8], rule: AllowRule, nowMs: UInt64
  ) {
    self.contexts = contexts
    self.tools = tools
    self.target = target
    self.client = client
    self.clientFD = clientFD
    self.early = early
    startedMs = nowMs
    phase = .upstreamHandshake
    let sessionKey = UpstreamSessions.Key(rule: rule, target: target, client: client)
    let offered = tools.sessions.take(sessionKey, nowMs: nowMs)
    self.sessionKey = sessionKey
    verifiedMs = offered?.verifiedMs ?? nowMs
    guard case .name(let name) = target.host, let tls = rule.inspection?.tls, let context = contexts.upstream(tls),
      let stream = TLSStream(context, fd: upstreamFD),
      stream.ask(name, protocols: Self.offered(early).wire, resuming: offered)
    else {
      phase = .ended
      return
    }
    upstreamStream = stream
  }

  /// Without an upstream: the client is told why.
  package init(
    _ contexts: InterceptContexts, _ tools: InterceptTools, refusing refusal: Refusal, target: Target,
    clientFD: CInt, early: [UInt8], nowMs: UInt64
  ) {
    self.contexts = contexts
    self.tools = tools
    self.target = target
    client = refusal.client
    self.clientFD = clientFD
    self.early = early
    startedMs = nowMs
    standing = refusal
    phase = .clientHandshake
  }

  /// A plain HTTP request whose rule looks into what comes back: the same bridge, without TLS. The flow has judged the
  /// request, whose bytes are `input`.
  package init(
    exchanging input: [UInt8], _ tools: InterceptTools, target: Target, client: String, clientFD: CInt,
    upstreamFD: CInt, nowMs: UInt64
  ) {
    let (clientStream, upstreamStream) = (SocketStream(fd: clientFD), SocketStream(fd: upstreamFD))
    let bridge = Bridges.exchange(
      input, client: clientStream, upstream: upstreamStream, target: target, clientName: client, tools)
    contexts = nil
    self.tools = tools
    self.target = target
    self.client = client
    self.clientFD = clientFD
    early = []
    startedMs = nowMs
    plain = (clientStream, upstreamStream, bridge)
    phase = .bridging(bridge)
  }

  /// What is left of the client when its plain exchange is over.
  package struct HandedBack {
    package let input: [UInt8]
    package let isReadable: Bool
    package let isWritable: Bool
    package let hasPeerEnded: Bool
  }

  package func handBack() -> HandedBack? {
    plain.map {
      HandedBack(
        input: $0.bridge.takeInput(), isReadable: $0.client.isReadable, isWritable: $0.client.isWritable,
        hasPeerEnded: $0.client.hasPeerEnded)
    }
  }

  /// What came of the upstream is told to the client in place of answers; the upstream's socket is not used again.
  package func explain(_ refusal: Refusal, nowMs: UInt64) {
    standing = refusal
    upstreamStream = nil
    startedMs = nowMs
    phase = .clientHandshake
  }

  private static func offered(_ early: [UInt8]) -> OfferedProtocols {
    guard case .complete(let hello) = ClientHello.parse(early.span, bytesMax: early.count) else {
      return OfferedProtocols()
    }
    return hello.protocols
  }

  // MARK: - What the Gate sees

  /// Plain bytes that the two sides took.
  package var bytesUp: UInt64 { upstreamStream?.moved ?? plain?.upstream.moved ?? 0 }
  package var bytesDown: UInt64 { clientStream?.moved ?? plain?.client.moved ?? 0 }

  package var deadlineMs: UInt64 {
    if case .bridging(let bridge) = phase { return min(bridge.deadlineMs, starvedUntilMs) }
    return handshakeDueMs
  }

  package func takeOutcomes() -> [Outcome] {
    if case .bridging(let bridge) = phase { return bridge.takeOutcomes() }
    return []
  }

  /// What epoll has told of the two sockets since the last turn.
  package func noteClient(isReadable: Bool, isWritable: Bool, hasPeerEnded: Bool) {
    clientStream?.note(isReadable: isReadable, isWritable: isWritable, hasPeerEnded: hasPeerEnded)
    plain?.client.note(isReadable: isReadable, isWritable: isWritable, hasPeerEnded: hasPeerEnded)
  }

  package func noteUpstream(isReadable: Bool, isWritable: Bool, hasPeerEnded: Bool) {
    upstreamStream?.note(isReadable: isReadable, isWritable: isWritable, hasPeerEnded: hasPeerEnded)
    plain?.upstream.note(isReadable: isReadable, isWritable: isWritable, hasPeerEnded: hasPeerEnded)
  }

  package func advance(_ tick: Tick) -> TunnelProgress {
    defer { noteStuck() }
    while true {
      switch phase {
      case .ended: return .event(.gateFailed)
      case .upstreamHandshake:
        if let progress = shakeUpstream(tick) { return progress }
      case .clientHandshake:
        if let progress = shakeClient(tick) { return progress }
      case .bridging(let bridge):
        let progress = advance(bridge, tick)
        keepSession(tick)
        return progress
      }
    }
  }

  private func noteStuck() {
    let (up, down) = (
      upstreamStream?.pendingCount ?? plain?.upstream.pendingCount ?? 0,
      clientStream?.pendingCount ?? plain?.client.pendingCount ?? 0
    )
    isStuck = up > 0 && bytesUp == takenBefore.up || down > 0 && bytesDown == takenBefore.down
    takenBefore = (bytesUp, bytesDown)
  }

  private func advance(_ bridge: any Bridge, _ tick: Tick) -> TunnelProgress {
    let rule = tick.isReportOnly ? nil : tick.rule
    upstreamStream?.allowance.begin(rule?.uploadBytes, nowNs: tick.moment.nowNs)
    clientStream?.allowance.begin(rule?.downloadBytes, nowNs: tick.moment.nowNs)
    plain?.upstream.allowance.begin(rule?.uploadBytes, nowNs: tick.moment.nowNs)
    plain?.client.allowance.begin(rule?.downloadBytes, nowNs: tick.moment.nowNs)
    let progress = bridge.advance(tick)
    if case .event = progress { return progress }
    let up = upstreamStream?.allowance.starved ?? plain?.upstream.allowance.starved
    let down = clientStream?.allowance.starved ?? plain?.client.allowance.starved
    starvedUntilMs = .max
    let starved = [up, down].compactMap { $0 }
    guard let waitNs = starved.map(\.retryAfterNs).min() else { return progress }
    guard rule?.onLimit == .pace || starved.allSatisfy(\.isFetching) else {
      return .event(up?.isFetching == false ? .uploadLimited : .downloadLimited)
    }
    starvedUntilMs = tick.nowMs + max(1, min(waitNs / 1_000_000, 1_000))
    return progress
  }

  /// TLS 1.3 offers sessions behind the handshake, with the first bytes.
  private func keepSession(_ tick: Tick) {
    guard let sessionKey, let session = upstreamStream?.takeSession() else { return }
    tools.sessions.put(session, for: sessionKey, verifiedMs: verifiedMs, nowMs: tick.nowMs)
  }

  // MARK: - Handshakes

  private func shakeUpstream(_ tick: Tick) -> TunnelProgress? {
    guard let upstreamStream else { return .event(.gateFailed) }
    switch upstreamStream.handshake() {
    case .done:
      if !upstreamStream.isResumed { verifiedMs = tick.nowMs }
      phase = .clientHandshake
      startedMs = tick.nowMs
      return nil
    case .blocked: return wait(tick) ? .waiting : .event(.upstreamFailed("It did not finish the TLS handshake in time"))
    case .failed(let failure):
      // True if it failed for the session that was offered or not: the next handshake is a whole one.
      if let sessionKey { tools.sessions.forget(sessionKey) }
      return .event(Self.event(failure))
    }
  }

  private static func event(_ failure: TLSFailure) -> Event {
    switch failure {
    case .untrusted(let why): return .upstreamUntrusted("OpenSSL says: \(why)")
    case .broken(let why): return .upstreamFailed("TLS with it failed: \(why)")
    }
  }

  private func shakeClient(_ tick: Tick) -> TunnelProgress? {
    guard let stream = clientStream ?? beginClient(tick) else { return .event(.gateFailed) }
    clientStream = stream
    switch stream.handshake() {
    case .done:
      // In TLS 1.3 it says behind its handshake what it thinks of our certificate.
      upstreamStream?.hearAlert()
      if let problem = upstreamStream?.problem { return .event(.upstreamFailed(problem)) }
      keepSession(tick)
      guard let bridge = bridge(stream, tick) else { return .event(.gateFailed) }
      phase = .bridging(bridge)
      return nil
    case .blocked: return wait(tick) ? .waiting : .event(.clientReset)
    // The client does not trust the CA, as a rule: its alert is its answer.
    case .failed: return .event(.clientReset)
    }
  }

  private func wait(_ tick: Tick) -> Bool {
    handshakeDueMs = startedMs + tick.headMs
    return tick.nowMs < handshakeDueMs
  }

  private func beginClient(_ tick: Tick) -> TLSStream? {
    guard let contexts else { return nil }
    let context =
      standing != nil
      ? contexts.serveRefused
      : upstreamStream?.chosenProtocol == .http2 ? contexts.serveHTTP2 : contexts.serveHTTP1
    do throws(TLSProblem) {
      let leaf = try tools.leaves.leaf(
        for: target.host, contexts.authority, key: contexts.leafKey, nowMs: tick.nowMs)
      guard let stream = TLSStream(context, fd: clientFD, early: early) else { return nil }
      early = []
      return stream.serve(leaf, key: contexts.leafKey) ? stream : nil
    } catch {
      return nil
    }
  }

  /// Both sides speak what the upstream chose; a client that only hears why it is refused chose itself.
  private func bridge(_ stream: TLSStream, _ tick: Tick) -> (any Bridge)? {
    handshakeDueMs = .max
    let spoken = stream.chosenProtocol ?? .http1
    // The client offered no protocol that the upstream speaks.
    if let upstreamStream, (upstreamStream.chosenProtocol ?? .http1) != spoken { return nil }
    return Bridges.make(
      spoken, client: stream, upstream: upstreamStream, target: target, clientName: client, standing: standing, tools,
      tick)
  }
}
