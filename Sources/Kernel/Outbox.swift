// Bytes that wait for a socket, in order.
// It relies on its owner to limit `count` before appending, and to call again when the socket is writable.

package struct Outbox {
  package enum Flushed {
    case all
    /// The socket is full: the rest is sent when it is writable.
    case blocked
    case broke
  }

  private(set) var bytes: [UInt8] = []
  private var sent = 0

  package init() {}

  package var isEmpty: Bool { bytes.isEmpty }
  /// The number of unsent bytes.
  package var count: Int { bytes.count - sent }

  package mutating func append(contentsOf more: some Collection<UInt8>) {
    // Drop sent bytes: an outbox that a slow reader never empties must not keep all its past bytes.
    if sent > count {
      bytes.removeFirst(sent)
      sent = 0
    }
    bytes.append(contentsOf: more)
  }

  package mutating func flush(to fd: CInt) -> Flushed { flush { Socket.send(fd, $0) } }

  package mutating func flush(_ send: (Span<UInt8>) -> Transfer) -> Flushed {
    while sent < bytes.count {
      switch send(bytes.span.extracting(sent..<bytes.count)) {
      case .bytes(let count): sent += count
      case .wouldBlock: return .blocked
      case .end, .failed: return .broke
      }
    }
    // An empty outbox holds no buffer.
    bytes = []
    sent = 0
    return .all
  }
}
