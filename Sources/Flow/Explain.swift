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
    // A tunnel that stood has given its bench back.
    let bench = bench ?? Bench()
    bench.unsaid = refusal
    self.bench = bench
    state = .explaining
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.helloMs
    return .explain
  }

  private func refusal(_ reason: Reason, detail: String?) -> Refusal {
    var refusal = Refusal(reason, target: target, client: client.name)
    refusal.detail = detail
    return refusal
  }

  package mutating func takeUnsaid() -> Refusal? {
    defer { bench?.unsaid = nil }
    return bench?.unsaid
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
