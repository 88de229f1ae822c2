// One client connection on its loop: what the loop, the resolver and the control side call of it.
// It never leaves its loop. All its state is one value: an event costs one exclusivity check, not one a field.
import Flow
import Kernel

final class Session: Source {
  private let loop: Loop
  let id: UInt64
  /// Whose listener it came by.
  let sandbox: String?
  private var connection: Connection

  init(worker: Worker, id: UInt64, socket: consuming Descriptor, flow: consuming Flow, lease: NameLease?) {
    loop = worker.loop
    self.id = id
    sandbox = flow.sandbox
    connection = Connection(worker: worker, id: id, socket: socket, flow: flow, lease: lease)
  }

  /// Takes its slot; nil when the kernel refused to watch the socket.
  func begin() -> Slot? {
    let slot = loop.register(self)
    if connection.begin(slot) { return slot }
    loop.release(slot)
    return nil
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) { connection.ready(readiness, tag: tag) }
  func resume() { connection.advance() }
  func deadlinePassed() { connection.deadlinePassed() }

  // MARK: - Events that are not of its sockets

  func resolved(_ answer: NameAnswer, token: UInt64) { connection.resolved(answer, token: token) }
  func verified(_ verified: VerifiedPassword) { connection.verified(verified) }
  func tellFromOutside(_ event: Event) { connection.tellFromOutside(event) }
  func closeIfQuiet() { connection.closeIfQuiet() }
  func closeNow() { connection.close(cut: true) }

  // MARK: - What an operator asks

  /// nil where nothing was let out, or all is over.
  func facts() -> TunnelFacts? { connection.tunnelFacts() }
  func addTo(_ counts: inout WorkerCounts) { connection.addTo(&counts) }
  /// False where there is no such request (any more).
  func closeForOperator(ordinal: UInt32?) -> Bool { connection.closeForOperator(ordinal: ordinal) }
}
