// Result of the options of `sluice run` and the policy: who the command is, which paths it sees, what is probed.
// It relies on Sandbox for the plan itself; what cannot be held to is refused here, before anything is started.
import Gate
import Intercept
import Kernel
import Policy
import Redirect
import Sandbox
import Wire

struct SandboxRequest {
  private let options: Run
  private let policy: Policy
  private let trust: TrustBundle?
  /// Rules of a running gate, which then decides instead of the policy.
  private let gateRules: NetworkPolicy?

  /// `trust`: what the command is to trust, where the gate looks into its TLS or explains refusals in it.
  init(_ options: Run, _ policy: Policy, trust: TrustBundle?, gateRules: NetworkPolicy? = nil) {
    (self.options, self.policy, self.trust, self.gateRules) = (options, policy, trust, gateRules)
  }

  func runFolder(_ paths: SandboxPaths, _ user: SandboxUser) throws(LaunchFailure) -> RunFolder {
    guard !options.printPlan else { return RunFolder() }
    if paths.mode == .copy, user.owner != nil {
      throw LaunchFailure(
        "--workspace-mode copy: the workspace \(paths.workspace) is root's, and a copy cannot show its files as "
          + "another user's; chown it to a user, or use rw or ro")
    }
    // Files of root's are not written back by the user that the command runs as.
    let isCopied = paths.mode != .copy && user.owner == nil
    return try RunFolder(
      of: options.name, user: user, configurations: isCopied ? paths.look.configurations(in: paths.writable) : [],
      copying: paths.mode == .copy ? paths.workspace : nil, protected: paths.protected.map(\.path))
  }

  func plan(
    _ paths: SandboxPaths, _ user: SandboxUser, _ kept: RunFolder, terminal: TerminalUse?, canaries: [Probe]
  ) throws(LaunchFailure) -> SandboxPlan {
    let workspace = paths.workspace
    let secrets = SandboxSecrets(credentials: policy.credentials)
    let files = policy.settings.registries.flatMap(\.files)
    let home = try HomePaths(
      policy.settings.files.home, makes: !options.printPlan, at: options.home, folder: paths.home,
      around: .init(writable: paths.writable, readOnly: paths.readOnly, callersHome: paths.caller.home), user: user,
      files: files)
    let tools = ToolFolders(
      ToolFolders.Caller(
        path: Environment.value("PATH") ?? "", home: paths.caller.home, variable: Environment.value,
        mayRead: { HostFile.mayRead($0, as: user) }),
      visible: paths.writable + paths.readOnly, writable: paths.writable + home.store.folders)
    var wanted = SandboxOptions(
      command: options.command, environment: try environment(secrets, home: home, tools), workspace: workspace,
      user: user)
    try share(paths, home, tools, in: &wanted)
    wanted.mapped = mapped(wanted, tools: tools.shown)
    if paths.mode == .readOnly { wanted.workspaceAccess = .readOnly }
    wanted.workspaceChanges = kept.changes?.folder
    if let copies = kept.gitCopies {
      wanted.gitCopies = copies.copies
      wanted.mounts.append(SharedMount(copies.folder, at: GitCopy.folder, .writable))
    }
    wanted.hostName = options.name
    wanted.ports = ports().ports
    wanted.hidden = paths.hidden
    // Where the command could make nothing, nothing needs to be in its way.
    wanted.protected = paths.protected.filter { $0.placeholder == nil || user.mayWrite($0.folder) }
    wanted.gitConfiguration = WorkspaceLook.identity(of: paths.caller)
    // Beside what the user wants to show: settings of programs often share a folder with it.
    wanted.hidden += Self.keys(of: policy).compactMap { HostFile.realPath($0) }.filter { key in
      (paths.writable + paths.readOnly).contains { key.isBelow($0) }
    }
    wanted.temporaryBytes = policy.settings.files.temporaryBytes
    wanted.guide = AgentGuide.text
    wanted.trust = trust.map {
      SandboxTrust(certificate: $0.certificate, bundle: $0.bundle, javaStore: $0.javaStore, hashed: $0.hashed)
    }
    try secrets.checkFiles(
      shown: [workspace] + wanted.readOnly + wanted.readWrite + wanted.mounts.map(\.source) + home.copied)
    try hold(policy.settings.process, in: &wanted)
    wanted.terminal = terminal
    wanted.allows = Allowance.allCases.filter { options.allow.contains($0) }
    if !options.printPlan, !options.quiet {
      for one in wanted.allows { Messages.warn("--allow \(one.rawValue): \(Self.opens(one))") }
    }
    if !options.noProbe { wanted.probes = probes(paths) + canaries }
    return SandboxPlan(wanted, HostFacts.gather())
  }

  private static func opens(_ allowance: Allowance) -> String {
    switch allowance {
    case .ptrace: "processes in the sandbox can read and change each other's memory"
    case .userns:
      "the command can have all capabilities in its own namespaces, which exposes more of the kernel"
    }
  }

  /// Adds the paths that are shown beside the workspace.
  private func share(
    _ paths: SandboxPaths, _ home: HomePaths, _ tools: ToolFolders, in wanted: inout SandboxOptions
  ) throws(LaunchFailure) {
    wanted.readOnly = paths.readOnly + tools.shown
    wanted.readWrite = paths.readWrite
    (wanted.home, wanted.homePath, wanted.seeds, wanted.mounts) = (home.store, home.path, home.seeds, home.mounts)
    wanted.commandHint = options.command.first.flatMap { tools.hint(on: $0) }
    for bind in options.bind {
      let shown =
        (paths.readOnly + tools.shown).map { SharedMount($0, .readOnly) }
        + paths.writable.map { SharedMount($0, .writable) }
        + wanted.mounts
      wanted.mounts.append(try bind.mount(shown, home: home.path, writable: paths.writable))
    }
  }

  /// The policy's, and then the options'.
  private func environment(
    _ secrets: SandboxSecrets, home: HomePaths, _ tools: ToolFolders
  ) throws(LaunchFailure) -> [String] {
    var environment = SandboxEnvironment(trustsGate: trust != nil, home: home.path, path: tools.path)
    for variable in tools.variables { environment.set(variable.name, variable.value) }
    let wanted = policy.settings.environment
    for one in policy.settings.registries.flatMap(\.variables) { environment.set(one.name, one.value) }
    let passed = try secrets.withoutThem(Environment.names(), passing: wanted.pass)
    environment.pass(SandboxEnvironment.passed + passed, Environment.value)
    for variable in wanted.set { environment.set(variable.name, variable.value) }
    for entry in try secrets.environment(options.env) {
      let name = String(entry.prefix { $0 != "=" })
      if entry.contains("=") {
        environment.set(name, String(entry.dropFirst(name.count + 1)))
      } else {
        environment.pass([name], Environment.value)
      }
    }
    return environment.entries
  }

  // MARK: - Limits

  /// By a cgroup all of them; else what rlimits can hold, where the policy asks for no more, and the rest is said.
  private func hold(_ wanted: Settings.Process, in sandbox: inout SandboxOptions) throws(LaunchFailure) {
    sandbox.limits = ProcessLimits(processes: nil, dataBytes: nil)
    var why = "--limits best-effort"
    if options.limits != .bestEffort {
      do throws(LaunchFailure) {
        sandbox.cgroup = try cgroup(wanted, workspace: sandbox.workspace)
        return
      } catch {
        guard options.limits == nil, Self.isHeldByRlimits(wanted) else { throw error }
        why = "no cgroup is available here (`sluice doctor` says why)"
      }
    }
    sandbox.limits = ProcessLimits(processes: wanted.processes, dataBytes: wanted.memoryBytes)
    guard !options.printPlan, !options.quiet else { return }
    var loose: [String] = []
    if wanted.cpu != nil { loose.append("cpu.max") }
    if wanted.memoryBytes != nil {
      loose.append("memory.max for all processes together (each is held to it, but for shared and file-backed memory)")
    }
    if wanted.swapBytes != nil { loose.append("memory.swap.max") }
    if !wanted.io.isEmpty { loose.append("io.max") }
    if !loose.isEmpty { Messages.warn("\(why): not enforced are \(loose.joined(separator: ", "))") }
  }

  /// Limits that the policy itself names and rlimits do not know have to be held.
  private static func isHeldByRlimits(_ wanted: Settings.Process) -> Bool {
    let needsCgroup =
      wanted.stated.contains("cpu.max") && wanted.cpu != nil
      || wanted.stated.contains("memory.swap.max") && wanted.swapBytes != nil || !wanted.io.isEmpty
    return !needsCgroup
  }

  private func cgroup(_ wanted: Settings.Process, workspace: String) throws(LaunchFailure) -> CgroupSpec {
    let settings = try cgroupSettings(wanted, workspace: workspace)
    let all = CgroupSpec(base: "", name: "", settings: settings)
    let base = try base(controllers: all.controllers)
    return CgroupSpec(base: base, name: "sluice-\(options.name)-\(Machine.processID)", settings: settings)
  }

  /// Where none is delegated to this process, the user's own manager is asked for a scope that is.
  private func base(controllers: [String]) throws(LaunchFailure) -> String {
    do throws(LaunchFailure) { return try CgroupSpec.base(controllers: controllers, isRoot: SandboxUser.isRoot) } catch
    {
      let asks = !SandboxUser.isRoot && !options.printPlan
      guard asks, UserScope.enter(label: "sluice run \(options.name)") else { throw error }
      return try CgroupSpec.base(controllers: controllers, isRoot: false)
    }
  }

  private func cgroupSettings(
    _ wanted: Settings.Process, workspace: String
  ) throws(LaunchFailure) -> [CgroupSpec.Setting] {
    var settings: [CgroupSpec.Setting] = []
    if let cpu = wanted.cpu { settings.append(.init("cpu.max", "\(cpu.quotaUs) \(cpu.periodUs)")) }
    if let bytes = wanted.memoryBytes {
      // All of it ends, or none: half an agent is worse than none.
      settings += [.init("memory.max", "\(bytes)"), .init("memory.oom.group", "1")]
    }
    if let bytes = wanted.swapBytes { settings.append(.init("memory.swap.max", "\(bytes)")) }
    if let count = wanted.processes { settings.append(.init("pids.max", "\(count)")) }
    for one in wanted.io {
      guard let device = one.device.map({ "\($0)" }) ?? BlockDevice.holding(workspace).map({ "\($0)" }) else {
        throw LaunchFailure(
          "process_limits: io.max: the workspace \(workspace) is on no disk of this machine (tmpfs, overlay or network); "
            + "name the device: io.max: MAJOR:MINOR \(one.text), with the numbers that lsblk prints")
      }
      settings.append(.init("io.max", "\(device) \(one.text)"))
    }
    return settings
  }

  /// The sandbox must not be able to write its own audit log.
  func checkLog(_ log: String, _ plan: SandboxPlan) throws(LaunchFailure) {
    guard let real = HostFile.realPath(log.folderOfPath) else { return }
    for shown in plan.writable where real.isAtOrBelow(shown) {
      throw LaunchFailure(
        "the command could write the log \(log); name another place with --log FILE")
    }
  }

  /// All that a sandbox may never see, or never change, held to all that it is shown.
  func checkGuarded(_ plan: SandboxPlan, log: String?) throws(LaunchFailure) {
    var files = Self.keys(of: policy).map { GuardedFile($0, "the CA's key", .secret) }
    for one in policy.credentials {
      files += one.secretFiles.map { GuardedFile($0, "the value of credential \(one.name),", .secret) }
    }
    if let file = options.policy { files.append(GuardedFile(file, "the policy", .record)) }
    if let log, log != "/dev/stderr" { files.append(GuardedFile(log, "the log", .record)) }
    for path in [options.gate, policy.settings.listen.admin].compactMap({ $0 }) {
      files.append(GuardedFile(path, "the admin socket", .secret))
    }
    if let folder = SandboxRecord.folder {
      files.append(GuardedFile(folder, "the folder of this user's sandboxes", .secret))
    }
    let shown = ShownFiles(plan)
    for file in files { try shown.check(file) }
  }

  private static func keys(of policy: Policy) -> [String] {
    // Where the CA has no place there is no key.
    guard let folder = try? InspectionSetup.folder(policy) else { return [] }
    return [folder.keyFile]
  }

  // MARK: - Who

  /// Asked once a run: as root the file system is tried, and a warning may be said.
  func user(_ paths: SandboxPaths) throws(LaunchFailure) -> SandboxUser {
    let workspace = paths.workspace
    guard SandboxUser.isRoot else {
      guard options.user == nil else { throw LaunchFailure("--user: only root can run the command as another user") }
      return .caller()
    }
    let user: SandboxUser
    if let name = options.user {
      user = try named(name)
    } else {
      user = .dropped(workspace: workspace)
    }
    if let problem = user.mappingProblem(workspace) { return owner(of: workspace, problem) }
    let mayUse = paths.mode == .readOnly ? HostFile.mayRead(workspace, as: user) : user.mayWrite(workspace)
    if !mayUse {
      throw LaunchFailure(
        "the workspace \(workspace) cannot be written by user \(user.uid), whom the command would run as; "
          + "chown it to that user (any one but root), or give --user or another --workspace")
    }
    return user
  }

  /// Root without a capability, in namespaces of its own: the last resort for a file system that maps no owners.
  private func owner(of workspace: String, _ problem: SystemError) -> SandboxUser {
    if !options.printPlan, !options.quiet {
      Messages.warn(
        "the command runs as root, the owner of the workspace \(workspace), without its capabilities, and its processes are "
          + "counted by a cgroup alone: this file system cannot show the files as another user's (\(problem)); chown the "
          + "workspace to a user, or give --user")
    }
    return SandboxUser(uid: 0, gid: 0, isOther: false)
  }

  /// Of root's sandboxes: the places to write, root's own tools, and what no other user may enter.
  private func mapped(_ wanted: SandboxOptions, tools: [String]) -> Set<String> {
    guard let owner = wanted.user.owner else { return [] }
    return Set(
      wanted.sharedSources { source, access in
        HostFile.owner(source).uid == owner.uid
          && (access == .writable || tools.contains(source)
            || !HostFile.mayRead(source, as: wanted.user.withoutOwner))
      })
  }

  private func named(_ text: String) throws(LaunchFailure) -> SandboxUser {
    let entry = Users.entry(text)
    guard let uid = entry?.uid ?? UInt32(text) else {
      throw LaunchFailure("--user \(text): no such user in /etc/passwd; write the number that `id -u NAME` prints")
    }
    guard uid != 0 else { throw LaunchFailure("--user \(text): the command never runs as root") }
    return SandboxUser(uid: uid, gid: entry?.gid ?? uid, isOther: true)
  }

  // MARK: - Ports

  private var network: NetworkPolicy {
    if let gateRules { return gateRules }
    guard case .client(let client) = policy.identify(source: .v4(0), sandbox: options.name) else {
      return policy.fallback.network
    }
    return client.network
  }

  /// For a kernel that cannot redirect all: those that the policy names, one by one, and whether there are more.
  private func ports() -> (ports: [UInt16], isCut: Bool) {
    var ports: Set<UInt16> = []
    var isCut = false
    for range in network.allow.flatMap(\.ports.ranges).sorted(by: { $0.count < $1.count }) {
      guard ports.count + range.count <= SandboxPlan.portsMax else {
        isCut = true
        continue
      }
      ports.formUnion(range)
    }
    return (Array(ports), isCut)
  }

  /// Ports beyond the bound are reached through the proxy only.
  func warnOfPorts(_ why: LaunchFailure) {
    guard ports().isCut else { return }
    Messages.warn(
      "the policy names more than \(SandboxPlan.portsMax) ports: those of its widest rules have no listener on every address, and "
        + "are reached by programs that use HTTPS_PROXY alone; this kernel cannot redirect all (it takes nf_tables and "
        + "nft_tproxy): \(why)")
  }

  // MARK: - Probes

  static let probeName = "probe.sluice.invalid"

  private func probes(_ paths: SandboxPaths) -> [Probe] {
    var probes: [Probe] = [
      .rawSockets, .datagram("192.0.2.1", port: 9), .stream("192.0.2.1", port: 9), .stream("169.254.169.254", port: 9),
      .reading("/proc/1/root"), .reading("/proc/1/environ"), .reading("/etc/shadow"), .writing("/sluice-probe"),
      .writing("/usr/sluice-probe"), .writing("/etc/passwd"),
    ]
    if HostFile.kind("/proc/sys/net/ipv6") == .folder {
      probes += [.datagram("2001:db8::1", port: 9), .stream("2001:db8::1", port: 9)]
    }
    // A name that the policy lets out by `*` or by default is no refusal to try.
    if let name = try? HostName(Self.probeName), isRefused(name) {
      // Of a CONNECT to port 443 the tunnel stands where refusals are explained inside it.
      probes += [.target("\(Self.probeName):80"), .name(Self.probeName)]
    } else {
      Messages.warn("the policy allows every name, so the refusal of a name is not tested")
    }
    let shown = [paths.workspace] + paths.readOnly + paths.readWrite
    probes += paths.hidden.filter { HostFile.kind($0) == .file }.map { .reading($0) }
    for path in [options.policy, options.log].compactMap({ $0 }).compactMap({ HostFile.realPath($0) }) {
      let isShown =
        shown.contains { path.isAtOrBelow($0) } || path.hasPrefix("/usr/") || path.hasPrefix("/dev/")
      if !isShown { probes.append(.reading(path)) }
    }
    for path in [options.gate, policy.settings.listen.admin].compactMap({ $0 }).compactMap({ HostFile.realPath($0) }) {
      probes.append(.localSocket(path))
    }
    return probes
  }

  private func isRefused(_ name: HostName) -> Bool { network.refuses(name, nowUnix: Clock.wallMs() / 1000) }
}
