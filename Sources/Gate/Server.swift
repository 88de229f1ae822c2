// The gate as a process: it binds the listeners, starts a worker a core, and on the main thread waits for signals; or
// as a part of one that hands it its sockets and looks after it.
// It relies on a PolicySource for the file; a policy that does not load never replaces one that does.
import Intercept
package import Kernel
package import Policy
import Synchronization
import Wire

/// Where policies come from; it tells the user itself what is wrong with one.
package protocol PolicySource {
  func load(replacing old: Policy?) -> Policy?
}

package struct ServeOptions: Sendable {
  package var workers: Int?
  /// In place of what the file says; a door that is not here is the file's to open.
  package var listen: [Door: [ListenAddress]]
  /// In place of `log.file`.
  package var logFile: String?
  /// Where the policy does not say: whether clients trust the gate's CA, and so can be told inside TLS why they are refused.
  package var explainsDenials: Bool

  package init(
    workers: Int? = nil, listen: [Door: [ListenAddress]] = [:], logFile: String? = nil, explainsDenials: Bool = false
  ) {
    self.workers = workers
    self.listen = listen
    self.logFile = logFile
    self.explainsDenials = explainsDenials
  }
}

package enum ServerError: Error, CustomStringConvertible {
  case noPolicy
  case cannotListen(Door, ListenAddress, SystemError)
  case cannotOpenLog(String, SystemError)
  case cannotInspect(String)
  case cannotStart(SystemError)
  case cannotConfine(SystemError)

  package var description: String {
    switch self {
    case .noPolicy: "the policy did not load; nothing was started"
    case .cannotListen(let door, let address, let error):
      "cannot listen on \(address): \(error). Choose another address with --listen-\(door) or `listen: {\(door): …}`"
    case .cannotOpenLog(let path, let error):
      "cannot open the log \(path): \(error). Name a file that this user may write in `log: {file: …}`"
    case .cannotInspect(let why): "cannot inspect what the policy wants inspected: \(why)"
    case .cannotStart(let error): "cannot start: \(error)"
    case .cannotConfine(let error):
      "cannot give up what the gate does not need: \(error). Start it with --no-self-sandbox if that must be"
    }
  }
}

package final class Server {
  /// How often the main thread looks after what has no event: /etc/hosts, interfaces, a log that waits for its disk.
  package static let roundMs = 2_000
  private static let unwritableRoundMs = 200
  private static let hostsPath = "/etc/hosts"
  private static let hostsBytesMax = 4 << 20
  /// Of files outside of the folders that a gate keeps when it confines itself.
  static let replaced = "a file that was replaced since the start is read at the next start; what it said before holds"

  private let source: any PolicySource
  private let options: ServeOptions
  private var policy: Policy
  private var inForce: PolicyInForce
  private var listening: [(door: Door, address: SocketAddress)] = []
  private let shared: Shared
  private let workers: Int
  private let running = RunningWorkers()
  private var hostsFile: FileStamp?
  private var hosts = HostsTable.empty
  private var saidUnwritable = false

  package init(_ source: any PolicySource, _ options: ServeOptions) throws(ServerError) {
    guard let policy = source.load(replacing: nil) else { throw .noPolicy }
    self.source = source
    self.options = options
    self.policy = policy
    inForce = try InspectionSetup.prepare(policy, options, keeping: nil)
    workers = options.workers ?? Machine.cores()
    let logFile = options.logFile ?? policy.settings.log.file
    do {
      let log = try SharedAppendFile(path: logFile)
      var mailboxes: [Mailbox<WorkerMessage>] = []
      for _ in 0..<workers { mailboxes.append(try Mailbox()) }
      shared = Shared(
        log: log, mailboxes: mailboxes, passwords: try PasswordVerifier(),
        syntheticNames: SyntheticNames(policy.settings, listen: options.listen), credentials: GateCredentials(policy))
    } catch {
      throw .cannotOpenLog(logFile ?? "standard output", error)
    }
  }

  /// Where lines go to: of the options, or of the policy; nil is standard output.
  package var logFile: String? { options.logFile ?? policy.settings.log.file }

  /// Serves until a signal ends it. The exit status: 0, or 1 when log lines could not be written to the end.
  /// `whenBound` is called with the listeners there and no thread started.
  package func run(whenBound: () throws(ServerError) -> Void) throws(ServerError) -> Int32 {
    let signals: Signals
    do { signals = try Signals() } catch { throw .cannotStart(error) }
    ResourceLimits.raiseOpenFiles()
    let sockets = try bindListeners()
    try whenBound()
    try start(sockets)
    announce()
    serving: while true {
      switch signals.wait(timeoutMs: shared.log.isUnwritable ? Self.unwritableRoundMs : Self.roundMs) {
      case .reload: reload()
      case .terminate: break serving
      case nil: lookAround()
      }
    }
    drain(signals)
    return finishLog() ? 0 : 1
  }

  /// Serves sockets that were made in a sandbox. One worker has them all: one client is hardly more than a loop can
  /// carry, and no connection wakes a worker that does not get it. The caller's thread is its own; every `roundMs` it
  /// calls `lookAround`, and at the end `finish`.
  package func start(adopting sockets: [BoundSocket]) throws(ServerError) {
    precondition(workers == 1, "adopted sockets are served by one worker")
    try start([sockets])
  }

  /// What stands may finish within `graceMs`. False when log lines are lost.
  package func finish(graceMs: UInt64) -> Bool {
    let dueMs = Clock.monotonicMs() + graceMs
    tellAll(.drain)
    while running.count > 0 && Clock.monotonicMs() < dueMs { Clock.pause(ms: 2) }
    tellAll(.stop)
    var rounds = 0
    while running.count > 0 && rounds < 500 {
      Clock.pause(ms: 2)
      rounds += 1
    }
    return finishLog()
  }

  private func finishLog() -> Bool {
    if shared.log.finish(triesMax: 20, pauseMs: 100) { return true }
    Messages.warn("the log could not be written to its end: \(shared.log.pendingBytes) bytes are lost")
    return false
  }

  // MARK: - Start

  /// One socket a worker and address (SO_REUSEPORT); the kernel spreads the connections.
  private func bindListeners() throws(ServerError) -> [[BoundSocket]] {
    var sockets = [[BoundSocket]](repeating: [], count: workers)
    for door in Door.allCases {
      for address in options.listen[door] ?? policy.settings.listen[door] {
        var bound = SocketAddress(address.address, port: address.port)
        for worker in 0..<workers {
          do throws(SystemError) {
            for socket in try BoundSocket.open(door, &bound, reusePort: workers > 1) { sockets[worker].append(socket) }
          } catch {
            throw .cannotListen(door, address, error)
          }
        }
        listening.append((door, bound))
      }
    }
    return sockets
  }

  private func start(_ sockets: [[BoundSocket]]) throws(ServerError) {
    readHosts()
    shared.credentials.take(policy, hosts: hosts, gate: gateAddresses())
    recordPolicy()
    do { try startThreads(sockets) } catch { throw .cannotStart(error) }
  }

  private func startThreads(_ sockets: [[BoundSocket]]) throws(SystemError) {
    let shared = shared
    let running = running
    let (policy, gate, hosts) = (inForce, gateAddresses(), hosts)
    try Threads.start(name: "passwords") {
      shared.passwords.run { verified in shared.mailboxes[verified.question.worker].post(.verified(verified)) }
    }
    for index in 0..<workers {
      running.entered()
      let listening = sockets[index]
      try Threads.start(name: "worker-\(index)") {
        do throws(SystemError) {
          let worker = try Worker(
            index: index, shared: shared, adopting: listening, policy: policy, gate: gate, hosts: hosts)
          worker.run()
        } catch {
          Messages.warn("worker \(index) cannot start: \(error)")
          running.failed()
        }
        running.left()
      }
    }
  }

  private func announce() {
    let places = listening.map { "\($0.address) (\($0.door))" }.joined(separator: ", ")
    let from = "policy \(policy.hash)"
    Messages.say("listening on \(places), \(workers) worker\(workers == 1 ? "" : "s"), \(from)")
  }

  private func gateAddresses() -> GateAddresses {
    GateAddresses(
      listeners: listening.map { ($0.address.ip, $0.address.port) }, interfaces: InterfaceAddresses.list().map(\.ip))
  }

  private func recordPolicy() {
    let log = AuditLog(file: shared.log, sequence: shared.sequence)
    log.recordPolicy(policy, wallMs: Clock.wallMs())
    log.flush()
  }

  // MARK: - While it serves

  /// SIGHUP: the log is opened anew (it may have been renamed), and the policy is read again.
  private func reload() {
    if let error = shared.log.reopen() { Messages.warn("the log stays where it was: \(error)") }
    guard let new = source.load(replacing: policy), let newInForce = prepare(new) else {
      Messages.warn("the policy was not replaced; \(policy.hash) stays in force")
      return
    }
    if new.settings.listen != policy.settings.listen || new.settings.log.file != policy.settings.log.file {
      Messages.warn("changes of `listen` and `log.file` take effect at the next start")
    }
    if new.settings.dns.networks != policy.settings.dns.networks
      || new.settings.limits.syntheticNames != policy.settings.limits.syntheticNames
    {
      Messages.warn("changes of `dns.networks` and `limits.synthetic_names` take effect at the next start")
    }
    shared.syntheticNames.note(ttlSeconds: new.settings.dns.ttlSeconds)
    policy = new
    inForce = newInForce
    readHosts()
    shared.credentials.take(policy, hosts: hosts, gate: gateAddresses())
    recordPolicy()
    tellAll(.policy(inForce, gateAddresses(), hosts))
    Messages.say("policy \(policy.hash) is in force")
  }

  private func prepare(_ new: Policy) -> PolicyInForce? {
    do throws(ServerError) { return try InspectionSetup.prepare(new, options, keeping: inForce.intercept) } catch {
      Messages.warn("\(error)")
      return nil
    }
  }

  /// Before this process gives up starting programs, and before it has threads.
  package func keepPrograms() throws(ServerError) {
    do throws(SystemError) { try shared.credentials.keepPrograms(policy) } catch { throw .cannotStart(error) }
  }

  package func lookAround() {
    if shared.log.isUnwritable || shared.log.pendingBytes > 0 { retryLog() }
    readHosts()
    let gate = gateAddresses()
    shared.credentials.lookAround(hosts: hosts, gate: gate)
    tellAll(.surroundings(gate, hosts))
  }

  private func retryLog() {
    let error = shared.log.retry()
    if let error, !saidUnwritable {
      Messages.warn("the log cannot be written: \(error); new tunnels are refused until it can")
    }
    if error == nil && saidUnwritable { Messages.say("the log is written again") }
    saidUnwritable = error != nil
  }

  private func readHosts() {
    let stamp = FileStamp(path: Self.hostsPath)
    if stamp == hostsFile { return }
    hostsFile = stamp
    guard let bytes = FileBytes.read(Self.hostsPath, bytesMax: Self.hostsBytesMax) else {
      if stamp != nil { Messages.warn("\(Self.hostsPath) cannot be read any more; \(Self.replaced)") }
      return
    }
    hosts = HostsTable.parse(bytes)
  }

  private func tellAll(_ message: WorkerMessage) {
    for mailbox in shared.mailboxes { mailbox.post(message) }
  }

  // MARK: - End

  /// What stands may finish up to `timeouts.drain`; a second signal ends that wait.
  private func drain(_ signals: Signals) {
    let dueMs = Clock.monotonicMs() + policy.settings.timeouts.drainMs
    Messages.say("draining \(shared.liveConnections) connections")
    tellAll(.drain)
    while running.count > 0 && Clock.monotonicMs() < dueMs {
      if signals.wait(timeoutMs: 20) == .terminate { break }
    }
    tellAll(.stop)
    var rounds = 0
    while running.count > 0 && rounds < 500 {
      _ = signals.wait(timeoutMs: 10)
      rounds += 1
    }
  }
}

/// How many worker threads are still at work.
final class RunningWorkers: Sendable {
  private let live = Atomic<Int>(0)

  var count: Int { live.load(ordering: .acquiring) }
  func entered() { live.wrappingAdd(1, ordering: .relaxed) }
  func left() { live.wrappingSubtract(1, ordering: .releasing) }
  /// A gate with a worker missing would answer a part of its clients only.
  func failed() { Machine.exit(status: 2) }
}
