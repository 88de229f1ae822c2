// A refusal inside the client's TLS: the gate's certificate is used, and the upstream gets no request.
// It relies on Intercept to terminate the TLS; the refusal is already in the log.
import Policy
import Wire

extension Flow {
  /// Records the tunnel's end; the client still gets the explanation.
  mutating func explain(_ reason: Reason, _ detail: String?, _ conditions: borrowing Conditions) -> Action {
    let refusal = refusal(reason, detail: detail)
    end(Outcome(reason.logEvent, reason))
    return beginExplaining(refusal, conditions)
  }

  mutating func beginExplaining(_ refusal: Refusal, _ conditions: borrowing Conditions) -> Action {
    // An open tunnel has freed its buffers.
    buffers = buffers ?? RequestBuffers()
    var refusal = refusal
    refusal.isToAPI = true
    state = .explaining(refusal)
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.helloMs
    return .explain
  }

  /// True if a refusal is explained inside TLS. Outside, it could only be an alert, or an answer to CONNECT that most
  /// clients do not show. A CONNECT to port 443 is taken for TLS.
  func mayExplain(_ refusal: Refusal, _ conditions: borrowing Conditions) -> Bool {
    guard conditions.explainsDenials, let buffers, target != nil, refusal.reason != .notAuthenticated else {
      return false
    }
    guard opening == .proxy else {
      return buffers.firstByte == 0x16 && refusal.reason.row.origin != .client
    }
    return via == .connect && target?.port == 443 && refusal.reason.row.origin == .policy
  }

  /// Confirms the tunnel, and sends the refusal inside it.
  mutating func explainInTunnel(_ refusal: Refusal, _ conditions: borrowing Conditions) -> Action {
    if opening == .proxy, buffers?.socks == nil { buffers?.dropHead() }
    sayEstablished()
    return beginExplaining(refusal, conditions)
  }

  private func refusal(_ reason: Reason, detail: String?) -> Refusal {
    var refusal = Refusal(reason, target: target, client: client.name)
    refusal.detail = detail
    return refusal
  }

  /// The refusal for `Action.explain`.
  package var unsaid: Refusal? {
    if case .explaining(let refusal) = state { refusal } else { nil }
  }

  mutating func onExplaining(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .relayEnded:
      end()
      return .close(.graceful)
    case .upstreamReset, .clientReset, .deadlinePassed, .drainEnded, .gateFailed, .uploadLimited, .downloadLimited:
      end()
      return .close(.cut)
    default: return .wait
    }
  }
}
