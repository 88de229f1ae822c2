// Sandboxes that hang on the admin socket: each is a name, one worker that has all its listeners, and the connection
// that it ends with.
// It relies on the mail to a worker keeping its order: what is dismissed after it was adopted is dismissed.
import Kernel
import Policy
import Wire

final class Sandboxes {
  private struct Sandbox {
    /// Tells it from a later one of its name.
    let number: UInt64
    let worker: Int
    /// Gone with its connection; it stays in the table until its tunnels are.
    var connection: AdminConnection?
  }

  private static let countMax = 256
  /// Two families of every port that can have a listener, DNS and the proxy.
  private static let listenersMax = 1_024
  /// What a command has sent before it ended may still be on its way.
  private static let graceMs: UInt64 = 1_000
  private static let lookMs: UInt64 = 10

  private unowned let server: Server
  private let survey: Survey
  private var table: [String: Sandbox] = [:]
  private var lastNumber: UInt64 = 0

  init(_ server: Server, _ survey: Survey) { (self.server, self.survey) = (server, survey) }

  var names: [String] { table.keys.sorted() }

  // MARK: - It comes

  func attach(
    _ connection: AdminConnection, _ name: String, _ listeners: [AttachedListener], _ received: [CInt], hasMore: Bool,
    isProbing: Bool
  ) {
    if let problem = problem(connection, name, listeners, received) {
      LocalSocket.close(received)
      return connection.end(problem)
    }
    connection.gathered += zip(listeners, received).map {
      BoundSocket(door: $0.door, transport: $0.transport, raw: $1, sandbox: name)
    }
    if hasMore { return connection.answer(.success()) }
    let sockets = connection.gathered
    connection.gathered = []
    let worker = leastLoaded()
    lastNumber += 1
    table[name] = Sandbox(number: lastNumber, worker: worker, connection: connection)
    connection.hasSandbox = true
    server.replaceSandboxes { $0.serving(sandboxes: [name]) }
    if isProbing { survey.ask(worker, { .probing(sandbox: name, isOver: false, token: $0) }) { _ in } }
    survey.ask(worker, { .adopt(sockets, token: $0) }) { [weak connection] answers in
      guard case .adopted(true)? = answers.bodies.first else {
        connection?.end("the listeners could not be served; the gate's standard error says why")
        return
      }
      Messages.say("serving the sandbox \(name)")
      connection?.answer(.success([JSONMember("client", .text(name))]))
    }
  }

  /// The sandbox's command may begin when this is answered.
  func endProbing(_ connection: AdminConnection) {
    guard let (name, sandbox) = entry(of: connection) else {
      return connection.refuse("this connection has no sandbox")
    }
    survey.ask(sandbox.worker, { .probing(sandbox: name, isOver: true, token: $0) }) { [weak connection] _ in
      connection?.answer(.success())
    }
  }

  private func problem(
    _ connection: AdminConnection, _ name: String, _ listeners: [AttachedListener], _ received: [CInt]
  ) -> String? {
    if server.isDraining { return "the gate drains" }
    if connection.hasSandbox { return "this connection has a sandbox already" }
    if connection.gathered.contains(where: { $0.sandbox != name }) { return "one connection is one sandbox" }
    if table[name] != nil { return "a sandbox named \(name) is there already; give another --name" }
    if table.count >= Self.countMax { return "\(Self.countMax) sandboxes are served already" }
    if listeners.count != received.count {
      return "\(listeners.count) listeners are named, and \(received.count) descriptors came"
    }
    if connection.gathered.count + listeners.count > Self.listenersMax {
      return "a sandbox has at most \(Self.listenersMax) listeners"
    }
    for (listener, raw) in zip(listeners, received) {
      guard LocalSocket.isListener(raw, isDatagram: listener.transport == .datagram), LocalSocket.setNonBlocking(raw)
      else { return "a descriptor is not a listener of its kind (\(listener.word))" }
    }
    return nil
  }

  private func leastLoaded() -> Int {
    let loads = (0..<server.workers).map { worker in table.values.count { $0.worker == worker } }
    return loads.indices.min { loads[$0] < loads[$1] } ?? 0
  }

  // MARK: - It goes

  /// The sandbox's command has ended: bytes that it sent may still arrive.
  func detach(_ connection: AdminConnection) {
    guard let (name, sandbox) = entry(of: connection) else {
      return connection.refuse("this connection has no sandbox")
    }
    let dueMs = Clock.monotonicMs() + Self.graceMs
    dismiss(name, sandbox, dueMs: dueMs) { [weak connection] in
      connection?.hasSandbox = false
      connection?.answer(.success())
    }
  }

  /// The other end is gone, and nobody is left to send anything.
  func ended(_ connection: AdminConnection) {
    guard let (name, sandbox) = entry(of: connection) else { return }
    table[name]?.connection = nil
    dismiss(name, sandbox, dueMs: 0) {}
  }

  private func entry(of connection: AdminConnection) -> (name: String, sandbox: Sandbox)? {
    table.first { $0.value.connection === connection }.map { ($0.key, $0.value) }
  }

  /// Also while it is being dismissed already: the sooner end counts.
  private func dismiss(_ name: String, _ sandbox: Sandbox, dueMs: UInt64, _ finish: @escaping () -> Void) {
    guard table[name]?.number == sandbox.number else { return finish() }
    let isCut = Clock.monotonicMs() >= dueMs
    survey.ask(sandbox.worker, { .dismiss(sandbox: name, isCut: isCut, token: $0) }) { [weak self] answers in
      guard let self else { return }
      if !isCut, case .dismissed(let left)? = answers.bodies.first, left > 0 {
        survey.after(ms: Self.lookMs) { [weak self] in self?.dismiss(name, sandbox, dueMs: dueMs, finish) }
        return
      }
      guard table[name]?.number == sandbox.number else { return finish() }
      table[name] = nil
      server.replaceSandboxes { $0.withoutSandbox(name) }
      server.endSession(of: name)
      Messages.say("the sandbox \(name) has ended")
      finish()
    }
  }
}
