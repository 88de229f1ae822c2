// Step "ask the gate": reads a request for `sluice.internal` whole; it is never forwarded. See docs/for-agents.md.
// It relies on the Gate to answer; no rule is checked, no name is resolved, and an answer writes no log line.
import Policy
import Wire

extension Flow {
  mutating func askGate(_ conditions: borrowing Conditions) -> Action {
    guard let target, case .name(let name) = target.host, let buffers else { return .wait }
    if via == .http { return readQuestion(conditions) }
    guard target.port == GateHost.port, via != .tls else {
      return refuse(.notAllowed, conditions, detail: Self.plainAlone)
    }
    // Requests inside are read like those of a redirected connection: they need no second password. Only a proxy
    // client gets an answer that confirms its tunnel.
    let isAnswered = opening == .proxy
    if isAnswered, buffers.socks == nil { buffers.dropHead() }
    sayEstablished()
    buffers.socks = nil
    opening = .redirected(to: .v4(0), port: target.port, name: name)
    self.target = nil
    state = .readingHead
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.headMs
    if isAnswered { return .reply }
    return hasInput ? readHead(conditions) : .wait
  }

  private static let plainAlone = "The gate answers at http://sluice.internal/, on port 80 and without TLS"

  /// True if the client asked for a tunnel to the gate itself.
  var isTunnelToGate: Bool {
    guard case .redirected(_, _, let name?) = opening else { return false }
    return name.isGate
  }

  // MARK: - The request

  private mutating func readQuestion(_ conditions: borrowing Conditions) -> Action {
    guard let buffers else { return .wait }
    let mayGoOn = buffers.request.keepAlive && !isTunnelToGate && !conditions.isDraining
    let question = buffers.question(keepsConnection: mayGoOn)
    buffers.dropHead()
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.headMs
    return readBody(of: question)
  }

  private mutating func readBody(of question: GateQuestion) -> Action {
    guard let buffers else { return .wait }
    var question = question
    switch buffers.request.body {
    case .none: break
    case .length(let count) where count <= GateQuestion.bodyBytesMax:
      guard buffers.inputCount >= Int(clamping: count) else {
        state = .readingQuestion(question)
        return .wait
      }
      question.body = buffers.takeInput(Int(clamping: count))
    case .length, .chunked, .untilClose:
      question.hasUnreadBody = true
      question.keepsConnection = false
    }
    state = .readingQuestion(question)
    return .answerQuestion
  }

  mutating func onReadingQuestion(
    _ question: GateQuestion, _ event: Event, _ conditions: borrowing Conditions
  ) -> Action {
    switch event {
    case .clientSent: return readBody(of: question)
    case .clientEnded: return refuseHead("The connection ended inside the request's body", conditions)
    case .deadlinePassed: return refuse(.timeout, conditions, isClientSlow: true)
    case .drainEnded: return refuse(.shutdown, conditions)
    case .gateFailed: return refuse(.tooMany, conditions)
    case .upstreamReset, .clientReset: return endSilently()
    default: return .wait
    }
  }

  // MARK: - The answer

  /// For `Action.answerQuestion`.
  package var question: GateQuestion? {
    if case .readingQuestion(let question) = state { question } else { nil }
  }

  package mutating func answer(
    _ question: GateQuestion, _ bytes: [UInt8], _ conditions: borrowing Conditions
  ) -> Action {
    buffers?.reply(bytes)
    guard question.keepsConnection else { return endSilently() }
    return awaitNextRequest(keepUpstream: true, conditions)
  }
}
