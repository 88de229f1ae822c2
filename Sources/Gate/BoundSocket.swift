// A socket that the main thread bound, or was handed, for one worker, with the listener's kind.
// It relies on the worker to take ownership: until then nobody closes the socket; later its Listener or
// DNSDatagramSocket does.
import Kernel
package import Policy

/// An address that the gate listens on, with the actual port.
struct Listening {
  let door: ListenerKind
  let address: SocketAddress
  let speaksTLS: Bool
}

package struct BoundSocket: Sendable {
  package enum Transport: Sendable, Equatable { case stream, datagram }

  package let door: ListenerKind
  package let transport: Transport
  package let raw: CInt
  /// The policy's address of a listener that speaks TLS. Nil for the others.
  var identity: ListenAddress?
  /// The sandbox that the socket was made in: all its connections belong to that client.
  var sandbox: String?
  /// True if other workers have duplicates of this socket.
  let isShared: Bool

  package init(door: ListenerKind, transport: Transport, raw: CInt, sandbox: String? = nil, isShared: Bool = false) {
    self.door = door
    self.transport = transport
    self.raw = raw
    self.sandbox = sandbox
    self.isShared = isShared
  }

  /// Attempts to find a port that is free for both streams and datagrams.
  private static let portsTriedMax = 20

  /// Opens one worker's sockets of a listener: DNS has a datagram socket beside the stream socket.
  /// For port 0 the kernel picks a port. The caller passes that port on, so that all sockets of the listener share
  /// it.
  static func open(_ door: ListenerKind, _ address: inout SocketAddress, reusePort: Bool) throws(SystemError)
    -> [BoundSocket]
  {
    guard door == .dns else {
      let stream = try Socket.listen(
        on: address, reusePort: reusePort, isTransparent: door == .transparent, backlog: 4096)
      if let local = Socket.localAddress(stream.raw) { address = local }
      return [BoundSocket(door: door, transport: .stream, raw: stream.relinquish())]
    }
    var triesLeft = address.port == 0 ? portsTriedMax : 1
    while true {
      triesLeft -= 1
      let stream = try Socket.listen(on: address, reusePort: reusePort, backlog: 4096)
      let bound = Socket.localAddress(stream.raw) ?? address
      do throws(SystemError) {
        let datagram = try Socket.bindDatagrams(on: bound, reusePort: reusePort)
        address = bound
        return [
          BoundSocket(door: door, transport: .stream, raw: stream.relinquish()),
          BoundSocket(door: door, transport: .datagram, raw: datagram.relinquish()),
        ]
      } catch {
        if triesLeft == 0 { throw error }
      }
    }
  }
}
