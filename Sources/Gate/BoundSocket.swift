// A socket that the main thread bound, or was handed, for one worker, and what it is for.
// It relies on the worker to take it over: until then nobody closes it, and then its Listener or DNSDatagramSocket
// does.
import Kernel
package import Policy

/// A place that the gate listens on, with the port that it got.
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
  /// Of one that speaks TLS: the address by which the policy knows it.
  var identity: ListenAddress?
  /// The sandbox that it was made in: all that comes by it is that client's.
  var sandbox: String?
  /// Other workers have the same one, under numbers of their own.
  let isShared: Bool

  package init(door: ListenerKind, transport: Transport, raw: CInt, sandbox: String? = nil, isShared: Bool = false) {
    self.door = door
    self.transport = transport
    self.raw = raw
    self.sandbox = sandbox
    self.isShared = isShared
  }

  /// A port that is free for streams may be taken for datagrams: how often the kernel is asked for another.
  private static let portsTriedMax = 20

  /// What one worker needs of a listener: DNS has a socket for datagrams beside the one for streams.
  /// Port 0 takes a port from the kernel; the caller passes it on, so that all sockets of the listener share it.
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
