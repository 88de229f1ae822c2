// The TCP listener that a monitoring system asks: `GET /metrics`, and nothing else.
// It relies on the gate to refuse its address as a target, and on the main thread's loop to wait for workers.
import Kernel
import Policy
import Wire

final class MetricsListener: Source {
  private static let connectionsMax = 32
  /// Asking more often does not make the loops count more often.
  private static let freshMs: UInt64 = 250

  private unowned let server: Server
  private let loop: Loop
  private let socket: Descriptor
  let address: SocketAddress
  let scratch = Scratch()
  private var slot = Slot.none
  private var connections: [Int: MetricsConnection] = [:]
  private var last: (text: [UInt8], atMs: UInt64)?
  /// Those that the answer under way is for.
  private var waiting: [MetricsConnection] = []

  init(_ server: Server, at wanted: ListenAddress, _ loop: Loop) throws(ServerError) {
    self.server = server
    self.loop = loop
    do throws(SystemError) {
      socket = try Socket.listen(
        on: SocketAddress(wanted.address, port: wanted.port), reusePort: false, backlog: Int32(Self.connectionsMax))
    } catch {
      throw .cannotListenForMetrics(wanted, error)
    }
    address = Socket.localAddress(socket.raw) ?? SocketAddress(wanted.address, port: wanted.port)
    do throws(SystemError) { slot = try loop.register(self, watching: socket.raw) } catch { throw .cannotStart(error) }
  }

  func close() {
    for connection in Array(connections.values) { connection.close() }
    loop.release(slot)
  }

  func ended(_ slot: Slot) {
    connections[slot.index] = nil
    loop.release(slot)
  }

  // MARK: - Source: the listener

  func ready(_ readiness: Readiness, tag: UInt8) { acceptAll() }
  func resume() { acceptAll() }
  func deadlinePassed() { acceptAll() }

  private func acceptAll() {
    loop.acceptAll(at: slot, { Socket.accept(socket.raw) }) { socket, peer in accepted(socket, from: peer) }
  }

  /// What comes from a network of a client's own is no monitoring system: it is closed unread.
  private func accepted(_ socket: consuming Descriptor, from peer: SocketAddress) {
    guard connections.count < Self.connectionsMax, !server.policy.hasClient(at: peer.ip) else {
      return Socket.abort(socket.raw)
    }
    let connection = MetricsConnection(socket, desk: self, loop: loop)
    if let slot = connection.begin() { connections[slot.index] = connection }
  }

  // MARK: - The answer

  func ask(for connection: MetricsConnection) {
    if let last, loop.nowMs - last.atMs < Self.freshMs { return connection.answer(last.text) }
    waiting.append(connection)
    guard waiting.count == 1 else { return }
    server.metrics { [weak self] text in
      guard let self else { return }
      last = (text, loop.nowMs)
      let asked = waiting
      waiting = []
      for connection in asked { connection.answer(text) }
    }
  }
}
