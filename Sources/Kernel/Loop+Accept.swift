// What waits at a listener that few connect to: so many connections a turn, and a rest where descriptors are out.
// It relies on the listener's source to call it on each edge, turn and deadline.

extension Loop {
  private static let acceptsMax = 16
  private static let restMs: UInt64 = 100

  package func acceptAll(
    at slot: Slot, _ accept: () -> Accepted, _ accepted: (consuming Descriptor, SocketAddress) -> Void
  ) {
    for _ in 0..<Self.acceptsMax {
      switch accept() {
      case .connection(let socket, let peer): accepted(socket, peer)
      case .wouldBlock: return
      case .aborted: continue
      // Those that wait are looked at again.
      case .exhausted: return setDeadline(slot, atMs: nowMs + Self.restMs)
      }
    }
    // The edge was seen, but more may wait.
    again(slot)
  }
}
