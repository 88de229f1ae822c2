// One plain HTTP request and its answer: the rewritten head goes out, the answer's head comes back rewritten.
// It relies on Wire for heads and on the Gate to move bodies; each request of a connection was judged on its own.
import Policy
import Wire

private let brokenChunks = "the chunks of its body are malformed (RFC 9112 section 7.1)"

extension Flow {
  mutating func sendRequest(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, let target else { return .wait }
    if let refusal = refuseIfTooLate(conditions) { return refusal }
    state = .exchanging
    openedMs = conditions.nowMs
    lastActivityMs = conditions.nowMs
    deadlineMs = relayDeadlineMs(conditions)
    if rule?.checksContent == true {
      buffers.isChecked = true
      return .inspectExchange
    }
    buffers.writeRequest(to: target)
    buffers.dropHead()
    if case .none = buffers.request.body { buffers.isRequestBodyDone = true }
    return .sendRequest(buffers.request.body)
  }

  mutating func onExchange(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    guard let buffers else { return .wait }
    if buffers.isChecked { return onCheckedExchange(event, conditions) }
    switch event {
    case .upstreamSent: return readAnswerHead(conditions)
    case .requestBodyEnded:
      buffers.isRequestBodyDone = true
      return finishIfDone(conditions)
    case .responseBodyEnded:
      buffers.isAnswerBodyDone = true
      return finishIfDone(conditions)
    case .upstreamEnded, .upstreamReset: return upstreamBroke(conditions)
    case .clientReset:
      end(Outcome(.closed))
      return .close(.cut)
    case .clientEnded:
      // A client may shut down its sending side and still wait for the answer.
      buffers.hasClientEnded = true
      if buffers.isRequestBodyDone { return .wait }
      end(Outcome(.closed))
      return .close(.cut)
    case .bodyMalformed:
      let isOfRequest = !buffers.isRequestBodyDone
      // Nothing of an answer has gone: it can still be said.
      if isOfRequest && !buffers.isAnswerHeadDone { return refuse(.badRequest, conditions, detail: brokenChunks) }
      return cut(Outcome(isOfRequest ? .denied : .failed, isOfRequest ? .badRequest : .connectFailed), brokenChunks)
    case .deadlinePassed: return exchangeDeadlinePassed(conditions)
    default: return onRelaying(event, conditions)
    }
  }

  /// The bridge has both heads and bodies, and answers what goes wrong with them.
  private mutating func onCheckedExchange(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    guard case .exchangeEnded = event else { return onRelaying(event, conditions) }
    end(Outcome(.closed))
    buffers?.standing = nil
    return awaitNextRequest(keepUpstream: false, conditions)
  }

  private mutating func exchangeDeadlinePassed(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, !buffers.hasAnswerBegun, rule?.isExpired(nowUnix: conditions.unixSeconds) != true else {
      return onRelaying(.deadlinePassed, conditions)
    }
    let dueMs = relayDeadlineMs(conditions)
    if conditions.nowMs < dueMs {
      deadlineMs = dueMs
      return .wait
    }
    return refuse(.timeout, conditions)
  }

  private mutating func readAnswerHead(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, !buffers.isAnswerHeadDone, buffers.hasAnswer else { return .wait }
    switch buffers.parseResponse(bytesMax: conditions.policy.settings.limits.headBytes) {
    case .incomplete: return .wait
    case .malformed(let problem): return answerUnusable(conditions, "Its answer is malformed: \(problem)")
    case .complete(let length):
      if buffers.response.isInterim {
        // RFC 9110 section 15.2: a 1.0 client knows no interim answers.
        if buffers.request.minorVersion > 0 { buffers.writeResponse(keepAlive: true) }
        buffers.dropAnswerHead(length)
        buffers.hasAnswerBegun = buffers.hasAnswerBegun || buffers.request.minorVersion > 0
        return .sendInterim
      }
      return beginAnswer(length, conditions)
    }
  }

  private mutating func beginAnswer(_ length: Int, _ conditions: borrowing Conditions) -> Action {
    guard let buffers else { return .wait }
    let isUpgrade = buffers.response.isWebSocketUpgrade
    if buffers.response.status == 101 && !(isUpgrade && buffers.request.upgradesToWebSocket) {
      return answerUnusable(conditions)
    }
    let body = isUpgrade ? BodyLength.none : buffers.response.body(toHEAD: buffers.request.isHEAD)
    // A 1.0 client cannot read chunks, and was asked for on its own terms: see writeUpstream.
    if case .chunked = body, buffers.request.minorVersion == 0 { return answerUnusable(conditions) }
    if case .chunked = body, buffers.hasBrokenChunks(behind: length) {
      return answerUnusable(conditions, "Its answer is malformed: \(brokenChunks)")
    }
    var endsWithConnection = false
    if case .untilClose = body { endsWithConnection = true }
    buffers.answerKeepsUpstream = buffers.response.keepAlive && !endsWithConnection
    buffers.answerKeepsClient =
      !endsWithConnection && buffers.request.keepAlive && !buffers.hasClientEnded && !conditions.isDraining
      && buffers.isRequestBodyDone
    buffers.writeResponse(keepAlive: buffers.answerKeepsClient || isUpgrade)
    buffers.dropAnswerHead(length)
    buffers.isAnswerHeadDone = true
    buffers.hasAnswerBegun = true
    if isUpgrade {
      upgraded = buffers.requestLine
      return beginRelay(conditions)
    }
    if case .none = body { buffers.isAnswerBodyDone = true }
    return .sendResponse(body)
  }

  private mutating func finishIfDone(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, buffers.isAnswerBodyDone else { return .wait }
    guard buffers.answerKeepsClient, buffers.isRequestBodyDone, let target, let address else {
      end(Outcome(.closed))
      return .close(.graceful)
    }
    let keepUpstream = buffers.answerKeepsUpstream && !buffers.hasAnswer
    end(Outcome(.closed))
    buffers.standing = keepUpstream ? (target, address) : nil
    return awaitNextRequest(keepUpstream: keepUpstream, conditions)
  }

  /// The upstream of the last request went away while nothing was asked of it.
  package mutating func standingUpstreamEnded() { buffers?.standing = nil }

  /// RFC 9112 section 9.3.1: a request on a kept connection that broke before any answer may go out once more, if it is
  /// safe.
  private mutating func upstreamBroke(_ conditions: borrowing Conditions) -> Action {
    guard let buffers else { return .wait }
    if buffers.isAnswerHeadDone { return cut(Outcome(.failed, .connectFailed), "It broke off within its answer") }
    let isFresh = !buffers.didRedial && !buffers.hasAnswer && !buffers.hasAnswerBegun
    if buffers.usesStanding && isFresh && buffers.isRepeatable { return redial(conditions) }
    return answerUnusable(conditions)
  }

  /// The request goes to the upstream that stands from the last one.
  package var usesStandingUpstream: Bool { buffers?.usesStanding == true }

  /// The upstream that stands has sent what nobody asked for, or has ended: its next bytes would be taken for the
  /// answer (RFC 9112 sections 6.3 and 9.2). Nothing of the request has gone to it, so any request may go to a new
  /// connection.
  package mutating func replaceStandingUpstream(_ conditions: borrowing Conditions) -> Action {
    _ = buffers?.takeToUpstream()
    return redial(conditions)
  }

  private mutating func redial(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, let target, let address else { return answerUnusable(conditions) }
    buffers.didRedial = true
    buffers.usesStanding = false
    buffers.standing = nil
    buffers.dialling = Dialling(address)
    _ = buffers.dialling?.next(nowMs: conditions.nowMs)
    state = .dialling
    buffers.dialDeadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.connectMs
    deadlineMs = buffers.dialDeadlineMs
    return .connect(address, port: target.port)
  }

  /// An interim answer may have gone: the final one can still be the gate's.
  private mutating func answerUnusable(
    _ conditions: borrowing Conditions, _ detail: String = "It sent no HTTP answer that the gate can pass on"
  ) -> Action {
    guard let buffers, !buffers.isAnswerHeadDone else { return cut(Outcome(.failed, .connectFailed), detail) }
    return refuse(.connectFailed, conditions, detail: detail)
  }

  /// What has gone must not look complete.
  private mutating func cut(_ outcome: Outcome, _ detail: String) -> Action {
    var outcome = outcome
    outcome.explain(detail)
    end(outcome)
    return .close(.cut)
  }
}
