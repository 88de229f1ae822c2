// Step "accept": a listening socket of one loop. It survives the end of descriptors without spinning.
// It relies on Kernel for accept4(2), and hands each connection to its Worker.
import Kernel
import Policy

final class Listener: Source {
  /// How long accepting rests after descriptors ran out.
  private static let restMs: UInt64 = 100
  /// Connections taken in one turn: others are to be served too.
  private static let acceptsMax = 64

  private unowned let worker: Worker
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
  private var saidExhausted = false

  init(
    socket: consuming Descriptor, door: ListenerKind, identity: ListenAddress?, sandbox: String?, isShared: Bool,
    worker: Worker
  ) {
    fd = socket.raw
    self.door = door
    self.identity = identity
    self.sandbox = sandbox
    self.isShared = isShared
    self.socket = .some(socket)
    self.worker = worker
  }

  func begin() throws(SystemError) {
    slot = worker.loop.register(self)
    let isWatched =
      isShared
      ? worker.loop.watchShared(fd, slot, tag: 0, edges: true) : worker.loop.watchEdges(fd, slot, tag: 0)
    guard isWatched else { throw SystemError("epoll_ctl", code: 0) }
  }

  /// From now on the kernel refuses connections here, unless somebody else has the socket too.
  func close() {
    if socket != nil { worker.loop.unwatch(fd) }
    worker.loop.release(slot)
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
    for _ in 0..<Self.acceptsMax {
      switch Socket.accept(fd) {
      case .connection(let descriptor, let peer):
        saidExhausted = false
        if let identity {
          if let tls = worker.listenerTLS(identity) { worker.accepted(descriptor, from: peer, tls) }
        } else {
          worker.accepted(descriptor, from: peer, at: door, sandbox)
        }
      case .wouldBlock: return
      case .aborted: continue
      case .exhausted(let error):
        if !saidExhausted { Messages.warn("accept rests: \(error)") }
        saidExhausted = true
        return rest()
      }
    }
    // The edge was seen, but more may wait.
    worker.loop.again(slot)
  }

  private func rest() {
    isResting = true
    worker.loop.setDeadline(slot, atMs: worker.loop.nowMs + Self.restMs)
  }
}
