// `sluice run`: a command in a sandbox whose only way out is the gate, which is a part of this process.
// It relies on Sandbox for the walls and on Gate.Server for the way out; here are the options, and the order of both.
import ArgumentParser
import Gate
import Intercept
import Kernel
import Policy
import Sandbox

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run a command in a sandbox whose only way out is the gate.",
    discussion: """
      The command sees the workspace (read-write), a read-only system, an empty home,
      an empty /tmp, and a network in which every address is the gate. Needs neither
      root nor a daemon. Without --policy everything is denied.

        sluice run --policy agent.yaml -- bash

      Exit status: the command's, or 128 plus its signal; 127 the command does not
      exist; 126 it is not executable; 125 the sandbox could not be made; 64 the
      options are wrong.
      """)

  @Option(help: ArgumentHelp("The policy file (YAML).", valueName: "file"), completion: .policy) var policy: String?
  @Option(
    help: ArgumentHelp(
      "A profile to include before --policy; `sluice profile list` prints the names. May repeat.",
      valueName: "name"), completion: .profiles)
  var profile: [String] = []
  @Option(
    help: ArgumentHelp(
      "The folder that the command may write to; same path inside. Default: the policy's, else the current folder.",
      valueName: "dir"), completion: .directory)
  var workspace: String?
  @Option(
    name: .customLong("workspace-mode"),
    help: ArgumentHelp(
      "The workspace inside: rw, ro, or copy (changes are shown at the end, and applied after you confirm).",
      valueName: "mode"))
  var workspaceMode: WorkspaceMode?
  @Option(
    help: ArgumentHelp(
      "With --workspace-mode copy: apply the changes at the end: ask, always or never.", valueName: "when"))
  var apply = ApplyMode.ask
  @Option(
    help: ArgumentHelp(
      "Use the running gate with this admin socket: its rules and its log apply; "
        + "--policy then only sets files and process limits.",
      valueName: "socket"), completion: .file())
  var gate: String?
  @Option(help: "The sandbox's name: its client in the log, and its entry of `clients` where the policy has one.")
  var name = "sandbox"
  @Option(
    name: .customLong("read-only"),
    help: ArgumentHelp("Another folder or file that the command may read. May repeat.", valueName: "path"),
    completion: .file())
  var readOnly: [String] = []
  @Option(
    name: .customLong("read-write"),
    help: ArgumentHelp("Another folder or file that the command may write. May repeat.", valueName: "path"),
    completion: .file())
  var readWrite: [String] = []
  @Option(
    help: ArgumentHelp(
      "Another folder or file, at another path inside; :ro makes it read-only. May repeat.",
      valueName: "src:dst[:ro]"), completion: .file())
  var bind: [BindOption] = []
  @Option(
    help: ArgumentHelp(
      "The path of the home inside, or `caller` for the path of yours. Default: the policy's, else /home/agent.",
      valueName: "path"), completion: .directory)
  var home: String?
  @Option(
    help: ArgumentHelp(
      "An environment variable to pass in, or to set with =value. May repeat.", valueName: "name[=value]"),
    completion: .shellCommand("env | sed 's/=.*//'"))
  var env: [String] = []
  @Option(
    help: ArgumentHelp(
      "The user of the command, by number or name; for root only. Default: the workspace's owner, else an unused user.",
      valueName: "uid"), completion: .users)
  var user: String?
  @Option(
    help: ArgumentHelp(
      "Publish a port of the sandbox on the host's loopback, at the same or another number. May repeat.",
      valueName: "[host:]port[:port]"))
  var publish: [PublishedPort] = []
  @Option(
    help: ArgumentHelp(
      "Allow a system call that is blocked by default: ptrace (debuggers) or userns (sandboxes inside). May repeat.",
      valueName: "what"))
  var allow: [Allowance] = []
  @Option(
    help: ArgumentHelp(
      "The file of the gate's log; - is standard error. "
        + "Default: `log.file` of the policy, else a file below ~/.local/state/sluice.",
      valueName: "file"), completion: .file())
  var log: String?
  @Option(
    help: ArgumentHelp(
      "How to enforce process_limits: cgroup, or best-effort (rlimits, with a warning). Default: cgroup, if available.",
      valueName: "how"))
  var limits: LimitsMode?
  @Option(
    name: .customLong("gate-name"), help: "The gate's name in each log line.")
  var gateName: GateName = .ofHost
  @Option(
    help: ArgumentHelp(
      "A protected path of the workspace that the command may write, such as .vscode. May repeat.",
      valueName: "path"), completion: .file())
  var unprotect: [String] = []
  @Option(
    help: ArgumentHelp(
      "For new files in the workspace that programs outside would obey: report, or quarantine (move them).",
      valueName: "how"))
  var after = AfterMode.report
  @Flag(help: "Reload the policy when its file changes.") var watch = false
  @Flag(help: "Print only errors, and files left in the workspace that programs outside would obey.") var quiet = false
  @Flag(
    name: .customLong("fail-on-refusal"),
    help: "Exit with status 124 when the command ended with 0 but the gate refused something. For CI.")
  var failOnRefusal = false
  @Flag(name: .customLong("no-probe"), help: "Start the command without testing the sandbox first.") var noProbe = false
  @Flag(
    name: .customLong("no-self-sandbox"),
    help: "Do not confine the gate process, which runs outside the sandbox. For debuggers.")
  var noSelfSandbox = false
  @Flag(name: .customLong("print-plan"), help: "Print the steps that would be taken, and exit.") var printPlan = false
  @Argument(parsing: .postTerminator, help: "The command and its arguments, after --.", completion: .file())
  var command: [String] = []

  private static let refusedStatus: Int32 = 124

  enum AfterMode: String, CaseIterable, ExpressibleByArgument { case report, quarantine }
  enum LimitsMode: String, CaseIterable, ExpressibleByArgument { case cgroup, bestEffort = "best-effort" }

  func validate() throws {
    if failOnRefusal && (gate != nil || log == "-") {
      throw ValidationError("--fail-on-refusal reads the log of this gate; leave --gate and --log - away.")
    }
    if gate != nil && !publish.isEmpty {
      throw ValidationError("--publish is logged by the gate of `sluice run`; leave --gate away.")
    }
    if watch && (gate != nil || policy == nil) {
      throw ValidationError("--watch reads --policy again; of a running gate `sluice reload` does.")
    }
    if gate != nil && log != nil { throw ValidationError("With --gate the log is the gate's; leave --log away.") }
    if let home, home != "caller", let problem = HomePlace.problem(home) {
      throw ValidationError("--home \(home): \(problem)")
    }
    if let problem = ProfileCommand.problem(profile) { throw ValidationError(problem) }
    if command.isEmpty { throw ValidationError("No command. Write it behind --: sluice run -- bash") }
    if !Client.mayBeCalled(name) {
      throw ValidationError("--name is made of letters, digits, '-', '_' and '.', at most 64, and not `default`.")
    }
    if command.contains(where: { $0.utf8.contains(0) }) || command[0].isEmpty {
      throw ValidationError("A command is not empty.")
    }
    for entry in env {
      let name = String(entry.prefix { $0 != "=" })
      let isSet = entry.contains("=")
      if let problem = isSet ? SandboxVariable.problem(setting: name) : SandboxVariable.problem(passing: name) {
        throw ValidationError("--env takes NAME or NAME=VALUE; \(problem).")
      }
    }
  }

  func run() throws {
    StandardFiles.fill()
    if quiet { Messages.quieten() }
    defer { Supervisor.restoreTerminal() }
    var aftermath: Aftermath?
    // The sandbox is gone by then, or was never made.
    defer { aftermath?.finish() }
    do {
      var status = try start(&aftermath)
      if aftermath?.finish() == 1, status == 0 {
        Messages.say("the gate refused something (--fail-on-refusal): sluice log --client \(name)")
        status = Self.refusedStatus
      }
      if status != 0 { throw ExitCode(status) }
    } catch let failure as LaunchFailure {
      Supervisor.restoreTerminal()
      Messages.say("\(failure)")
      throw ExitCode(failure.status)
    } catch let error as ServerError {
      Messages.say("\(error)")
      throw ExitCode(125)
    }
  }

  private func start(_ aftermath: inout Aftermath?) throws -> Int32 {
    let source = FilePolicySource(path: policy, profiles: profile, sandbox: name)
    let link = try gate.map { path throws(LaunchFailure) in try GateLink(path, sandbox: name) }
    let isWithout = link != nil && policy == nil && profile.isEmpty
    guard let loaded = isWithout ? Policy.denyAll : source.load(replacing: nil, told) else {
      throw ServerError.noPolicy
    }
    if link == nil, loaded.settings.stateFolder != nil { Messages.warn(Self.keepsNoState) }
    let trust = try GateTrust(loaded, isOwn: link == nil)
    let wish = SandboxRequest(self, loaded, trust: trust.bundle, gateRules: link?.network)
    var supervisor = try Supervisor()
    let published = try PublishedPorts(printPlan ? [] : publish)
    let canaries = noProbe ? nil : try HostProbeListeners()
    let paths = try SandboxPaths(self, loaded.settings.files)
    try StandardFiles.check()
    let user = try wish.user(paths)
    let kept = try wish.runFolder(paths, user)
    let plan = try wish.plan(paths, user, kept, terminal: supervisor.terminal, canaries: canaries?.probes ?? [])
    if printPlan {
      print(plan.text, terminator: "")
      return 0
    }
    for path in [gate, loaded.settings.listen.admin] { try plan.checkHidden(adminSocket: path) }
    try link?.check(plan)
    let logFile = link == nil ? try LogFile.path(log, policy: loaded, name: name) : nil
    if let logFile { try wish.checkLog(logFile, plan) }
    try wish.checkGuarded(plan, log: logFile)
    let desk = RunDesk(
      name: name, command: command, gate: gate, loaded, workspace: paths.workspace, log: logFile)
    ResourceLimits.raiseOpenFiles()
    if plan.user.isOther { try SandboxUser.dropGroups() }
    aftermath = try Leftovers(paths, self, kept, log: logFile, record: desk.id).follow(plan)
    // The clone comes before the gate's threads: what follows it in the child is C alone, and finds no lock held.
    let sandbox = try Launched.start(plan) { why in
      wish.warnOfPorts(why)
      return plan.withoutRedirection
    }
    aftermath?.follow(sandbox)
    let sockets = try sandbox.takeListeners().map { BoundSocket($0.spec, raw: $0.raw, sandbox: name) }
    supervisor.join(try sandbox.takeTerminal())
    let attached = try link?.attach(sockets, isProbing: plan.hasProbes)
    var server: Server?
    if attached == nil {
      var options = ServeOptions(
        workers: 1, listen: [.connect: [], .transparent: [], .dns: []], logFile: logFile, adminPath: desk.socket,
        servesAdmin: desk.socket != nil, explainsDenials: trust.explainsDenials, gateName: gateName)
      options.watchesPolicy = watch
      let asksPeople = loaded.settings.approvals != nil && !quiet
      options.desktopNotice = asksPeople ? DesktopNotice.command(sandbox: name) : nil
      server = try Server(LoadedPolicySource(first: loaded, source: source), options)
    }
    let door = try desk.open(server)
    // A rule that is approved for good is read with the rest of the policy.
    let reread = watch || desk.socket != nil ? source.filesRead : []
    try confine(plan, loaded, server, read: loaded.filesReadLater + reread, isAsked: door != nil || desk.socket != nil)
    try server?.start(adopting: sockets)
    try awaitReady(sandbox, checks: plan.hasProbes, server, attached)
    if let reached = canaries?.reached().first {
      throw LaunchFailure("BROKEN, the command was not started: \(reached)")
    }
    try sandbox.start()
    published.hand(to: sandbox)
    return try serve(sandbox, &supervisor, server, attached, door)
  }

  /// Two runs of one policy at a time would write the same file.
  private static let keepsNoState =
    "`state` is for `sluice serve`: this gate keeps no levels, and its limits begin full; "
    + "for limits that last longer than a run, use `shared_limits`, or join a gate with --gate"

  private func confine(
    _ plan: SandboxPlan, _ policy: Policy, _ server: Server?, read: [String], isAsked: Bool
  ) throws(ServerError) {
    guard !noSelfSandbox else { return SelfConfinement.sayOff() }
    try server?.keepPrograms()
    try SelfConfinement.supervising(
      cgroup: plan.cgroup, read: read, replaced: policy.credentials.flatMap(\.writtenFiles), isAsked: isAsked,
      usesLocalSockets: policy.hasLocalStore
    ).enterOrFail()
  }

  /// Until the command has ended, and all that it started.
  private func serve(
    _ sandbox: consuming Launched, _ supervisor: inout Supervisor, _ server: Server?, _ attached: AttachedGate?,
    _ door: SandboxDoor?
  ) throws -> Int32 {
    let (status, isGateLost) = try supervise(&supervisor, sandbox, server, attached, door)
    let reachedLimits = sandbox.end()
    supervisor.takeTerminalBack()
    for reached in reachedLimits {
      Messages.warn(reached.text)
      server?.recordLimit(reached.limit, client: name)
    }
    if !isGateLost { attached?.detach() }
    _ = server?.finish(graceMs: Self.graceMs)
    return status
  }

  /// With --quiet no warning, and each error.
  private func told(_ text: String) {
    if !quiet || !text.hasPrefix("warning:") { Messages.say(text) }
  }

  /// Until the command has ended. The lifeline is that of a running gate, or what this process's own gate has to do.
  private func supervise(
    _ supervisor: inout Supervisor, _ sandbox: borrowing Launched, _ server: Server?, _ attached: AttachedGate?,
    _ door: SandboxDoor?
  ) throws -> (status: Int32, isGateLost: Bool) {
    var isGateLost = false
    let status = try supervisor.run(
      sandbox, periodMs: Server.roundMs, lifeline: attached?.lifeline ?? server?.deskFD ?? -1, door: door?.fd ?? -1,
      isLost: {
        if let server {
          server.turnDesk()
          return false
        }
        isGateLost = true
        Messages.warn(
          "the gate at \(gate ?? "") has ended, and the sandbox has no network without it: ending the command")
        return true
      },
      knocked: { door?.answer($0) },
      published: { connection in
        let counts = PublishedCounts(
          up: connection.bytesUp, down: connection.bytesDown, durationMs: connection.durationMs)
        server?.recordPublished(connection.port, counts, client: name)
      },
      tend: {
        server?.lookAround()
        server?.turnDesk()
      })
    return (status, isGateLost)
  }

  /// The gate knows the sandbox's own check from the command's traffic: its log marks the former.
  private func awaitReady(
    _ sandbox: borrowing Launched, checks: Bool, _ server: Server?, _ attached: AttachedGate?
  ) throws {
    guard checks else { return try sandbox.awaitReady() }
    server?.noteProbing(name, isOver: false)
    try sandbox.probe()
    try sandbox.awaitReady()
    server?.noteProbing(name, isOver: true)
    try attached?.endProbing()
  }

  /// Time for bytes of the command that are still on their way.
  private static let graceMs: UInt64 = 1_000
}

/// The policy was read already, for its ports: the gate begins with that very one.
private struct LoadedPolicySource: PolicySource {
  let first: Policy
  let source: FilePolicySource

  var file: String? { source.file }
  func hasChanged() -> Bool { source.hasChanged() }
  func rule(_ text: String) -> Result<AllowSpec, RuleProblem> { source.rule(text) }

  func load(replacing old: Policy?, _ say: (String) -> Void) -> Policy? {
    old == nil ? first : source.load(replacing: old, say)
  }
}

extension Allowance: ExpressibleByArgument {}

extension BoundSocket {
  init(_ spec: ListenerSpec, raw: CInt, sandbox: String) {
    let door: ListenerKind =
      switch spec.purpose {
      case .proxy: .connect
      case .transparent: .transparent
      case .dns: .dns
      }
    self.init(door: door, transport: spec.isDatagram ? .datagram : .stream, raw: raw, sandbox: sandbox)
  }
}
