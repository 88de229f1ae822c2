// The TCP listener that a monitoring system asks: `GET /metrics` and `GET /ready`, and nothing else.
// It relies on the gate to refuse its address as a target, and on the main thread's loop to wait for workers.
import HTTPService
import Kernel
import Policy
import Wire

final class MetricsListener: HTTPHandler {
  /// The parts of the gate that the listener needs.
  struct Gate {
    /// The text of all figures, when workers have given theirs.
    let metrics: (_ finish: @escaping ([UInt8]) -> Void) -> Void
    /// Why no new tunnel would be let out; nil where it would.
    let unready: () -> String?
    /// True if a client of the policy's own has this address.
    let hasClient: (IPAddress) -> Bool
  }

  private static let connectionsMax = 32
  /// Asking more often does not make the loops count more often.
  private static let freshMs: UInt64 = 250

  private let gate: Gate
  private let loop: Loop
  let address: SocketAddress
  private var listener: HTTPListener?
  private var last: (text: [UInt8], atMs: UInt64)?
  /// Connections that the answer under way is for.
  private var waiting: [(connection: HTTPConnection, isHead: Bool)] = []

  init(_ gate: Gate, at wanted: ListenAddress, _ loop: Loop) throws(ServerError) {
    (self.gate, self.loop) = (gate, loop)
    let plain = SocketAddress(wanted.address, port: wanted.port)
    do throws(SystemError) {
      let socket = try Socket.listen(on: plain, reusePort: false, backlog: Int32(Self.connectionsMax))
      address = Socket.localAddress(socket.raw) ?? plain
      listener = try HTTPListener(
        socket, on: loop,
        HTTPListener.Bounds(connections: Self.connectionsMax, headBytes: MetricsRequest.headBytesMax), self)
    } catch {
      throw .cannotListenForMetrics(wanted, error)
    }
  }

  func close() { listener?.close() }

  // MARK: - HTTPHandler

  /// A connection from a network of a client's own is no monitoring system: it is closed unread.
  func mayServe(_ peer: SocketAddress) -> Bool { !gate.hasClient(peer.ip) }

  func answer(_ connection: HTTPConnection, _ head: RequestHead, _ bytes: Span<UInt8>) {
    switch MetricsRequest(head, bytes) {
    case .refused(let answer): connection.reply(answer.bytes(isHead: head.isHEAD))
    case .ready(let isHead): connection.reply(MetricsRequest.answer(unready: gate.unready()).bytes(isHead: isHead))
    case .metrics(let isHead): ask(for: connection, isHead: isHead)
    }
  }

  private func ask(for connection: HTTPConnection, isHead: Bool) {
    if let last, loop.nowMs &- last.atMs < Self.freshMs {
      return connection.reply(MetricsRequest.answer(metrics: last.text).bytes(isHead: isHead))
    }
    waiting.append((connection, isHead))
    guard waiting.count == 1 else { return }
    gate.metrics { [weak self] text in
      guard let self else { return }
      last = (text, loop.nowMs)
      let asked = waiting
      waiting = []
      for (connection, isHead) in asked {
        connection.reply(MetricsRequest.answer(metrics: text).bytes(isHead: isHead))
      }
    }
  }
}
