// The gate as a process: it binds the listeners, starts a worker a core, and on the main thread waits for signals; or
// as a part of one that hands it its sockets and looks after it.
// It relies on a PolicySource for the file; a policy that does not load never replaces one that does.
package import Flow
import Intercept
import Kernel
package import Policy
import Synchronization
import Wire

/// Where policies come from; it says what is wrong with one.
package protocol PolicySource {
  /// The file's path, where there is one.
  var file: String? { get }
  func load(replacing old: Policy?, _ say: (String) -> Void) -> Policy?
  /// True if a file that the policy was read from is another one by now, or has another age or size.
  func hasChanged() -> Bool
  /// One allow rule, as it would stand in the file.
  func rule(_ text: String) -> Result<AllowSpec, RuleProblem>
}

/// Why a text is no rule.
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
  /// How often the main thread looks after what has no event: /etc/hosts, interfaces, a log that waits for its disk.
  package static let roundMs = 2_000
  private static let unwritableRoundMs = 200
  private static let probingMsMax: UInt64 = 1_000
  private static let stopMsMax: UInt64 = 1_000
  /// Lines of a reload on standard error; `sluice reload` shows more.
  private static let changesShownMax = 20
  private static let hostsPath = "/etc/hosts"
  private static let hostsBytesMax = 4 << 20
  /// Of files outside of the folders that a gate keeps when it confines itself.
  static let replaced = "a file that was replaced since the start is read at the next start; what it said before holds"

  let source: any PolicySource
  private let options: ServeOptions
  /// With the sandboxes that are served.
  var policy: Policy
  private var inForce: PolicyInForce
  private(set) var listening: [Listening] = []
  let shared: Shared
  /// nil where this gate counts for itself.
  let limits: LimitsDesk?
  let workers: Int
  let startedMs = Clock.monotonicMs()
  let startedWallMs = Clock.wallMs()
  var reloads = ReloadCounts(loadedWallMs: Clock.wallMs())
  /// nil where /proc does not tell, and where nobody asks.
  private(set) var figures: ProcessFigures?
  /// What the paths that it was given are relative to.
  let startFolder = Machine.currentFolder()
  /// What `run` waits in; nil for a gate that somebody else looks after.
  private(set) var main: MainLoop?
  private(set) var admin: AdminListener?
  private(set) var metricsDesk: MetricsListener?
  private(set) var isDraining = false
  private let running = RunningWorkers()
  private var hostsFile: FileStamp?
  private(set) var hosts = HostsTable.empty
  var saidOfLog = SharedAppendFile.Condition.fine
  private var notices: ServiceNotices?
  /// Of a gate that is a part of `sluice run`.
  private var ownSandboxes: Set<String> = []
  /// Names of the sandboxes that are served now.
  var sandboxes: Set<String> { ownSandboxes.union(admin?.sandboxNames ?? []) }
  /// Called with each change of a request that waits for a person.
  package var onApproval: ((ApprovalEvent) -> Void)?
  let notifiers: ApprovalNotifiers
  /// nil where a restart begins anew.
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

  /// Of the options, or of the policy; nil where nobody may ask.
  package var adminPath: String? { options.adminPath(policy) }

  /// Where lines go to: of the options, or of the policy; nil is standard output.
  package var logFile: String? { options.logFile ?? policy.settings.log.file }

  /// Serves until a signal ends it. The exit status: 0, or 1 when log lines could not be written to the end.
  /// `whenBound` is called with the listeners there and no thread started.
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
    // Where /proc is not there, these figures are left out.
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

  /// Of a gate that another process looks after.
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

  /// As SIGTERM does.
  func beginDrain() { isDraining = true }

  /// Serves sockets that were made in a sandbox. One worker has them all: one client is hardly more than a loop can
  /// carry, and no connection wakes a worker that does not get it. The caller's thread is its own; every `roundMs` it
  /// calls `lookAround`, and at the end `finish`.
  package func start(adopting sockets: [BoundSocket]) throws(ServerError) {
    precondition(workers == 1, "adopted sockets are served by one worker")
    ownSandboxes = Set(sockets.compactMap(\.sandbox))
    try start([sockets])
  }

  /// Before and after a sandbox checks itself: its lines of that time are marked. It returns when the worker knows.
  package func noteProbing(_ sandbox: String, isOver: Bool) {
    let count = shared.probingTakenCount
    tellAll(.probing(sandbox: sandbox, isOver: isOver, token: 0))
    let dueMs = Clock.monotonicMs() &+ Self.probingMsMax
    Clock.wait(until: dueMs) { shared.probingTakenCount != count }
  }

  /// What stands may finish within `graceMs`. False when log lines are lost.
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

  /// One socket a worker and address (SO_REUSEPORT), and the kernel spreads the connections; or those that were handed
  /// in.
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

  /// SIGHUP, or `sluice reload`: the log is opened anew (it may have been renamed), and the policy is read again.
  func reload(_ finish: @escaping (Reloaded) -> Void) {
    var messages: [String] = []
    func say(_ text: String) {
      messages.append(text)
      Messages.say(text)
    }
    // A gate that somebody else looks after has given up making files.
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
    // A caller may rely on these words: they are said when each loop has the policy.
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

  /// The same policy with other approved rules. False where it cannot be put in force, which `say` explains.
  /// `finish` is called when each loop has it.
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

  /// Before this process gives up starting programs, and before it has threads.
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

  /// What stands may finish up to `timeouts.drain`; a second signal ends that wait.
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
    // A worker reports its last counts before it is gone, maybe behind the last turn.
    _ = main.wait(msMax: 0)
    limits?.leave()
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
