// Accepts the waiting connections of a listener: a limited number per turn, and a pause if none can be accepted.
// It relies on the listener's source to call it on each edge, turn and deadline.

extension Loop {
  /// Connections accepted in one turn, so that other sources get their turn.
  package static let acceptsMax = 64
  private static let restMs: UInt64 = 100

  /// `rests` gets the error each time accepting pauses.
  package func acceptAll(
    at slot: Slot, _ accept: () -> Accepted, rests: (SystemError) -> Void = { _ in },
    _ accepted: (consuming Descriptor, SocketAddress) -> Void
  ) {
    var (count, lastError): (Int, SystemError?) = (0, nil)
    for _ in 0..<Self.acceptsMax {
      switch accept() {
      case .connection(let socket, let peer):
        count += 1
        accepted(socket, peer)
      case .wouldBlock: return
      case .aborted(let error): lastError = error
      // A paused listener tries again at its deadline.
      case .exhausted(let error): return rest(slot, error, rests)
      }
    }
    // A turn with only errors would repeat in the next turn: pause instead.
    if count == 0, let lastError { return rest(slot, lastError, rests) }
    // The edge was seen, but more may wait.
    again(slot)
  }

  private func rest(_ slot: Slot, _ error: SystemError, _ rests: (SystemError) -> Void) {
    rests(error)
    setDeadline(slot, atMs: nowMs &+ Self.restMs)
  }
}
