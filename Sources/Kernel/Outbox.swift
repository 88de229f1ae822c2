// Bytes that wait for a socket to take them, in the order in which they were given.
// It relies on its owner to bound `count` before more is appended, and to call again when the socket can take more.

package struct Outbox {
  package enum Flushed {
    case all
    /// The rest goes when the socket can take more.
    case blocked
    case broke
  }

  private(set) var bytes: [UInt8] = []
  private var sent = 0

  package init() {}

  package var isEmpty: Bool { bytes.isEmpty }
  /// How many have not gone.
  package var count: Int { bytes.count - sent }

  package mutating func append(contentsOf more: some Collection<UInt8>) {
    // An outbox that is never empty, since its reader is slow, must not keep all that ever went through it.
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
