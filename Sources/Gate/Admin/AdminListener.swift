// The admin socket: who may connect, how many at once, and what each request does.
// It relies on the main thread's loop, where reading a file may take its time without a tunnel waiting for it.
import Flow
import HTTPService
import Kernel
import Policy
import Wire

final class AdminListener: Source {
  private static let connectionsMax = 64

  private unowned let server: Server
  private let loop: Loop
  private let listener: LocalListener
  private var slot = Slot.none
  private var connections: [Int: AdminConnection] = [:]
  private let sandboxes: Sandboxes

  /// `handed` is the socket at that path, where somebody else has bound it.
  init(_ server: Server, at path: String, handed: CInt?, _ main: MainLoop) throws(ServerError) {
    self.server = server
    loop = main.loop
    sandboxes = Sandboxes(server, main.survey)
    do throws(LocalSocketProblem) {
      if let handed {
        listener = LocalListener(adopting: handed, at: path)
      } else {
        listener = try LocalListener(at: path)
      }
    } catch {
      throw .cannotListenForAdmin(error)
    }
    do throws(SystemError) { slot = try loop.register(self, watching: listener.fd) } catch { throw .cannotStart(error) }
  }

  var path: String { listener.path }
  var sandboxNames: [String] { sandboxes.names }

  func close() {
    for connection in Array(connections.values) { connection.closeAtEnd() }
    loop.release(slot)
    listener.remove()
  }

  func ended(_ connection: AdminConnection, _ slot: Slot) {
    sandboxes.ended(connection)
    connections[slot.index] = nil
    loop.release(slot)
  }

  // MARK: - Source: the listener

  func ready(_ readiness: Readiness, tag: UInt8) { acceptAll() }
  func resume() { acceptAll() }
  func deadlinePassed() { acceptAll() }

  private func acceptAll() {
    loop.acceptAll(at: slot, { listener.accept() }) { socket, _ in accepted(socket) }
  }

  private func accepted(_ socket: consuming Descriptor) {
    let peer = LocalSocket.peer(of: socket.raw)
    let stranger = Self.stranger(peer)
    let connection = AdminConnection(socket, peer: peer, desk: self, loop: loop)
    guard let slot = connection.begin() else { return }
    connections[slot.index] = connection
    if let stranger {
      connection.end(stranger)
    } else if connections.values.count(where: { !$0.hasSandbox }) > Self.connectionsMax {
      connection.end("\(Self.connectionsMax) connections are open; try again")
    }
  }

  /// Why this peer is not served; nil for root and the gate's own user. What runs in a sandbox of this user has its
  /// uid,
  /// but not its pid namespace, and neither has another container that shares the socket's folder.
  private static func stranger(_ peer: LocalPeer?) -> String? {
    guard let peer, peer.uid == 0 || peer.uid == Machine.userID else {
      return "only root and the user that the gate runs as may use this socket"
    }
    guard LocalSocket.sharesNamespace(pid: peer.pid) else {
      return "only processes of the gate's own pid namespace may use this socket"
    }
    return nil
  }

  // MARK: - Requests

  func handle(_ line: [UInt8], _ received: [CInt], for connection: AdminConnection) {
    if line.starts(with: "GET ".utf8), received.isEmpty { return get(line, for: connection) }
    let request: AdminRequest
    do throws(AdminProblem) { request = try AdminRequest.parse(line) } catch {
      LocalSocket.close(received)
      return connection.refuse(error.text)
    }
    if case .attach(let name, let listeners, let hasMore, let isProbing) = request {
      return sandboxes.attach(connection, name, listeners, received, hasMore: hasMore, isProbing: isProbing)
    }
    guard received.isEmpty else {
      LocalSocket.close(received)
      return connection.end("descriptors are only allowed with attach")
    }
    switch request {
    case .status: status(connection)
    case .metrics:
      server.metrics {
        connection.answer(.success([JSONMember("metrics", .text(String(decoding: $0, as: UTF8.self)))]))
      }
    case .reload: server.reload { connection.answer($0.json) }
    case .tunnels(let max): tunnels(connection, max)
    case .close(let id, let ordinal): close(connection, id, ordinal)
    case .drain:
      server.beginDrain()
      connection.answer(.success([JSONMember("connections", .number(server.openConnections))]))
    case .client(let name, let probe): connection.answer(server.describe(client: name, probe: probe, sandboxes.names))
    case .approvals(let max): approvals(connection, max)
    case .approve(let id, let grant, let rule):
      server.approve(id, grant, rule: rule, by: connection.peerName) { connection.answer($0) }
    case .refuse(let id, let isAlways):
      server.refuse(id, isAlways: isAlways, by: connection.peerName) { connection.answer($0) }
    case .review(let id, nil): connection.answer(server.review(id))
    case .review(let id, let decision?): connection.answer(server.decide(id, decision, by: connection.peerName))
    case .probed: sandboxes.endProbing(connection)
    case .attach, .detach: sandboxes.detach(connection)
    }
  }

  /// The same over HTTP, for whoever speaks that over unix sockets; header lines that follow are not looked at.
  private func get(_ line: [UInt8], for connection: AdminConnection) {
    switch MetricsRequest(line: line.prefix { $0 != UInt8(ascii: "\r") }) {
    case .refused(let answer): connection.endHTTP(answer.bytes(isHead: false))
    case .ready: connection.endHTTP(MetricsRequest.answer(unready: server.unready).bytes(isHead: false))
    case .metrics: server.metrics { connection.endHTTP(MetricsRequest.answer(metrics: $0).bytes(isHead: false)) }
    }
  }

  private func status(_ connection: AdminConnection) {
    server.count { [server] counts, isWhole in connection.answer(server.status(counts, isWhole: isWhole).json) }
  }

  private func tunnels(_ connection: AdminConnection, _ max: Int) {
    server.survey { answers in
      var all: [TunnelFacts] = []
      for case .tunnels(let some) in answers.bodies { all += some }
      all.sort { $0.id < $1.id }
      for tunnel in all.prefix(max) { connection.say(tunnel.json) }
      connection.answer(
        .success([
          JSONMember("shown", .number(min(all.count, max))), JSONMember("more", .bool(all.count >= max)),
        ]))
    } asking: {
      .question(.tunnels(max: max), token: $0)
    }
  }

  private func approvals(_ connection: AdminConnection, _ max: Int) {
    let (entries, lines, settings) = server.shared.approvals.change { registry in
      let entries = registry.list()
      let lines = entries.prefix(max).map {
        JSONValue.object([
          JSONMember("approval", $0.json(.now, hasRule: registry.hasRule($0.id), end: registry.end(of: $0.id)))
        ])
      }
      return (entries, lines, registry.settings)
    }
    for line in lines { connection.say(line) }
    connection.answer(
      .success([
        JSONMember("waiting", .number(entries.count { $0.state == .waiting })),
        JSONMember("shown", .number(lines.count)), JSONMember("more", .bool(entries.count > max)),
        JSONMember("enabled", .bool(server.policy.settings.approvals != nil)),
        JSONMember("wait_ms", .number(Int(clamping: settings.waitMs))),
        JSONMember("policy_file", server.policyPath.map { .text($0) } ?? .null),
      ]))
  }

  private func close(_ connection: AdminConnection, _ id: UInt64, _ ordinal: UInt32?) {
    server.survey { answers in
      let wasThere = answers.bodies.contains { if case .closed(true) = $0 { true } else { false } }
      connection.answer(
        wasThere
          ? .success()
          : .failure(
            "no such tunnel, or it has ended; `sluice tunnels` lists the open ones", [JSONMember("gone", .bool(true))]))
    } asking: {
      .question(.close(id: id, ordinal: ordinal), token: $0)
    }
  }
}

extension AdminConnection {
  func answer(_ value: JSONValue) {
    say(value)
    finish()
  }
}
