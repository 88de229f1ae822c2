// What the options of `sluice run` and the policy come to: who the command is, which paths it sees, what is probed.
// It relies on Sandbox for the plan itself; what cannot be held to is refused here, before anything is started.
import Gate
import Intercept
import Kernel
import Policy
import Redirect
import Sandbox
import Wire

struct SandboxWish {
  private let options: Run
  private let policy: Policy
  private let trust: TrustBundle?

  /// `trust`: what the command is to trust, where the gate looks into its TLS or explains refusals in it.
  init(_ options: Run, _ policy: Policy, trust: TrustBundle?) {
    (self.options, self.policy, self.trust) = (options, policy, trust)
  }

  func plan(isForeground: Bool, canaries: [Probe]) throws(LaunchFailure) -> Plan {
    let workspace = try workspace()
    let user = try user(workspace: workspace)
    let secrets = SandboxSecrets(credentials: policy.credentials)
    var wanted = SandboxOptions(
      command: options.command,
      environment: SandboxEnvironment.make(
        more: try secrets.environment(options.env), trustsGate: trust != nil, value: Environment.value),
      workspace: workspace,
      user: user)
    wanted.hostName = options.name
    wanted.trust = trust.map {
      SandboxTrust(certificate: $0.certificate, bundle: $0.bundle, javaStore: $0.javaStore)
    }
    wanted.ports = ports()
    wanted.readOnly = try options.readOnly.map { path throws(LaunchFailure) in try further(path, "--read-only") }
    wanted.readWrite = try options.readWrite.map { path throws(LaunchFailure) in try further(path, "--read-write") }
    try secrets.checkFiles(shown: [workspace] + wanted.readOnly + wanted.readWrite)
    try hold(policy.settings.process, in: &wanted)
    wanted.protected = try protected(workspace: workspace)
    wanted.isForeground = isForeground
    if !options.noProbe { wanted.probes = probes(workspace: workspace) + canaries }
    return Plan(wanted, try HostFacts.gather(workspace: workspace))
  }

  // MARK: - Limits

  /// By a cgroup all of them; else what rlimits can hold, and the rest is said.
  private func hold(_ wanted: Settings.Process, in sandbox: inout SandboxOptions) throws(LaunchFailure) {
    sandbox.limits = ProcessLimits(processes: nil, dataBytes: nil)
    guard options.limits == .bestEffort else {
      let settings = cgroupSettings(wanted)
      let all = CgroupSpec(base: "", name: "", settings: settings)
      let base = try CgroupSpec.base(controllers: all.controllers, isRoot: SandboxUser.isRoot)
      sandbox.cgroup = CgroupSpec(base: base, name: "sluice-\(options.name)-\(Machine.processID)", settings: settings)
      return
    }
    sandbox.limits = ProcessLimits(processes: wanted.processes, dataBytes: wanted.memoryBytes)
    guard !options.printPlan else { return }
    var loose: [String] = []
    if wanted.cpu != nil { loose.append("cpu.max") }
    if wanted.memoryBytes != nil { loose.append("memory.max for all processes together (each is held to it)") }
    if wanted.swapBytes != nil { loose.append("memory.swap.max") }
    if !loose.isEmpty { Messages.warn("--limits best-effort: not enforced are \(loose.joined(separator: ", "))") }
  }

  private func cgroupSettings(_ wanted: Settings.Process) -> [CgroupSpec.Setting] {
    var settings: [CgroupSpec.Setting] = []
    if let cpu = wanted.cpu { settings.append(.init("cpu.max", "\(cpu.quotaUs) \(cpu.periodUs)")) }
    if let bytes = wanted.memoryBytes {
      // All of it ends, or none: half an agent is worse than none.
      settings += [.init("memory.max", "\(bytes)"), .init("memory.oom.group", "1")]
    }
    if let bytes = wanted.swapBytes { settings.append(.init("memory.swap.max", "\(bytes)")) }
    if let count = wanted.processes { settings.append(.init("pids.max", "\(count)")) }
    return settings
  }

  // MARK: - The workspace

  private static let systemFolders = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run",
    "/sbin",
    "/srv", "/sys", "/tmp", "/usr", "/var", "/var/tmp",
  ]
  private static let systemTrees = ["/proc/", "/sys/", "/dev/", "/etc/", "/usr/bin/", "/usr/lib/", "/usr/sbin/"]

  private func workspace() throws(LaunchFailure) -> String {
    let named = options.workspace ?? "."
    guard let path = HostFile.realPath(named), HostFile.kind(path) == .folder else {
      throw LaunchFailure("--workspace \(named): no such folder")
    }
    let place = "the workspace \(path)"
    if Self.systemFolders.contains(path) || Self.systemTrees.contains(where: { path.hasPrefix($0) }) {
      throw LaunchFailure("\(place) is a folder of the system; name one of your own with --workspace DIR")
    }
    if let home = Environment.value("HOME").flatMap({ HostFile.realPath($0) }),
      home == path || home.hasPrefix("\(path)/")
    {
      guard options.workspace != nil else {
        throw LaunchFailure(
          "\(place) holds your home, with its keys and settings; go to a folder below it, or name one with --workspace DIR"
        )
      }
      Messages.warn("\(place) holds your home, with its keys and settings, and the command can read and write it")
    }
    return path
  }

  /// Absolute, and of a kind that may be shown at its own path.
  private func further(_ text: String, _ option: String) throws(LaunchFailure) -> String {
    guard let path = HostFile.realPath(text) else { throw LaunchFailure("\(option) \(text): no such file or folder") }
    if path == "/" || Self.systemTrees.contains(where: { path.hasPrefix($0) }) && option == "--read-write"
      || ["/proc", "/sys", "/dev", "/etc"].contains(path)
    {
      throw LaunchFailure("\(option) \(path): the sandbox has its own; name something narrower")
    }
    return path
  }

  /// A policy that the command could write would be its own at the next start.
  private func protected(workspace: String) throws(LaunchFailure) -> [String] {
    guard let policy = options.policy, let path = HostFile.realPath(policy), path.hasPrefix("\(workspace)/") else {
      return []
    }
    guard HostFile.kind(policy) == .file else {
      throw LaunchFailure(
        "--policy \(policy): a symbolic link cannot be protected in the workspace; name \(path) itself")
    }
    return [path]
  }

  /// Who is watched must not write what is written of it.
  func checkLog(_ log: String, _ plan: Plan) throws(LaunchFailure) {
    let folder = log.lastIndex(of: "/").map { String(log[..<$0]) } ?? "."
    guard let real = HostFile.realPath(folder.isEmpty ? "/" : folder) else { return }
    for shown in plan.writable where real == shown || real.hasPrefix("\(shown)/") {
      throw LaunchFailure(
        "the log \(log) would stand where the command can write it; name another place with --log FILE")
    }
  }

  // MARK: - Who

  private func user(workspace: String) throws(LaunchFailure) -> SandboxUser {
    guard SandboxUser.isRoot else {
      guard options.user == nil else { throw LaunchFailure("--user: only root can run the command as somebody else") }
      return .caller()
    }
    let user: SandboxUser
    if let name = options.user {
      user = try named(name)
    } else {
      user = .dropped(workspace: workspace)
    }
    if !user.mayWrite(workspace) {
      throw LaunchFailure(
        "the workspace \(workspace) cannot be written by user \(user.uid), whom the command would run as; "
          + "chown it to that user (any one but root), or give --user or another --workspace")
    }
    return user
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
    guard case .client(let client) = policy.identify(source: .v4(0), sandbox: options.name) else {
      return policy.fallback.network
    }
    return client.network
  }

  /// Those that the policy names, one by one. What is beyond the bound is reached through the proxy alone.
  private func ports() -> [UInt16] {
    var ports: Set<UInt16> = []
    var isCut = false
    for range in network.allow.flatMap(\.ports.ranges).sorted(by: { $0.count < $1.count }) {
      guard ports.count + range.count <= Plan.portsMax else {
        isCut = true
        continue
      }
      ports.formUnion(range)
    }
    if isCut {
      Messages.warn(
        "the policy names more than \(Plan.portsMax) ports: those of its widest rules have no listener on every address, and "
          + "are reached by programs that use HTTPS_PROXY alone")
    }
    return Array(ports)
  }

  // MARK: - Probes

  private static let probeName = "probe.sluice.invalid"

  private func probes(workspace: String) -> [Probe] {
    var probes: [Probe] = [
      .rawSockets, .datagram("192.0.2.1", port: 9), .stream("192.0.2.1", port: 9), .stream("169.254.169.254", port: 9),
      .reading("/proc/1/root"), .reading("/proc/1/environ"), .reading("/etc/shadow"), .writing("/sluice-probe"),
      .writing("/usr/sluice-probe"), .writing("/etc/passwd"),
    ]
    if HostFile.kind("/proc/sys/net/ipv6") == .folder {
      probes += [.datagram("2001:db8::1", port: 9), .stream("2001:db8::1", port: 9)]
    }
    // What the policy lets out by `*` or by default is no refusal to be tried.
    if let name = try? HostName(Self.probeName), isRefused(name) {
      // Of a CONNECT to port 443 the tunnel stands where refusals are explained inside it.
      probes += [.target("\(Self.probeName):80"), .name(Self.probeName)]
    } else {
      Messages.warn("the policy lets out every name: whether one is refused is not probed")
    }
    let shown = [workspace] + options.readOnly + options.readWrite
    for path in [options.policy, options.log].compactMap({ $0 }).compactMap({ HostFile.realPath($0) }) {
      let isShown =
        shown.contains { path == $0 || path.hasPrefix("\($0)/") } || path.hasPrefix("/usr/") || path.hasPrefix("/dev/")
      if !isShown { probes.append(.reading(path)) }
    }
    return probes
  }

  private func isRefused(_ name: HostName) -> Bool {
    guard !network.isReportOnly else { return false }
    let target = Target(host: .name(name), port: 80)
    guard case .refuse = network.judge(target, nowUnix: Clock.wallMs() / 1000) else { return false }
    // A rule for every name on another port lets the name be looked up.
    return !network.defaultAllows && !network.allow.contains { $0.pattern == .any }
  }
}
