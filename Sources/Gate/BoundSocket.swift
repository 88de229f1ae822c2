// A socket that the main thread bound for one worker, and what it is for.
// It relies on the worker to take it over: until then nobody closes it, and then its Listener or Responder does.
import Kernel
import Policy

struct BoundSocket: Sendable {
  enum Transport: Sendable { case stream, datagram }

  let door: Door
  let transport: Transport
  let raw: CInt

  /// What one worker needs of a listener: DNS has a socket for datagrams beside the one for streams.
  /// Port 0 takes a port from the kernel; the caller passes it on, so that all sockets of the listener share it.
  static func open(_ door: Door, _ address: inout SocketAddress, reusePort: Bool) throws(SystemError) -> [BoundSocket] {
    let stream = try Socket.listen(
      on: address, reusePort: reusePort, isTransparent: door == .transparent, backlog: 4096)
    if let local = Socket.localAddress(stream.raw) { address = local }
    guard door == .dns else {
      return [BoundSocket(door: door, transport: .stream, raw: stream.relinquish())]
    }
    let datagram = try Socket.bindDatagrams(on: address, reusePort: reusePort)
    return [
      BoundSocket(door: door, transport: .stream, raw: stream.relinquish()),
      BoundSocket(door: door, transport: .datagram, raw: datagram.relinquish()),
    ]
  }
}
