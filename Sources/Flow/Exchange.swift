// One plain HTTP request and its answer: the rewritten head goes out, the answer's head comes back rewritten.
// It relies on Wire for heads and on the Gate to move bodies; each request of a connection was judged on its own.
import Policy
import Wire

extension Flow {
  mutating func sendRequest(_ conditions: borrowing Conditions) -> Action {
    guard let bench, let target else { return .wait }
    if rule?.inspection?.content.checksNothing == false {
      _ = beginRelay(conditions)
      return .inspectExchange
    }
    state = .exchanging
    openedMs = conditions.nowMs
    lastActivityMs = conditions.nowMs
    deadlineMs = relayDeadlineMs(conditions)
    bench.writeRequest(to: target)
    bench.dropHead()
    if case .none = bench.request.body { bench.isRequestBodyDone = true }
    return .sendRequest(bench.request.body)
  }

  mutating func onExchange(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    guard let bench else { return .wait }
    switch event {
    case .upstreamSent: return readAnswerHead(conditions)
    case .requestBodyEnded:
      bench.isRequestBodyDone = true
      return finishIfDone(conditions)
    case .responseBodyEnded:
      bench.isAnswerBodyDone = true
      return finishIfDone(conditions)
    case .upstreamEnded, .upstreamReset: return upstreamBroke(conditions)
    case .clientReset:
      end(Outcome(.closed))
      return .close(.cut)
    case .clientEnded:
      // A client may shut down its sending side and still wait for the answer.
      bench.hasClientEnded = true
      if bench.isRequestBodyDone { return .wait }
      end(Outcome(.closed))
      return .close(.cut)
    case .bodyMalformed:
      end(Outcome(bench.isRequestBodyDone ? .failed : .denied, bench.isRequestBodyDone ? .connectFailed : .badRequest))
      return .close(.cut)
    case .deadlinePassed: return exchangeDeadlinePassed(conditions)
    default: return onRelaying(event, conditions)
    }
  }

  private mutating func exchangeDeadlinePassed(_ conditions: borrowing Conditions) -> Action {
    guard let bench, !bench.hasAnswerBegun, rule?.isExpired(nowUnix: conditions.unixSeconds) != true else {
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
    guard let bench, !bench.isAnswerHeadDone, bench.hasAnswer else { return .wait }
    switch bench.parseResponse(bytesMax: conditions.policy.settings.limits.headBytes) {
    case .incomplete: return .wait
    case .malformed: return answerUnusable(conditions)
    case .complete(let length):
      if bench.response.isInterim {
        // RFC 9110 section 15.2: a 1.0 client knows no interim answers.
        if bench.request.minorVersion > 0 { bench.writeResponse(keepAlive: true) }
        bench.dropAnswerHead(length)
        bench.hasAnswerBegun = bench.hasAnswerBegun || bench.request.minorVersion > 0
        return .sendInterim
      }
      return beginAnswer(length, conditions)
    }
  }

  private mutating func beginAnswer(_ length: Int, _ conditions: borrowing Conditions) -> Action {
    guard let bench else { return .wait }
    let isUpgrade = bench.response.isWebSocketUpgrade
    if bench.response.status == 101 && !(isUpgrade && bench.request.upgradesToWebSocket) {
      return answerUnusable(conditions)
    }
    let body = isUpgrade ? BodyLength.none : bench.response.body(toHEAD: bench.request.isHEAD)
    // A 1.0 client cannot read chunks, and was asked for on its own terms: see writeUpstream.
    if case .chunked = body, bench.request.minorVersion == 0 { return answerUnusable(conditions) }
    var endsWithConnection = false
    if case .untilClose = body { endsWithConnection = true }
    bench.answerKeepsUpstream = bench.response.keepAlive && !endsWithConnection
    bench.answerKeepsClient =
      !endsWithConnection && bench.request.keepAlive && !bench.hasClientEnded && !conditions.isDraining
      && bench.isRequestBodyDone
    bench.writeResponse(keepAlive: bench.answerKeepsClient || isUpgrade)
    bench.dropAnswerHead(length)
    bench.isAnswerHeadDone = true
    bench.hasAnswerBegun = true
    if isUpgrade { return beginRelay(conditions) }
    if case .none = body { bench.isAnswerBodyDone = true }
    return .sendResponse(body)
  }

  private mutating func finishIfDone(_ conditions: borrowing Conditions) -> Action {
    guard let bench, bench.isAnswerBodyDone else { return .wait }
    guard bench.answerKeepsClient, bench.isRequestBodyDone, let target, let address else {
      end(Outcome(.closed))
      return .close(.graceful)
    }
    let keepUpstream = bench.answerKeepsUpstream && !bench.hasAnswer
    end(Outcome(.closed))
    bench.standing = keepUpstream ? (target, address) : nil
    return awaitNextRequest(keepUpstream: keepUpstream, conditions)
  }

  /// The upstream of the last request went away while nothing was asked of it.
  package mutating func standingUpstreamEnded() { bench?.standing = nil }

  /// RFC 9112 section 9.3.1: a request on a kept connection that broke before any answer may go out once more, if it is safe.
  private mutating func upstreamBroke(_ conditions: borrowing Conditions) -> Action {
    guard let bench else { return .wait }
    if bench.isAnswerHeadDone || bench.hasAnswerBegun {
      end(Outcome(.failed, .connectFailed))
      return .close(.cut)
    }
    if bench.usesStanding && !bench.didRedial && !bench.hasAnswer, bench.isRepeatable,
      let target, let address
    {
      bench.didRedial = true
      bench.usesStanding = false
      bench.standing = nil
      bench.dialling = Dialling(address)
      _ = bench.dialling?.next(nowMs: conditions.nowMs)
      state = .dialling
      bench.dialDeadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.connectMs
      deadlineMs = bench.dialDeadlineMs
      return .connect(address, port: target.port)
    }
    return answerUnusable(conditions)
  }

  private mutating func answerUnusable(_ conditions: borrowing Conditions) -> Action {
    guard let bench, !bench.hasAnswerBegun else {
      end(Outcome(.failed, .connectFailed))
      return .close(.cut)
    }
    return refuse(.connectFailed, conditions, detail: "It sent no HTTP answer that the gate can pass on")
  }
}
