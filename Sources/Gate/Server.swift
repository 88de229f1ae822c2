// The gate as a process: it binds the listeners, starts one worker per core, and waits for signals on the main
// thread. The gate can also be a part of a process that hands it its sockets and calls `lookAround`.
// It relies on a PolicySource for the file; a policy that does not load never replaces one that does.
package import Flow
import Intercept
import Kernel
package import Policy
import Synchronization
import Wire

/// A source of policies. A source reports problems of a policy through the callback.
package protocol PolicySource {
  /// The path of the policy file. Nil for a source without a file.
  var file: String? { get }
  func load(replacing old: Policy?, _ say: (String) -> Void) -> Policy?
  /// True if a file that the policy was read from was replaced, or has another modification time or size.
  func hasChanged() -> Bool
  /// Parses one allow rule, in the form of the policy file.
  func rule(_ text: String) -> Result<AllowSpec, RuleProblem>
}

/// The reason why a text is not a valid rule.
package struct RuleProblem: Error {
  package let text: String
  package init(_ text: String) { self.text = text }
}

extension PolicySource {
  package var file: String? { nil }
  package func hasChanged() -> Bool { false }
  package func rule(_ text: String) -> Result<AllowSpec, RuleProblem> {
    .failure(RuleProblem("rules cannot be given here"))
  }
  package func load(replacing old: Policy?) -> Policy? { load(replacing: old, Messages.say) }
}

package final class Server {
  /// Interval at which the main thread checks what causes no event: /etc/hosts, interfaces, an unwritable log.
  package static let roundMs = 2_000
  private static let unwritableRoundMs = 200
  private static let probingMsMax: UInt64 = 1_000
  private static let stopMsMax: UInt64 = 1_000
  /// Changed lines that a reload prints on standard error; `sluice reload` shows more.
  private static let changesShownMax = 20
  private static let hostsPath = "/etc/hosts"
  private static let hostsBytesMax = 4 << 20
  /// The warning for files outside the folders that a self-confined gate can still read.
  static let replaced = "a file that was replaced since the start is read at the next start; what it said before holds"

  let source: any PolicySource
  private let options: ServeOptions
  /// The policy in force, including the clients of the sandboxes now served.
  var policy: Policy
  private var inForce: PolicyInForce
  private(set) var listening: [Listening] = []
  let shared: Shared
  /// Nil if limits are not shared with other gates.
  let limits: LimitsDesk?
  let workers: Int
  let startedMs = Clock.monotonicMs()
  let startedWallMs = Clock.wallMs()
  var reloads = ReloadCounts(loadedWallMs: Clock.wallMs())
  /// Nil if /proc is not readable, or if the gate is a part of another process.
  private(set) var figures: ProcessFigures?
  /// The folder that relative paths of the options and the policy refer to.
  let startFolder = Machine.currentFolder()
  /// The main thread's event loop. Nil if another process owns the main thread.
  private(set) var main: MainLoop?
  private(set) var admin: AdminListener?
  private(set) var metricsDesk: MetricsListener?
  private(set) var isDraining = false
  private let running = RunningWorkers()
  private var hostsFile: FileStamp?
  private(set) var hosts = HostsTable.empty
  var saidOfLog = SharedAppendFile.Condition.fine
  private var notices: ServiceNotices?
  /// Sandbox names of a gate that is a part of `sluice run`.
  private var ownSandboxes: Set<String> = []
  /// Names of the sandboxes served now.
  var sandboxes: Set<String> { ownSandboxes.union(admin?.sandboxNames ?? []) }
  /// Called for each change of a request that waits for a person's approval.
  package var onApproval: ((ApprovalEvent) -> Void)?
  let notifiers: ApprovalNotifiers
  /// Nil if no state is kept across restarts.
  var state: StateKeeper?
  var stateDueMs: UInt64 = 0

  package init(_ source: any PolicySource, _ options: ServeOptions) throws(ServerError) {
    guard let policy = source.load(replacing: nil) else { throw .noPolicy }
    self.source = source
    self.options = options
    self.policy = policy
    inForce = try InspectionSetup.prepare(policy, options, keeping: nil)
    do throws(LimitsProblem) { limits = try LimitsDesk(policy) } catch { throw .cannotShareLimits("\(error)") }
    workers = options.workers ?? Machine.cores()
    let logFile = options.logFile ?? policy.settings.log.file
    do {
      let sequence = AuditSequence()
      let reports = try Mailbox<WorkerReport>()
      let log = try AuditLog.open(
        logFile, bytesMax: policy.settings.log.bufferBytes, sequence: sequence, gate: options.gateName)
      var mailboxes: [Mailbox<WorkerMessage>] = []
      for _ in 0..<workers { mailboxes.append(try Mailbox()) }
      shared = Shared(
        log: log, sequence: sequence, gate: options.gateName, mailboxes: mailboxes, reports: reports,
        passwords: try PasswordVerifier(),
        syntheticNames: SyntheticNames(policy.settings, listen: options.listen), credentials: GateCredentials(policy),
        approvals: Approvals(
          Self.registrySettings(policy.settings, adminPath: options.adminPath(policy)),
          reports: reports))
    } catch {
      throw .cannotOpenLog(logFile ?? "standard output", error)
    }
    notifiers = ApprovalNotifiers(
      shared.credentials, gate: options.gateName.text, desktop: options.desktopNotice)
  }

  /// The admin socket's path, from the options or else the policy. Nil without an admin socket.
  package var adminPath: String? { options.adminPath(policy) }

  /// The log file, from the options or else the policy. Nil for standard output.
  package var logFile: String? { options.logFile ?? policy.settings.log.file }

  /// Serves until a signal ends the gate. Returns the exit status: 0, or 1 if log lines could not all be written.
  /// `whenBound` is called after the listeners are bound and before any thread starts.
  package func run(whenBound: () throws(ServerError) -> Void) throws(ServerError) -> Int32 {
    let main: MainLoop
    do throws(SystemError) { main = try MainLoop(shared) } catch { throw .cannotStart(error) }
    self.main = main
    main.onApproval = { [unowned self] in noteApproval($0) }
    ResourceLimits.raiseOpenFiles()
    openNotices()
    let handed = try HandedListeners(
      options.handed, listen: { options.listen[$0] ?? policy.settings.listen[$0] }, adminPath: adminPath)
    let sockets = try bindListeners(handed)
    // Metrics omit these figures if /proc is missing.
    figures = try? ProcessFigures()
    if let path = adminPath { admin = try AdminListener(self, at: path, handed: handed.admin?.raw, main) }
    if let address = options.metrics ?? policy.settings.listen.metrics {
      metricsDesk = try MetricsListener(metricsGate, at: address, main.loop)
    }
    defer {
      admin?.close()
      metricsDesk?.close()
      main.loop.end()
    }
    try openState()
    try whenBound()
    try start(sockets)
    announce()
    serve(main)
    drain(main)
    finishState()
    return finishLog() ? 0 : 1
  }

  /// Opens the admin socket of a gate that is a part of another process.
  func serveDesk(_ main: MainLoop, at path: String?) throws(ServerError) {
    self.main = main
    if let path { admin = try AdminListener(self, at: path, handed: nil, main) }
  }

  private func serve(_ main: MainLoop) {
    var dueMs = Clock.monotonicMs() + UInt64(Self.roundMs)
    while !isDraining {
      let nowMs = Clock.monotonicMs()
      if nowMs >= dueMs {
        lookAround()
        dueMs = nowMs + UInt64(shared.log.isUnwritable ? Self.unwritableRoundMs : Self.roundMs)
      }
      switch main.wait(msMax: dueMs - min(nowMs, dueMs)) {
      case .reload: reload { _ in }
      case .terminate: beginDrain()
      case nil: break
      }
    }
  }

  /// Starts a drain, as SIGTERM does.
  func beginDrain() { isDraining = true }

  /// Serves sockets that were made in a sandbox. One worker serves all of them: one sandbox rarely needs more than
  /// one loop, and no other worker is woken in vain. The caller keeps its thread: it calls `lookAround` every
  /// `roundMs` and `finish` at the end.
  package func start(adopting sockets: [BoundSocket]) throws(ServerError) {
    precondition(workers == 1, "adopted sockets are served by one worker")
    ownSandboxes = Set(sockets.compactMap(\.sandbox))
    try start([sockets])
  }

  /// Called before and after a sandbox checks itself, so that the log marks the lines of the check. Waits up to
  /// `probingMsMax` until the worker has the message.
  package func noteProbing(_ sandbox: String, isOver: Bool) {
    let count = shared.probingTakenCount
    tellAll(.probing(sandbox: sandbox, isOver: isOver, token: 0))
    let dueMs = Clock.monotonicMs() &+ Self.probingMsMax
    Clock.wait(until: dueMs) { shared.probingTakenCount != count }
  }

  /// Open connections may finish within `graceMs`. Returns false if log lines are lost.
  package func finish(graceMs: UInt64) -> Bool {
    let dueMs = Clock.monotonicMs() + graceMs
    tellAll(.drain)
    Clock.wait(until: dueMs) {
      turnDesk()
      return running.count == 0
    }
    tellAll(.stop)
    Clock.wait(until: Clock.monotonicMs() + Self.stopMsMax) { running.count == 0 }
    turnDesk()
    limits?.leave()
    admin?.close()
    return finishLog()
  }

  // MARK: - Start

  /// Opens one socket per worker and address (SO_REUSEPORT), so that the kernel spreads connections over the workers.
  /// Sockets handed in by the service manager are used instead of new ones.
  private func bindListeners(_ handed: HandedListeners) throws(ServerError) -> [[BoundSocket]] {
    var sockets = [[BoundSocket]](repeating: [], count: workers)
    for door in ListenerKind.allCases {
      for address in options.listen[door] ?? policy.settings.listen[door] {
        let speaksTLS = options.listen[door] == nil && door == .connect && inForce.listeners[address] != nil
        do throws(SystemError) {
          let (mine, bound) = try bind(door, address, handed)
          for worker in 0..<workers {
            for var socket in mine[worker] {
              if speaksTLS { socket.identity = address }
              socket.sandbox = options.clientName
              sockets[worker].append(socket)
            }
          }
          listening.append(Listening(door: door, address: bound, speaksTLS: speaksTLS))
        } catch {
          throw .cannotListen(door, address, error)
        }
      }
    }
    return sockets
  }

  private func bind(
    _ door: ListenerKind, _ address: ListenAddress, _ handed: HandedListeners
  ) throws(SystemError) -> ([[BoundSocket]], SocketAddress) {
    var bound = SocketAddress(address.address, port: address.port)
    if let sockets = try handed.sockets(door, address, workers: workers) { return (sockets, bound) }
    var sockets: [[BoundSocket]] = []
    for _ in 0..<workers { sockets.append(try BoundSocket.open(door, &bound, reusePort: workers > 1)) }
    return (sockets, bound)
  }

  private func openNotices() {
    do throws(SystemError) { notices = try ServiceNotices.open() } catch {
      Messages.warn("the service manager cannot be told how things stand: \(error)")
    }
  }

  private func tellManager(_ text: String) {
    notices?.tell(text)
  }

  private func start(_ sockets: [[BoundSocket]]) throws(ServerError) {
    readHosts()
    shared.credentials.take(policy, hosts: hosts, gate: gateAddresses())
    notifiers.take(policy)
    recordPolicy()
    sayOfApprovals()
    do { try startThreads(sockets) } catch { throw .cannotStart(error) }
  }

  private func startThreads(_ sockets: [[BoundSocket]]) throws(SystemError) {
    let shared = shared
    let running = running
    try Threads.start(name: "log") { shared.log.run() }
    let around = LimitsSurroundings(log: shared.log, sequence: shared.sequence, gate: shared.gate) {
      for mailbox in shared.mailboxes { mailbox.post(.tokens) }
    }
    try state?.start()
    try limits?.start(around, self.policy, self.hosts)
    let (inForce, gate, hosts) = (inForce, gateAddresses(), hosts)
    try Threads.start(name: "passwords") {
      shared.passwords.run { verified in shared.mailboxes[verified.question.worker].post(.verified(verified)) }
    }
    for index in 0..<workers {
      running.entered()
      let listening = sockets[index]
      try Threads.start(name: "worker-\(index)") {
        do throws(SystemError) {
          let worker = try Worker(
            index: index, shared: shared, adopting: listening, policy: inForce, gate: gate, hosts: hosts)
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
    var places = listening.map { "\($0.address) (\($0.door)\($0.speaksTLS ? " over TLS" : ""))" }.joined(
      separator: ", ")
    if let path = admin?.path { places += "\(places.isEmpty ? "" : ", ")\(path) (admin)" }
    if let address = metricsDesk?.address { places += "\(places.isEmpty ? "" : ", ")\(address) (metrics)" }
    let from = "policy \(policy.hash)"
    Messages.say("listening on \(places), \(workers) worker\(workers == 1 ? "" : "s"), \(from)")
    tellManager("READY=1\nSTATUS=\(from) is in force")
  }

  private func gateAddresses() -> GateAddresses {
    let addresses = listening.map(\.address) + (metricsDesk.map { [$0.address] } ?? [])
    return GateAddresses(
      listeners: addresses.map { ($0.ip, $0.port) }, interfaces: InterfaceAddresses.list().map(\.ip))
  }

  // MARK: - While it serves

  /// Called at SIGHUP and `sluice reload`. Reopens the log, which may have been renamed, and reads the policy again.
  func reload(_ finish: @escaping (Reloaded) -> Void) {
    var messages: [String] = []
    func say(_ text: String) {
      messages.append(text)
      Messages.say(text)
    }
    // A gate inside another process can no longer create files.
    if main?.takesSignals == true { reopenLog(say) }
    guard let read = source.load(replacing: policy, say) else {
      return finish(keptPolicy(messages))
    }
    let served = read.serving(sandboxes: admin?.sandboxNames ?? [], inheriting: policy)
    let new = served.approving(approvedRules(under: served), inheriting: policy)
    guard let newInForce = prepare(new, say) else {
      return finish(keptPolicy(messages))
    }
    for word in Self.takenUpLater(policy.settings, new.settings) {
      say("warning: changes of \(word) take effect at the next start")
    }
    shared.log.setBytesMax(new.settings.log.bufferBytes)
    shared.syntheticNames.note(ttlSeconds: new.settings.dns.ttlSeconds)
    let change = ReloadSummary(from: policy, to: new)
    policy = new
    reloads.note(isApplied: true, wallMs: Clock.wallMs())
    inForce = newInForce
    readHosts()
    shared.credentials.take(policy, hosts: hosts, gate: gateAddresses())
    notifiers.take(policy)
    limits?.replace(policy, hosts)
    recordPolicy()
    var result = Reloaded(policy: new, change: change, messages: messages)
    // Reported only when every loop has the policy: a caller may rely on the message.
    survey { answers in
      result.silent = answers.silent
      if let silence = result.silence { Messages.warn(silence) } else { Messages.say("policy \(new.hash) is in force") }
      self.tellManager("STATUS=policy \(new.hash) is in force")
      for line in change.lines.prefix(Self.changesShownMax) { Messages.say("  \(line)") }
      for case .replaced(let cut) in answers.bodies { result.cut += cut }
      if result.cut > 0 { Messages.say("tunnels that policy \(new.hash) refuses: \(result.cut) were cut") }
      finish(result)
    } asking: { [hosts] token in
      .policy(newInForce, gateAddresses(), hosts, token: token)
    }
  }

  /// Puts the same policy with other approved rules in force. Returns false if that fails; `say` gets the reason.
  /// `finish` is called when every loop has the new policy.
  func replacePolicy(
    _ new: Policy, say: (String) -> Void, _ finish: @escaping (Survey.Answers) -> Void
  ) -> Bool {
    guard let newInForce = prepare(new, say) else { return false }
    (policy, inForce) = (new, newInForce)
    limits?.replace(policy, hosts)
    survey(finish) { [hosts] token in .policy(newInForce, gateAddresses(), hosts, token: token) }
    return true
  }

  private func keptPolicy(_ messages: [String]) -> Reloaded {
    Messages.warn("the policy was not replaced; \(policy.hash) stays in force")
    reloads.note(isApplied: false, wallMs: Clock.wallMs())
    return Reloaded(policy: policy, messages: messages)
  }

  private static func takenUpLater(_ old: Settings, _ new: Settings) -> [String] {
    var words: [String] = []
    if new.listen.places != old.listen.places || new.log.file != old.log.file {
      words.append("`listen` and `log.file`")
    }
    if new.shared != old.shared || new.stateFolder != old.stateFolder {
      words.append("`shared_limits` and `state`")
    }
    if new.dns.networks != old.dns.networks || new.limits.syntheticNames != old.limits.syntheticNames {
      words.append("`dns.networks` and `limits.synthetic_names`")
    }
    return words
  }

  private func prepare(_ new: Policy, _ say: (String) -> Void) -> PolicyInForce? {
    do throws(ServerError) { return try InspectionSetup.prepare(new, options, keeping: inForce) } catch {
      say("\(error)")
      if inForce.intercept == nil {
        say("a gate that has confined itself cannot get what its first inspected rule needs: restart it")
      }
      return nil
    }
  }

  /// Call before this process gives up starting programs, and before it starts threads.
  package func keepPrograms() throws(ServerError) {
    do throws(SystemError) {
      try shared.credentials.keepPrograms(policy)
      try notifiers.keepPrograms(policy)
    } catch {
      throw .cannotStart(error)
    }
  }

  package func lookAround() {
    lookAfterLog()
    lookAfterApprovals()
    readHosts()
    if options.watchesPolicy, !isDraining, source.hasChanged() { reload { _ in } }
    let gate = gateAddresses()
    shared.credentials.lookAround(hosts: hosts, gate: gate)
    tellAll(.surroundings(gate, hosts))
    limits?.replace(hosts)
    saveState()
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

  /// Open connections may finish within `timeouts.drain`; a second signal ends the wait.
  private func drain(_ main: MainLoop) {
    let dueMs = Clock.monotonicMs() + policy.settings.timeouts.drainMs
    Messages.say("draining \(shared.liveConnections) connections")
    tellManager("STOPPING=1\nSTATUS=draining")
    tellAll(.drain)
    while running.count > 0 && Clock.monotonicMs() < dueMs {
      if main.wait(msMax: 20) == .terminate { break }
    }
    tellAll(.stop)
    var rounds = 0
    while running.count > 0 && rounds < 500 {
      _ = main.wait(msMax: 10)
      rounds += 1
    }
    // A worker's last counts may arrive after the last turn above: read the mailbox once more.
    _ = main.wait(msMax: 0)
    limits?.leave()
  }
}

/// The number of running worker threads.
final class RunningWorkers: Sendable {
  private let live = Atomic<Int>(0)

  var count: Int { live.load(ordering: .acquiring) }
  func entered() { live.wrappingAdd(1, ordering: .relaxed) }
  func left() { live.wrappingSubtract(1, ordering: .releasing) }
  /// Ends the process: without one worker, the gate would leave a part of its clients unanswered.
  func failed() { Machine.exit(status: 2) }
}
