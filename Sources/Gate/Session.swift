// One client connection on its loop: the calls of the loop, the resolver and the control side arrive here.
// It relies on staying on its loop. Its whole state is one value, which one call at a time may change.
import Flow
import Kernel
import Policy

final class Session: Source {
  private let loop: Loop
  let id: UInt64
  /// The sandbox of the listener that accepted the connection.
  let sandbox: String?
  /// SAFETY of `@exclusivity(unchecked)`: `enter` lets in one call at a time, as the check would, at a tenth of its
  /// cost.
  @safe @exclusivity(unchecked) private var connection: Connection
  private var isAtWork = false

  init(
    worker: Worker, id: UInt64, socket: consuming Descriptor, flow: consuming Flow, lease: NameLease?,
    owner: ShareOwner,
    isOwnerFixed: Bool
  ) {
    loop = worker.loop
    self.id = id
    sandbox = flow.sandbox
    connection = Connection(
      worker: worker, id: id, socket: socket, flow: flow, lease: lease, owner: owner, isOwnerFixed: isOwnerFixed)
  }

  /// Registers the session in a slot. Nil if the kernel refused to watch the socket.
  func begin() -> Slot? {
    let slot = loop.register(self)
    if enter({ $0.begin(slot) }) { return slot }
    loop.release(slot)
    return nil
  }

  private func enter<T>(_ work: (inout Connection) -> T) -> T {
    precondition(!isAtWork, "a session is called from within its own work")
    isAtWork = true
    defer { isAtWork = false }
    return work(&connection)
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) { enter { $0.ready(readiness, tag: tag) } }
  func resume() { enter { $0.advance() } }
  func deadlinePassed() { enter { $0.deadlinePassed() } }

  // MARK: - Events that are not of its sockets

  func resolved(_ answer: NameAnswer, token: UInt64) { enter { $0.resolved(answer, token: token) } }
  func approvalAnswered() { enter { $0.approvalAnswered() } }
  func verified(_ verified: VerifiedPassword) { enter { $0.verified(verified) } }
  func tokensCame() { enter { $0.tokensCame() } }
  func tellFromOutside(_ event: Event) { enter { $0.tellFromOutside(event) } }
  func closeIfQuiet() { enter { $0.closeIfQuiet() } }
  func closeNow() { enter { $0.close(cut: true) } }

  // MARK: - What an operator asks

  /// Nil if no request was let out, or if the connection has ended.
  func facts() -> TunnelFacts? { enter { $0.tunnelFacts() } }
  var clientName: String { enter { $0.flow.client.name } }
  func addTo(_ counts: inout WorkerCounts) { enter { $0.addTo(&counts) } }
  /// False if that request does not exist, or has ended.
  func closeForOperator(ordinal: UInt32?) -> Bool { enter { $0.closeForOperator(ordinal: ordinal) } }
}
