// The gate's own small HTTP server: one listener on a loop, its connections, and their bounds. Metrics and the
// dashboard are served by it. It relies on an HTTPHandler for what is answered.
package import Kernel
package import Wire

package protocol HTTPHandler: AnyObject {
  /// False: the connection is closed unread.
  func mayServe(_ peer: SocketAddress) -> Bool
  /// A whole head: it is answered now or later by `reply`, or by `beginStream`.
  func answer(_ connection: HTTPConnection, _ head: RequestHead, _ bytes: Span<UInt8>)
  /// The answer to a head that is malformed, too long or too slow.
  func refusal(_ status: Int, _ text: String) -> [UInt8]
  /// The connection is gone.
  func ended(_ connection: HTTPConnection)
}

extension HTTPHandler {
  package func mayServe(_ peer: SocketAddress) -> Bool { true }
  package func refusal(_ status: Int, _ text: String) -> [UInt8] { HTTPAnswer(status, text).bytes(isHead: false) }
  package func ended(_ connection: HTTPConnection) {}
}

package final class HTTPListener: Source {
  package struct Bounds: Sendable {
    let connections: Int
    let headBytes: Int

    package init(connections: Int, headBytes: Int) { (self.connections, self.headBytes) = (connections, headBytes) }
  }

  let loop: Loop
  let scratch = Scratch()
  let bounds: Bounds
  unowned let handler: any HTTPHandler
  private let socket: Descriptor
  private var slot = Slot.none
  private var connections: [Int: HTTPConnection] = [:]

  package init(
    _ socket: consuming Descriptor, on loop: Loop, _ bounds: Bounds, _ handler: any HTTPHandler
  ) throws(SystemError) {
    let fd = socket.raw
    (self.loop, self.bounds, self.handler) = (loop, bounds, handler)
    self.socket = socket
    slot = try loop.register(self, watching: fd)
  }

  package var address: SocketAddress? { Socket.localAddress(socket.raw) }

  package func close() {
    for connection in Array(connections.values) { connection.close() }
    loop.release(slot)
  }

  func ended(_ connection: HTTPConnection, _ slot: Slot) {
    connections[slot.index] = nil
    loop.release(slot)
    handler.ended(connection)
  }

  // MARK: - Source

  package func ready(_ readiness: Readiness, tag: UInt8) { acceptAll() }
  package func resume() { acceptAll() }
  package func deadlinePassed() { acceptAll() }

  private func acceptAll() {
    loop.acceptAll(at: slot, { Socket.accept(socket.raw) }) { socket, peer in accepted(socket, from: peer) }
  }

  private func accepted(_ socket: consuming Descriptor, from peer: SocketAddress) {
    guard connections.count < bounds.connections, handler.mayServe(peer) else { return Socket.abort(socket.raw) }
    let connection = HTTPConnection(socket, of: self)
    if let slot = connection.begin() { connections[slot.index] = connection }
  }
}
