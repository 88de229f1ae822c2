// One side of an exchange without TLS, as the bridges see it: a nonblocking socket, and what it has not taken yet.
// It relies on the loop for edges: a call that would block clears the flag, and the next edge sets it again.
import Kernel

final class SocketStream: PlainStream {
  private let fd: CInt
  var isReadable = true
  var isWritable = true
  var hasPeerEnded = false
  private var pending = Outbox()
  /// Payload that the peer took.
  private(set) var moved: UInt64 = 0
  var allowance = ByteAllowance()

  /// The socket is the caller's, and outlives this.
  init(fd: CInt) { self.fd = fd }

  deinit { allowance.giveBack() }

  func note(isReadable: Bool, isWritable: Bool, hasPeerEnded: Bool) {
    if isReadable || hasPeerEnded { self.isReadable = true }
    if isWritable { self.isWritable = true }
    if hasPeerEnded { self.hasPeerEnded = true }
  }

  var pendingCount: Int { pending.count }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> Received {
    switch unsafe Socket.receive(fd, into: buffer) {
    case .bytes(let count): return .bytes(count)
    case .wouldBlock:
      isReadable = false
      return .blocked
    case .end:
      isReadable = false
      return .ended
    case .failed:
      isReadable = false
      return .failed
    }
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
    unsafe pending.append(contentsOf: bytes)
    return flush()
  }

  func flush() -> Bool {
    guard isWritable else { return true }
    let flushed = pending.flush { bytes in
      let count = allowance.grant(upTo: bytes.count)
      // Without a grant nothing is sent, and the socket could still take more.
      if count == 0 { return .wouldBlock }
      let transfer = Socket.send(fd, bytes.extracting(first: count))
      switch transfer {
      case .bytes(let sent): moved += UInt64(allowance.sent(sent))
      case .wouldBlock: isWritable = false
      case .end, .failed: break
      }
      return transfer
    }
    return flushed != .broke
  }

  func exempt(_ count: Int) { allowance.exempt(count) }

  /// Whoever has the socket says so.
  func end() {}
}
