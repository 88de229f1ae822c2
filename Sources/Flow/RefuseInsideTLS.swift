// A refusal that the client hears inside its TLS: its certificate is the gate's, its upstream is never asked.
// It relies on Intercept to terminate the TLS; what was refused is in the log by then.
import Policy
import Wire

extension Flow {
  /// Ends the tunnel for the log; the client still hears why.
  mutating func explain(_ reason: Reason, _ detail: String?, _ conditions: borrowing Conditions) -> Action {
    let refusal = refusal(reason, detail: detail)
    end(Outcome(reason.logEvent, reason))
    return beginExplaining(refusal, conditions)
  }

  mutating func beginExplaining(_ refusal: Refusal, _ conditions: borrowing Conditions) -> Action {
    // A tunnel that stood has given its buffers back.
    buffers = buffers ?? RequestBuffers()
    var refusal = refusal
    refusal.isToAPI = true
    state = .explaining(refusal)
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.helloMs
    return .explain
  }

  /// Whether a refusal that could only be an alert, or the answer to a CONNECT that most clients do not show, is told
  /// inside TLS. On port 443 a CONNECT is taken for one of TLS.
  func mayExplain(_ refusal: Refusal, _ conditions: borrowing Conditions) -> Bool {
    guard conditions.explainsDenials, let buffers, target != nil, refusal.reason != .notAuthenticated else {
      return false
    }
    guard opening == .proxy else {
      return buffers.firstByte == 0x16 && refusal.reason.row.origin != .client
    }
    return via == .connect && target?.port == 443 && refusal.reason.row.origin == .policy
  }

  /// The client hears that its tunnel stands, and inside it why not.
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

  /// For `Action.explain`.
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
