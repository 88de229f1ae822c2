// The connections that wait at a listener: so many a turn, and a rest where none can be accepted.
// It relies on the listener's source to call it on each edge, turn and deadline.

extension Loop {
  /// Connections taken in one turn: others are to be served too.
  package static let acceptsMax = 64
  private static let restMs: UInt64 = 100

  /// `rests` hears why nothing is accepted for a while, each time.
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
      // Listeners that wait are looked at again.
      case .exhausted(let error): return rest(slot, error, rests)
      }
    }
    // A whole turn of errors would be the next turn, too.
    if count == 0, let lastError { return rest(slot, lastError, rests) }
    // The edge was seen, but more may wait.
    again(slot)
  }

  private func rest(_ slot: Slot, _ error: SystemError, _ rests: (SystemError) -> Void) {
    rests(error)
    setDeadline(slot, atMs: nowMs &+ Self.restMs)
  }
}
