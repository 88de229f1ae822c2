// One plain HTTP request and its answer: the rewritten head goes out, the answer's head comes back rewritten.
// It relies on Wire for heads and on the Gate to move bodies; each request of a connection was judged on its own.
import Policy
import Wire

private let brokenChunks = "the chunks of its body are malformed (RFC 9112 section 7.1)"

/// ```
///   sendRequest ---> awaitingAnswer <---+ an interim answer (1xx) goes through
///       |               |     |  +------+
///       |               |     | the kept upstream broke before any answer: dialling, once
///       |               | head of the answer
///       |               v
///       |           answering ---> ended, or the next request
///       |
///       +---> checked: a bridge has it (see Intercept) ---> ended, or the next request
/// ```
package enum Exchange {
  /// Intercept's bridge handles heads and bodies, and answers their errors.
  case checked(openedMs: UInt64)
  /// `sawInterim`: an interim answer has gone to the client.
  case awaitingAnswer(Sent, sawInterim: Bool)
  case answering(Sent, Continuation)

  /// The request that was sent.
  package struct Sent {
    let openedMs: UInt64
    let upstream: UpstreamUse
    var body: Body
  }

  enum Body {
    case sending, sent
    /// The client has closed its sending side, and still waits for the answer.
    case sentAndEnded
  }

  /// The kind of upstream connection that a request uses.
  enum UpstreamUse {
    case first
    /// The idle connection of the last request.
    case kept
    /// A new connection, in place of a kept one that broke.
    case second
  }

  /// The connections that stay open after the exchange.
  package struct Continuation {
    var keepsClient: Bool
    var keepsUpstream: Bool
  }

  var openedMs: UInt64 {
    switch self {
    case .checked(let openedMs): openedMs
    case .awaitingAnswer(let sent, _), .answering(let sent, _): sent.openedMs
    }
  }

  var isAnswering: Bool { if case .answering = self { true } else { false } }

  var sent: Sent? {
    get {
      switch self {
      case .checked: nil
      case .awaitingAnswer(let sent, _), .answering(let sent, _): sent
      }
    }
    set {
      guard let newValue else { return }
      switch self {
      case .checked: break
      case .awaitingAnswer(_, let sawInterim): self = .awaitingAnswer(newValue, sawInterim: sawInterim)
      case .answering(_, let continuation): self = .answering(newValue, continuation)
      }
    }
  }
}

extension Flow {
  mutating func sendRequest(by upstream: Exchange.UpstreamUse, _ conditions: borrowing Conditions) -> Action {
    guard let buffers, let target else { return .wait }
    if let refusal = refuseIfTooLate(conditions) { return refusal }
    let isChecked = rule?.checksContent == true
    var sent = Exchange.Sent(openedMs: conditions.nowMs, upstream: upstream, body: .sending)
    if case .none = buffers.request.body { sent.body = .sent }
    state = .exchanging(
      isChecked ? .checked(openedMs: conditions.nowMs) : .awaitingAnswer(sent, sawInterim: false))
    lastActivityMs = conditions.nowMs
    deadlineMs = relayDeadlineMs(conditions)
    if isChecked { return .inspectExchange }
    buffers.writeRequest(to: target)
    buffers.dropHead()
    return .sendRequest(buffers.request.body)
  }

  mutating func onExchange(_ exchange: Exchange, _ event: Event, _ conditions: borrowing Conditions) -> Action {
    guard let sent = exchange.sent else { return onCheckedExchange(event, conditions) }
    switch (event, exchange) {
    case (.upstreamSent, .awaitingAnswer(let sent, let sawInterim)):
      return readAnswerHead(sent, sawInterim: sawInterim, conditions)
    case (.requestBodyEnded, _):
      note(.sent, of: exchange)
      return .wait
    case (.responseBodyEnded, .answering(let sent, let continuation)):
      return finish(sent, continuation, conditions)
    case (.upstreamEnded, _), (.upstreamReset, _): return upstreamBroke(exchange, conditions)
    case (.clientReset, _):
      end(Outcome(.closed))
      return .close(.cut)
    case (.clientEnded, _):
      // A client may shut down its sending side and still wait for the answer.
      if sent.body != .sending {
        note(.sentAndEnded, of: exchange)
        return .wait
      }
      end(Outcome(.closed))
      return .close(.cut)
    case (.bodyMalformed, _):
      let isOfRequest = sent.body == .sending
      // No byte of an answer was sent, so a refusal can still be written.
      if isOfRequest && !exchange.isAnswering { return refuse(.badRequest, conditions, detail: brokenChunks) }
      return cut(Outcome(isOfRequest ? .denied : .failed, isOfRequest ? .badRequest : .connectFailed), brokenChunks)
    case (.deadlinePassed, .awaitingAnswer(_, sawInterim: false)): return answerDeadlinePassed(conditions)
    default: return onRelaying(event, conditions)
    }
  }

  private mutating func note(_ body: Exchange.Body, of exchange: Exchange) {
    var exchange = exchange
    exchange.sent?.body = body
    state = .exchanging(exchange)
  }

  private mutating func onCheckedExchange(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    guard case .exchangeEnded = event else { return onRelaying(event, conditions) }
    end(Outcome(.closed))
    buffers?.standing = nil
    return awaitNextRequest(keepUpstream: false, conditions)
  }

  private mutating func answerDeadlinePassed(_ conditions: borrowing Conditions) -> Action {
    if rule?.isExpired(nowUnix: conditions.unixSeconds) == true { return onRelaying(.deadlinePassed, conditions) }
    let dueMs = relayDeadlineMs(conditions)
    if conditions.nowMs < dueMs {
      deadlineMs = dueMs
      return .wait
    }
    return refuse(.timeout, conditions)
  }

  private mutating func readAnswerHead(
    _ sent: Exchange.Sent, sawInterim: Bool, _ conditions: borrowing Conditions
  ) -> Action {
    guard let buffers, buffers.hasAnswer else { return .wait }
    switch buffers.parseResponse(bytesMax: conditions.policy.settings.limits.headBytes) {
    case .incomplete: return .wait
    case .malformed(let problem): return refuseAnswer(conditions, "Its answer is malformed: \(problem)")
    case .complete(let length):
      guard buffers.response.isInterim else { return beginAnswer(sent, length, conditions) }
      // RFC 9110 section 15.2: a 1.0 client knows no interim answers.
      let passes = buffers.request.minorVersion > 0
      if passes { buffers.writeResponse(keepAlive: true) }
      buffers.dropAnswerHead(length)
      state = .exchanging(.awaitingAnswer(sent, sawInterim: sawInterim || passes))
      return .sendInterim
    }
  }

  private mutating func beginAnswer(
    _ sent: Exchange.Sent, _ length: Int, _ conditions: borrowing Conditions
  ) -> Action {
    guard let buffers else { return .wait }
    let isUpgrade = buffers.response.isWebSocketUpgrade
    if buffers.response.status == 101 && !(isUpgrade && buffers.request.upgradesToWebSocket) {
      return refuseAnswer(conditions)
    }
    let body = isUpgrade ? BodyLength.none : buffers.response.body(toHEAD: buffers.request.isHEAD)
    // An HTTP/1.0 client cannot read chunks; writeUpstream sent the request as HTTP/1.0.
    if case .chunked = body, buffers.request.minorVersion == 0 { return refuseAnswer(conditions) }
    if case .chunked = body, buffers.hasBrokenChunks(behind: length) {
      return refuseAnswer(conditions, "Its answer is malformed: \(brokenChunks)")
    }
    var endsWithConnection = false
    if case .untilClose = body { endsWithConnection = true }
    let continuation = Exchange.Continuation(
      keepsClient: !endsWithConnection && buffers.request.keepAlive && !conditions.isDraining && sent.body == .sent,
      keepsUpstream: !endsWithConnection && buffers.response.keepAlive)
    buffers.writeResponse(keepAlive: continuation.keepsClient || isUpgrade)
    buffers.dropAnswerHead(length)
    if isUpgrade { return beginRelay(.upgraded(buffers.requestLine), conditions) }
    state = .exchanging(.answering(sent, continuation))
    return .sendResponse(body)
  }

  private mutating func finish(
    _ sent: Exchange.Sent, _ continuation: Exchange.Continuation, _ conditions: borrowing Conditions
  ) -> Action {
    guard let buffers, continuation.keepsClient, let target, let address else {
      end(Outcome(.closed))
      return .close(.graceful)
    }
    let keepUpstream = continuation.keepsUpstream && !buffers.hasAnswer
    end(Outcome(.closed))
    buffers.standing = keepUpstream ? (target, address) : nil
    return awaitNextRequest(keepUpstream: keepUpstream, conditions)
  }

  /// The idle upstream of the last request has gone.
  package mutating func standingUpstreamEnded() { buffers?.standing = nil }

  /// RFC 9112 section 9.3.1: a request on a kept connection that broke before any answer may go out once more, if it is
  /// safe.
  private mutating func upstreamBroke(_ exchange: Exchange, _ conditions: borrowing Conditions) -> Action {
    guard let buffers else { return .wait }
    if exchange.isAnswering { return cut(Outcome(.failed, .connectFailed), "It broke off within its answer") }
    if case .awaitingAnswer(let sent, sawInterim: false) = exchange, sent.upstream == .kept, !buffers.hasAnswer,
      buffers.isRepeatable
    {
      return redial(conditions)
    }
    return refuseAnswer(conditions)
  }

  /// True if the request uses the idle upstream of the last request.
  package var usesStandingUpstream: Bool {
    if case .exchanging(let exchange) = state { exchange.sent?.upstream == .kept } else { false }
  }

  /// Replaces an idle upstream that has sent unexpected bytes or has ended: its next bytes would be taken for the
  /// answer (RFC 9112 sections 6.3 and 9.2). No byte of the request was sent to it, so any request may use a new
  /// connection.
  package mutating func replaceStandingUpstream(_ conditions: borrowing Conditions) -> Action {
    _ = buffers?.takeToUpstream()
    return redial(conditions)
  }

  private mutating func redial(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, let target, let address else { return refuseAnswer(conditions) }
    buffers.standing = nil
    var attempts = Dialling(address)
    _ = attempts.next(nowMs: conditions.nowMs)
    begin(attempts, isSecond: true, conditions)
    return .connect(address, port: target.port)
  }

  /// Refuses an upstream's answer. No byte of the final answer was sent, so the gate can still answer.
  private mutating func refuseAnswer(
    _ conditions: borrowing Conditions, _ detail: String = "It sent no HTTP answer that the gate can pass on"
  ) -> Action {
    refuse(.connectFailed, conditions, detail: detail)
  }

  /// Resets both sides, so that a partial answer does not look complete.
  private mutating func cut(_ outcome: Outcome, _ detail: String) -> Action {
    var outcome = outcome
    outcome.explain(detail)
    end(outcome)
    return .close(.cut)
  }
}
