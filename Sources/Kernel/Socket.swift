// TCP sockets: listen, accept, connect, and queries on open sockets. None of these calls blocks.
// It relies on CLinux for the calls; addresses are plain numbers here, in host order.
import CLinux
import Glibc

package struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
  package enum Address: Hashable, Sendable {
    case v4(UInt32)
    case v6(high: UInt64, low: UInt64)
  }

  package let address: Address
  package let port: UInt16

  package init(_ address: Address, port: UInt16) {
    self.address = address
    self.port = port
  }

  init(_ plain: clinux_address) {
    port = plain.port
    address = plain.family == 4 ? .v4(UInt32(truncatingIfNeeded: plain.low)) : .v6(high: plain.high, low: plain.low)
  }

  var plain: clinux_address {
    switch address {
    case .v4(let value): clinux_address(high: 0, low: UInt64(value), family: 4, port: port)
    case .v6(let high, let low): clinux_address(high: high, low: low, family: 6, port: port)
    }
  }

  package var description: String {
    switch address {
    case .v4(let value):
      return "\(value >> 24).\(value >> 16 & 255).\(value >> 8 & 255).\(value & 255):\(port)"
    case .v6(let high, let low):
      let groups = [high, low].flatMap { half in [48, 32, 16, 0].map { String(half >> UInt64($0) & 0xffff, radix: 16) }
      }
      return "[\(groups.joined(separator: ":"))]:\(port)"
    }
  }
}

package enum Accepted: ~Copyable {
  case connection(Descriptor, SocketAddress)
  case wouldBlock
  /// This connection was aborted before it was accepted; others may wait.
  case aborted(SystemError)
  /// Accepting fails for now: no descriptor is left, or the listener is broken. An immediate retry would spin.
  case exhausted(SystemError)
}

package enum Socket {
  package static func listen(
    on address: SocketAddress, reusePort: Bool, isTransparent: Bool = false, backlog: Int32
  ) throws(SystemError) -> Descriptor {
    var plain = address.plain
    var stage: UnsafePointer<CChar>?
    let fd = unsafe clinux_listen(&plain, reusePort ? 1 : 0, isTransparent ? 1 : 0, backlog, &stage)
    guard fd >= 0 else { throw SystemError(unsafe name(stage), code: -fd) }
    return Descriptor(owning: fd)
  }

  /// Binds a UDP socket whose answers leave from the address that the question was sent to: see `Datagrams`.
  package static func bindDatagrams(on address: SocketAddress, reusePort: Bool) throws(SystemError) -> Descriptor {
    var plain = address.plain
    var stage: UnsafePointer<CChar>?
    let fd = unsafe clinux_bind_datagrams(&plain, reusePort ? 1 : 0, &stage)
    guard fd >= 0 else { throw SystemError(unsafe name(stage), code: -fd) }
    return Descriptor(owning: fd)
  }

  package static func accept(_ fd: CInt) -> Accepted {
    var peer = clinux_address()
    let accepted = unsafe clinux_accept(fd, &peer)
    if accepted >= 0 { return .connection(Descriptor(owning: accepted), SocketAddress(peer)) }
    return refusedAccept(-accepted)
  }

  static func refusedAccept(_ code: CInt) -> Accepted {
    switch code {
    case EAGAIN: .wouldBlock
    // Errors of the next connection (accept(2), "Error handling"), and an interrupting signal.
    case ECONNABORTED, EINTR, EPERM, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP,
      ENETUNREACH, ETIMEDOUT:
      .aborted(SystemError("accept4", code: code))
    default: .exhausted(SystemError("accept4", code: code))
    }
  }

  /// Starts a connection. The socket becomes writable when the attempt has succeeded or failed.
  /// The first bytes are sent at once; call `sendAtOnce` before later small writes.
  package static func connect(to address: SocketAddress) throws(SystemError) -> Descriptor {
    var plain = address.plain
    var stage: UnsafePointer<CChar>?
    let fd = unsafe clinux_connect(&plain, &stage)
    guard fd >= 0 else { throw SystemError(unsafe name(stage), code: -fd) }
    return Descriptor(owning: fd)
  }

  /// A connected pair inside this process; the caller owns both ends.
  package static func pair() throws(SystemError) -> (near: CInt, far: CInt) {
    var ends: [CInt] = [-1, -1]
    let result = unsafe clinux_socket_pair(&ends)
    guard result == 0 else { throw SystemError("socketpair", code: -result) }
    return (ends[0], ends[1])
  }

  /// Sets TCP_NODELAY: small writes no longer wait for acknowledgements.
  package static func sendAtOnce(_ fd: CInt) { clinux_send_at_once(fd) }

  /// SAFETY: the C side sets the stage to a string literal, which lives for ever.
  private static func name(_ stage: UnsafePointer<CChar>?) -> String {
    guard let stage = unsafe stage else { return "socket" }
    return unsafe String(cString: stage)
  }

  package static func localAddress(_ fd: CInt) -> SocketAddress? {
    var plain = clinux_address()
    return unsafe clinux_local_address(fd, &plain) == 0 ? SocketAddress(plain) : nil
  }

  /// The original destination of a connection that netfilter redirected: the address that REDIRECT or DNAT replaced,
  /// else the local address, which TPROXY and local default routes keep.
  package static func originalDestination(_ fd: CInt, peer: SocketAddress) -> SocketAddress? {
    var plain = clinux_address()
    let isTold = unsafe clinux_original_destination(fd, peer.plain.family, &plain) == 0
    return isTold ? SocketAddress(plain) : localAddress(fd)
  }

  package static func peerAddress(_ fd: CInt) -> SocketAddress? {
    var plain = clinux_address()
    return unsafe clinux_peer_address(fd, &plain) == 0 ? SocketAddress(plain) : nil
  }

  /// The number of sent bytes that the peer's kernel took, and if others still wait in this kernel. An application
  /// may see no progress of a slow peer for long: the kernel takes more only when a third of its buffer is free.
  package static func taken(_ fd: CInt) -> (bytes: Int, waits: Bool) {
    var bytes: UInt64 = 0
    var waits: CInt = 0
    guard unsafe clinux_taken(fd, &bytes, &waits) == 0 else { return (0, false) }
    return (Int(clamping: bytes), waits != 0)
  }

  /// SO_ERROR, which also clears it.
  package static func pendingError(_ fd: CInt) -> CInt { clinux_pending_error(fd) }

  /// The result of a read, without reading.
  package static func peek(_ fd: CInt) -> Transfer { Transfer(reading: clinux_peek(fd)) }

  /// False if the peer has gone (ENOTCONN). Bytes that it sent may still be read.
  package static func shutdownWrite(_ fd: CInt) -> Bool { clinux_shutdown_write(fd) == 0 }

  /// Enables probes of a quiet peer (tcp(7)).
  package static func keepAlive(_ fd: CInt, idleSeconds: Int) { clinux_keep_alive(fd, CInt(clamping: idleSeconds)) }

  /// Makes the following close send a reset, so that a cut transfer does not look complete.
  package static func abort(_ fd: CInt) { _ = clinux_reset_on_close(fd) }

  package static func receive(_ fd: CInt, into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
    // SAFETY: the buffer is the caller's, and no more than its size is asked for.
    Transfer(reading: unsafe clinux_receive(fd, buffer.baseAddress, buffer.count))
  }

  package static func send(_ fd: CInt, _ bytes: UnsafeRawBufferPointer) -> Transfer {
    Transfer(writing: unsafe clinux_send(fd, bytes.baseAddress, bytes.count))
  }

  package static func send(_ fd: CInt, _ bytes: Span<UInt8>) -> Transfer {
    // SAFETY: the buffer is the span's own, and the call does not keep it.
    let sent = unsafe bytes.withUnsafeBufferPointer { unsafe clinux_send(fd, $0.baseAddress, $0.count) }
    return Transfer(writing: sent)
  }
}

/// The buffer of a loop for small chunks.
@safe package final class Scratch {
  package static let byteCount = 64 * 1024
  /// SAFETY: allocated here, freed in deinit, and every range below is checked against its size.
  private let memory: UnsafeMutablePointer<UInt8>

  package init() { unsafe memory = .allocate(capacity: Self.byteCount) }

  deinit { unsafe memory.deallocate() }

  package func receive(from fd: CInt, upTo count: Int) -> Transfer {
    Transfer(reading: unsafe clinux_receive(fd, memory, min(count, Self.byteCount)))
  }

  /// Lends the whole buffer for a read.
  package func withRoom<R>(_ body: (UnsafeMutableRawBufferPointer) -> R) -> R {
    unsafe body(UnsafeMutableRawBufferPointer(start: memory, count: Self.byteCount))
  }

  package func send(to fd: CInt, _ range: Range<Int>) -> Transfer {
    precondition(range.lowerBound >= 0 && range.upperBound <= Self.byteCount, "a range within the scratch buffer")
    return Transfer(writing: unsafe clinux_send(fd, memory + range.lowerBound, range.count))
  }

  /// Lends the first `count` bytes.
  package func withBytes<R>(_ count: Int, _ body: (Span<UInt8>) -> R) -> R {
    precondition(count <= Self.byteCount, "a range within the scratch buffer")
    return body(unsafe Span(_unsafeStart: memory, count: count))
  }

  package func bytes(_ range: Range<Int>) -> [UInt8] {
    precondition(range.lowerBound >= 0 && range.upperBound <= Self.byteCount, "a range within the scratch buffer")
    return unsafe Array(UnsafeBufferPointer(start: memory + range.lowerBound, count: range.count))
  }
}
