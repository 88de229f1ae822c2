// Step "accept": a listening socket of one loop. Running out of descriptors pauses it instead of spinning.
// It relies on Kernel for accept4(2), and hands each connection to its acceptor, a Worker.
import Kernel
import Policy

/// Takes the connections that a listener accepts.
protocol ConnectionAcceptor: AnyObject {
  func accepted(_ socket: consuming Descriptor, from peer: SocketAddress, at door: ListenerKind, _ sandbox: String?)
  /// Called by a listener that speaks TLS. `identity` is its address in the policy in force.
  func accepted(_ socket: consuming Descriptor, from peer: SocketAddress, identity: ListenAddress)
}

final class Listener: Source {
  private unowned let acceptor: any ConnectionAcceptor
  private let loop: Loop
  /// Nil once the listener is closed.
  private var socket: Descriptor?
  private let fd: CInt
  private let door: ListenerKind
  /// The address by which the policy in force finds the certificate of a listener that speaks TLS.
  private let identity: ListenAddress?
  let sandbox: String?
  /// True if other workers have this socket too.
  private let isShared: Bool
  private var slot = Slot.none
  private var isResting = false
  private var saidResting = false

  init(
    socket: consuming Descriptor, door: ListenerKind, identity: ListenAddress?, sandbox: String?, isShared: Bool,
    loop: Loop, acceptor: any ConnectionAcceptor
  ) {
    fd = socket.raw
    self.door = door
    self.identity = identity
    self.sandbox = sandbox
    self.isShared = isShared
    self.socket = .some(socket)
    self.loop = loop
    self.acceptor = acceptor
  }

  func begin() throws(SystemError) {
    slot = loop.register(self)
    if isShared { return try loop.watchShared(fd, slot, tag: 0, edges: true) }
    try loop.watchEdges(fd, slot, tag: 0)
  }

  /// Closes the socket. The kernel then refuses connections, unless another process or worker holds the socket.
  func close() {
    if socket != nil { loop.unwatch(fd) }
    loop.release(slot)
    socket = nil
  }

  func ready(_ readiness: Readiness, tag: UInt8) {
    if !isResting { acceptAll() }
  }

  func resume() { if !isResting { acceptAll() } }

  func deadlinePassed() {
    isResting = false
    acceptAll()
  }

  private func acceptAll() {
    loop.acceptAll(at: slot, { Socket.accept(fd) }, rests: rest) { descriptor, peer in
      saidResting = false
      if let identity {
        acceptor.accepted(descriptor, from: peer, identity: identity)
      } else {
        acceptor.accepted(descriptor, from: peer, at: door, sandbox)
      }
    }
  }

  /// Pauses accepting. The warning appears once, until a connection is accepted again.
  private func rest(_ error: SystemError) {
    if !saidResting { Messages.warn("no connection can be accepted for now: \(error)") }
    saidResting = true
    isResting = true
  }
}
