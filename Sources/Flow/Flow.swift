// One client connection as a pure state machine: an event goes in, an action comes out. Start reading here.
// It relies on Wire to read bytes and on Policy to judge; it owns no socket and no clock.
package import Policy
package import Wire

/// ```
///   accept ---> readingProxyHeader (from listed peers) ---> one of the next two
///   accept ---> readingRedirected --- HTTP ---> readingHead;   with a ClientHello or a known address: decide
///
///              head incomplete             SOCKS 5 by its first byte
///                 +----+            +--> readingSOCKS ---> decide
///                 v    |            |
///   accept ---> readingHead --------+---------------> authenticating (where a password is needed)
///     ^           |   ^                                      |
///     |    decide |   | next request                         |
///     |           v   |                                      v
///     |         (verdict, token) <---------------------------+
///     |           |    \  no token, on_limit: pace
///     |           |     +-----> pacing -----+
///     |           |    \  no rule, approvals |
///     |           |     +-----> awaiting ---+      a person, a reload
///     |           v                         |
///     |        dialling <-------------------+      resolve, screen, connect
///     |           |
///     |     +-----+--------------+-------------------+
///     |     v CONNECT, tls       v CONNECT, auto     v CONNECT, tcp     v plain HTTP
///     |  readingHello         peeking                |              exchanging --- 101 ---> relaying
///     |     |  SNI is right      |  not TLS, or right |                  |
///     |     +-----> relaying <---+--------------------+                  |
///     |                |                                                 |
///     +----------------|-------------------------------------------------+ keep-alive
///                      v
///                    ended        (each state: refusal, deadline, reload, drain)
///
///   A request for `sluice.internal` goes from readingHead to readingQuestion, and back: the gate answers it.
///   `relaying` holds a Tunnel: opaque, inspected, or upgraded. `exchanging` holds an Exchange, which has a diagram of
///   its own. What is refused where the client's TLS can be terminated ends in `explaining`, and is told there.
/// ```
package struct Flow: ~Copyable {
  package internal(set) var state = State.readingHead
  package internal(set) var client: Client
  package internal(set) var via = Via.connect
  package internal(set) var target: Target?
  package internal(set) var rule: AllowRule? {
    didSet { limitsBytes = rule.map { $0.uploadBytes != nil || $0.downloadBytes != nil } ?? false }
  }
  /// True if the rule limits bytes. Cached, since a relay asks on each event and most rules have no such limit.
  package private(set) var limitsBytes = false
  /// The address of the upstream.
  package internal(set) var address: IPAddress?
  /// The start of this request or tunnel, and the time at which the flow wants an event.
  package internal(set) var startedNs: UInt64
  package internal(set) var deadlineMs: UInt64
  /// Counts the requests of one connection.
  package internal(set) var ordinal: UInt32 = 0
  /// Buffers needed until the tunnel is open. Then they are freed: an idle tunnel holds no buffer.
  var buffers: RequestBuffers?
  package internal(set) var source: IPAddress
  package let sandbox: String?
  var opening: Opening
  var needsCredentials: Bool
  var heldConcurrency: ConcurrencyLimit?
  package internal(set) var lastActivityMs: UInt64 = 0
  private(set) var outcome: Outcome?
  private var notice: Outcome?
  /// True once report mode has logged a line: one line per request is enough.
  package internal(set) var hasNoted = false

  /// `sandbox`: the sandbox of the listener, if it identifies the client. `expectsProxyHeader`: the peer forwards
  /// other clients' connections and must send a PROXY header first.
  package init(
    source: IPAddress, sandbox: String? = nil, opening: Opening = .proxy, expectsProxyHeader: Bool = false,
    _ conditions: borrowing Conditions
  ) {
    self.source = source
    self.sandbox = sandbox
    self.opening = opening
    client = conditions.policy.fallback
    needsCredentials = false
    startedNs = conditions.nowNs
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.headMs
    buffers = RequestBuffers()
    identifySource(conditions)
    state = expectsProxyHeader ? .readingProxyHeader : firstState
  }

  /// The state that reads the client's first bytes.
  var firstState: State { opening == .proxy ? .readingHead : .readingRedirected }

  mutating func identifySource(_ conditions: borrowing Conditions) {
    switch conditions.policy.identify(source: source, sandbox: sandbox) {
    case .client(let client):
      self.client = client
      needsCredentials = false
    case .needsCredentials:
      client = conditions.policy.fallback
      needsCredentials = true
    }
  }

  // MARK: - Bytes in and out

  package mutating func clientSent(_ bytes: Span<UInt8>) {
    buffers?.append(bytes)
  }

  package mutating func upstreamSent(_ bytes: Span<UInt8>) {
    buffers?.appendAnswer(bytes)
  }

  /// Takes unused bytes of the client: the start of a body, or of the next request.
  package mutating func takeInput(within meter: inout BodyMeter) -> (bytes: [UInt8], progress: BodyMeter.Progress) {
    buffers?.takeInput(within: &meter) ?? ([], .ended(0))
  }
  package mutating func takeAnswer(within meter: inout BodyMeter) -> (bytes: [UInt8], progress: BodyMeter.Progress) {
    buffers?.takeAnswer(within: &meter) ?? ([], .ended(0))
  }
  package mutating func takeToClient() -> [UInt8] { buffers?.takeToClient() ?? [] }
  /// True if the bytes taken last were written by the gate, not by an upstream.
  package var isReplyOwn: Bool { buffers?.isReplyOwn ?? false }
  package mutating func takeToUpstream() -> [UInt8] { buffers?.takeToUpstream() ?? [] }
  /// True if no request is open.
  package var isQuiet: Bool {
    switch state {
    case .readingHead, .readingRedirected, .readingProxyHeader: !hasInput
    default: false
    }
  }
  package var isLetOut: Bool { state.isLetOut }
  /// True if the tunnel's requests are visible and judged one by one.
  package var isInspected: Bool {
    if case .relaying(let tunnel) = state, case .inspected = tunnel.content { true } else { false }
  }
  package var hasInput: Bool { buffers?.hasInput ?? false }
  /// True for a SOCKS 5 client. Known only until the tunnel is open.
  package var isSOCKS: Bool { buffers?.socks != nil }
  package var hasAnswer: Bool { buffers?.hasAnswer ?? false }

  package var wantsAnswerHead: Bool {
    if case .exchanging(.awaitingAnswer) = state { true } else { false }
  }

  package var hasReport: Bool { outcome != nil || notice != nil }

  package mutating func takeOutcome() -> Outcome? { outcome.take() }
  package mutating func takeNotice() -> Outcome? { notice.take() }

  /// Called by a relay on each event: one store, and no timer is moved.
  package mutating func touched(atMs nowMs: UInt64) { lastActivityMs = nowMs }

  /// Takes all bytes from before the tunnel was open, and frees the buffers.
  package mutating func takeAllForTunnel() -> EarlyBytes {
    defer { if state.isRelaying { buffers = nil } }
    return buffers?.takeAll() ?? EarlyBytes()
  }

  /// Takes the judged request and all bytes behind it.
  package mutating func takeJudgedRequest() -> [UInt8] { buffers?.takeJudgedRequest() ?? [] }

  // MARK: - The one function that moves it

  package mutating func handle(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    let action = move(event, conditions)
    assert(brokenInvariant == nil, "after \(event): \(brokenInvariant ?? "")")
    return action
  }

  private mutating func move(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch (state, event) {
    case (.ended, _): return .wait
    case (_, .policyReplaced): return policyReplaced(conditions)
    case (_, .operatorCloses): return operatorCloses(conditions)
    case (.readingHead, _): return onReadingHead(event, conditions)
    case (.readingProxyHeader, _): return onReadingProxyHeader(event, conditions)
    case (.readingRedirected, _): return onReadingRedirected(event, conditions)
    case (.readingSOCKS(let step), _): return onReadingSOCKS(step, event, conditions)
    case (.readingQuestion(let question), _): return onReadingQuestion(question, event, conditions)
    case (.refusing(let refusal), _): return onRefusing(refusal, event, conditions)
    case (.explaining, _): return onExplaining(event, conditions)
    case (.authenticating, .authenticated(let isRight)): return authenticated(isRight, conditions)
    case (.pacing, .deadlinePassed): return decide(conditions)
    case (.awaiting, _): return onAwaiting(event, conditions)
    case (.dialling(let dial), _): return onDialling(dial, event, conditions)
    case (.readingHello, _), (.peeking, _): return onHello(event, conditions)
    case (.exchanging(let exchange), _): return onExchange(exchange, event, conditions)
    case (.relaying, _): return onRelaying(event, conditions)
    case (_, .clientSent), (_, .clientEnded): return .wait
    default: return onUnfinished(event, conditions)
    }
  }

  /// Handles events that may come in any state before a tunnel is open.
  mutating func onUnfinished(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .drainEnded: return refuse(.shutdown, conditions)
    case .deadlinePassed: return refuse(.timeout, conditions)
    case .gateFailed: return refuse(.tooMany, conditions)
    case .upstreamReset, .clientReset:
      end(Outcome(.closed, address: address))
      return .close(.cut)
    default: return .wait
    }
  }

  // MARK: - Ends

  mutating func end(_ outcome: consuming Outcome) {
    if outcome.line == nil { outcome.line = buffers?.approvedBy ?? rule?.line }
    if outcome.address == nil { outcome.address = address }
    outcome.ordinal = ordinal
    outcome.isInspected = isInspected
    self.outcome = consume outcome
    end()
  }

  /// Ends the flow without another log line.
  mutating func end() {
    heldConcurrency?.leave()
    heldConcurrency = nil
    state = .ended
    deadlineMs = .max
  }

  mutating func note(_ finding: Finding, _ request: RequestLine? = nil) {
    note(finding.reason, line: finding.line, request: request)
  }

  /// Logs, in report mode, a request that enforce mode would refuse.
  mutating func note(
    _ reason: Reason, line: SourceLine? = nil, address: IPAddress? = nil, request: RequestLine? = nil
  ) {
    guard !hasNoted else { return }
    hasNoted = true
    var outcome = Outcome(noting: reason, line: line)
    outcome.address = address
    outcome.ordinal = ordinal
    outcome.isInspected = isInspected
    outcome.request = request.map { LoggedRequest($0, status: nil) }
    notice = outcome
  }

  mutating func mentionSNI(_ name: HostName?) { outcome?.sni = name }

  package var isReportOnly: Bool { client.network.isReportOnly }
}
