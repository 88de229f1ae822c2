// The PROXY protocol header (version 2), in which a listed peer names the client that it forwards.
// It relies on Wire.ProxyHeader; the client's own bytes follow, and are read as if it had connected directly.
import Policy
import Wire

extension Flow {
  mutating func onReadingProxyHeader(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    if case .clientSent = event { return readProxyHeader(conditions) }
    return onUnread(event, inside: "its PROXY header", conditions)
  }

  /// Handles other events while the first message is read. A connection that has sent nothing ends silently.
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
