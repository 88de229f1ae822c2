// The header with which a listed peer says whose connection it passes on (PROXY protocol, version 2).
// It relies on Wire.ProxyHeader; what the client itself sends follows, and is read as if it had come directly.
import Policy
import Wire

extension Flow {
  mutating func onReadingProxyHeader(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    if case .clientSent = event { return readProxyHeader(conditions) }
    return onUnread(event, inside: "its PROXY header", conditions)
  }

  /// What else may happen while the first thing that a connection says is read: one that has said nothing ends
  /// silently.
  mutating func onUnread(_ event: Event, inside message: String, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .clientEnded:
      return hasInput ? refuseHead("The connection ended inside \(message)", conditions) : endSilently()
    case .deadlinePassed: return refuse(.timeout, conditions, isClientSlow: true)
    case .drainEnded: return hasInput ? refuse(.shutdown, conditions) : endSilently()
    case .upstreamReset, .clientReset: return endSilently()
    case .gateFailed: return refuse(.tooMany, conditions)
    default: return .wait
    }
  }

  private mutating func readProxyHeader(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, buffers.hasInput else { return .wait }
    switch buffers.read(ProxyHeader.parse) {
    case .incomplete: return .wait
    case .malformed(let problem): return refuseHead("\(problem)", conditions)
    case .complete(let header, let byteCount):
      buffers.drop(byteCount)
      return take(header, conditions)
    }
  }

  private mutating func take(_ header: ProxyHeader, _ conditions: borrowing Conditions) -> Action {
    if case .tcp(let source, _) = header { self.source = source.address }
    identifySource(conditions)
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.headMs
    state = firstState
    if state.isReadingHead { return hasInput ? readHead(conditions) : .wait }
    guard case .tcp(_, let destination) = header else { return readDestination(conditions) }
    opening = .redirected(to: destination.address, port: destination.port, name: nil)
    return .nameDestination(destination.address)
  }
}
