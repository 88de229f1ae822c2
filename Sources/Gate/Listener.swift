// Step "accept": a listening socket of one loop. It survives the end of descriptors without spinning.
// It relies on Kernel for accept4(2), and hands each connection to its acceptor, a Worker.
import Kernel
import Policy

/// Takes the connections that a listener accepts.
protocol ConnectionAcceptor: AnyObject {
  func accepted(_ socket: consuming Descriptor, from peer: SocketAddress, at door: ListenerKind, _ sandbox: String?)
  /// By a listener that speaks TLS, which the policy in force knows by its address.
  func accepted(_ socket: consuming Descriptor, from peer: SocketAddress, identity: ListenAddress)
}

final class Listener: Source {
  private unowned let acceptor: any ConnectionAcceptor
  private let loop: Loop
  /// nil once it is closed.
  private var socket: Descriptor?
  private let fd: CInt
  private let door: ListenerKind
  /// Of one that speaks TLS: the address by which the policy in force knows what it shows.
  private let identity: ListenAddress?
  let sandbox: String?
  /// Other workers have it too.
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

  /// From now on the kernel refuses connections here, unless somebody else has the socket too.
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

  /// Told once, until a connection is accepted again.
  private func rest(_ error: SystemError) {
    if !saidResting { Messages.warn("accept rests: \(error)") }
    saidResting = true
    isResting = true
  }
}
