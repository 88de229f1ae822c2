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
    abstract: "Run a command in a sandbox whose only way out is the gate.",
    discussion: """
      The command sees the workspace (read-write), a read-only system, an empty
      home and /tmp of its own, and a network in which every address is the gate.
      No root, no daemon. Without --policy everything is denied.

        sluice run --policy agent.yaml -- bash

      Exit status: the command's, or 128 and its signal; 125 when it could not be
      started; 64 when the options are wrong.
      """)

  @Option(help: "The policy file (YAML).") var policy: String?
  @Option(
    help: ArgumentHelp(
      "The folder that the command may write to, under the same path inside. Default: the current one.",
      valueName: "dir"))
  var workspace: String?
  @Option(help: "The sandbox's name: its client in the log, and its entry of `clients` where the policy has one.")
  var name = "sandbox"
  @Option(
    name: .customLong("read-only"),
    help: ArgumentHelp("A further folder or file that the command may read. May repeat.", valueName: "path"))
  var readOnly: [String] = []
  @Option(
    name: .customLong("read-write"),
    help: ArgumentHelp("A further folder or file that it may write. May repeat.", valueName: "path"))
  var readWrite: [String] = []
  @Option(
    help: ArgumentHelp(
      "A variable of yours that it may see, or one with a value. May repeat.", valueName: "name[=value]"))
  var env: [String] = []
  @Option(
    help: ArgumentHelp(
      "Who it runs as, by number or name; as root only. Default: the workspace's owner, or else an unused user.",
      valueName: "uid"))
  var user: String?
  @Option(
    help: ArgumentHelp(
      "Where the gate's log goes; - is standard error. Default: `log.file` of the policy, else under ~/.local/state/sluice.",
      valueName: "file"))
  var log: String?
  @Option(
    help:
      "How process_limits are held: `cgroup` (the default), or `best-effort` by rlimits, which says what it does not.")
  var limits = LimitsMode.cgroup
  @Flag(name: .customLong("no-probe"), help: "Start the command without trying the walls first.") var noProbe = false
  @Flag(
    name: .customLong("no-self-sandbox"),
    help: "The gate itself, which is outside of the sandbox, keeps every right of yours: for debuggers.")
  var noSelfSandbox = false
  @Flag(name: .customLong("print-plan"), help: "Print the steps, and do nothing.") var printPlan = false
  @Argument(parsing: .postTerminator, help: "The command and its arguments, behind --.") var command: [String] = []

  enum LimitsMode: String, ExpressibleByArgument { case cgroup, bestEffort = "best-effort" }

  func validate() throws {
    if command.isEmpty { throw ValidationError("No command. Write it behind --: sluice run -- bash") }
    if name.isEmpty || name.utf8.count > 64 || !name.utf8.allSatisfy({ SandboxName.allows($0) }) || name == "default" {
      throw ValidationError("--name is made of letters, digits, '-', '_' and '.', at most 64, and not `default`.")
    }
    if command.contains(where: { $0.utf8.contains(0) }) || command[0].isEmpty {
      throw ValidationError("A command is not empty.")
    }
    for entry in env where entry.isEmpty || entry.hasPrefix("=") {
      throw ValidationError("--env takes NAME or NAME=VALUE; got \(entry).")
    }
  }

  func run() throws {
    do {
      let status = try start()
      if status != 0 { throw ExitCode(status) }
    } catch let failure as LaunchFailure {
      Messages.say("\(failure)")
      throw ExitCode(125)
    } catch let error as ServerError {
      Messages.say("\(error)")
      throw ExitCode(125)
    }
  }

  private func start() throws -> Int32 {
    let source = FilePolicySource(path: policy, sandbox: name)
    guard let loaded = source.load(replacing: nil) else { throw ServerError.noPolicy }
    let trust = try GateTrust(loaded)
    let wish = SandboxWish(self, loaded, trust: trust.bundle)
    var supervisor = try Supervisor()
    let canaries = noProbe ? nil : try Canaries()
    let plan = try wish.plan(isForeground: supervisor.isForeground, canaries: canaries?.probes ?? [])
    if printPlan {
      print(plan.text, terminator: "")
      return 0
    }
    let logFile = try LogFile.path(log, policy: loaded, name: name)
    try wish.checkLog(logFile, plan)
    ResourceLimits.raiseOpenFiles()
    if plan.user.isOther { try SandboxUser.dropGroups() }
    // The clone comes before the gate's threads: what follows it in the child is C alone, and finds no lock held.
    let sandbox = try Launched(plan)
    let sockets = try sandbox.takeListeners().map { BoundSocket($0.spec, raw: $0.raw, sandbox: name) }
    let server = try Server(
      LoadedPolicySource(first: loaded, source: source),
      ServeOptions(
        workers: 1, listen: [.connect: [], .transparent: [], .dns: []], logFile: logFile,
        explainsDenials: trust.bundle != nil))
    if noSelfSandbox {
      SelfConfinement.sayOff()
    } else {
      try server.keepPrograms()
      try SelfConfinement.supervising(cgroup: plan.cgroup, read: loaded.filesReadLater).enterOrFail()
    }
    try server.start(adopting: sockets)
    if plan.hasProbes { try sandbox.probe() }
    try sandbox.awaitReady()
    if let reached = canaries?.reached().first {
      throw LaunchFailure("BROKEN, the command was not started: \(reached)")
    }
    try sandbox.start()
    let status = try supervisor.run(sandbox, periodMs: Server.roundMs) { server.lookAround() }
    supervisor.takeTerminalBack()
    for note in sandbox.end() { Messages.warn(note) }
    _ = server.finish(graceMs: Self.graceMs)
    return status
  }

  /// What the command has sent may still be on its way.
  private static let graceMs: UInt64 = 1_000
}

/// The gate's CA, as the sandbox trusts it: where a rule is inspected, and by default for the refusals of all others.
private struct GateTrust {
  let bundle: TrustBundle?

  init(_ policy: Policy) throws(ServerError) {
    let isNeeded = !policy.inspectedTLS.isEmpty || policy.settings.explainsDenials == true
    guard isNeeded || InspectionSetup.explainsDenials(policy, byDefault: true) else {
      bundle = nil
      return
    }
    do throws(TLSProblem) {
      bundle = TrustBundle(try InspectionSetup.folder(policy).loadOrMake())
    } catch {
      guard !isNeeded else { throw .cannotInspect("\(error)") }
      Messages.warn("refused TLS targets are not told why: \(error)")
      bundle = nil
    }
  }
}

enum SandboxName {
  static func allows(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: true
    default: false
    }
  }
}

/// The policy was read already, for its ports: the gate begins with that very one.
private struct LoadedPolicySource: PolicySource {
  let first: Policy
  let source: FilePolicySource

  func load(replacing old: Policy?) -> Policy? { old == nil ? first : source.load(replacing: old) }
}

extension BoundSocket {
  init(_ spec: ListenerSpec, raw: CInt, sandbox: String) {
    let door: Door =
      switch spec.purpose {
      case .proxy: .connect
      case .transparent: .transparent
      case .dns: .dns
      }
    self.init(door: door, transport: spec.isDatagram ? .datagram : .stream, raw: raw, sandbox: sandbox)
  }
}

enum LogFile {
  /// A file of the caller's own: standard output is the command's.
  static func path(_ option: String?, policy: Policy, name: String) throws(LaunchFailure) -> String {
    if let option { return option == "-" ? "/dev/stderr" : option }
    if let file = policy.settings.log.file { return file }
    var folder = Environment.value("XDG_STATE_HOME") ?? ""
    if !folder.hasPrefix("/") {
      guard let home = Environment.value("HOME"), home.hasPrefix("/") else {
        throw LaunchFailure("no place for the log: HOME is not set; give --log FILE, or `log: {file: …}` in the policy")
      }
      folder = "\(home)/.local/state"
      guard HostFile.makeFolder("\(home)/.local"), HostFile.makeFolder(folder) else {
        throw LaunchFailure("cannot make \(folder) for the log; give --log FILE")
      }
    }
    guard HostFile.makeFolder("\(folder)/sluice") else {
      throw LaunchFailure("cannot make \(folder)/sluice for the log; give --log FILE")
    }
    return "\(folder)/sluice/\(name).jsonl"
  }
}
