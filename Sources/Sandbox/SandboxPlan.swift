// What a sandbox is made of: the steps in their order, as a value that can be printed and tested. Start reading here.
// It relies on SandboxOptions for what is wanted and on HostFacts for what the machine has; it looks at nothing itself.
import Kernel

package struct SandboxOptions: Equatable, Sendable {
  package var command: [String]
  /// NAME=VALUE, all that the command sees.
  package var environment: [String]
  package var workspace: String
  package var hostName = "sandbox"
  package var user: SandboxUser
  /// All TCP goes to one listener, which takes nf_tables with TPROXY; or else these ports, 80 and 443 have one each.
  package var redirectsAll = true
  package var ports: [UInt16] = []
  package var readOnly: [String] = []
  package var readWrite: [String] = []
  /// Of what is shown; the rest is hidden anyway.
  package var hidden: [String] = []
  /// Of the workspace, what stays as it is though the rest is writable.
  package var protected: [ProtectedPath] = []
  package var temporaryBytes = 512 << 20
  package var home = Home.temporary(bytes: 256 << 20)
  /// Where the home stands inside.
  package var homePath = SandboxPlan.home
  package var seeds: [HomeSeed] = []
  /// Beside those under their own paths.
  package var mounts: [SharedMount] = []
  /// Why the command is not seen inside, though it is there outside.
  package var commandHint: String?
  package var workspaceAccess = MountAccess.writable
  /// Sources whose owner on the disk is `user.owner`.
  package var mapped: Set<String> = []
  /// Configurations of git that the command has copies of.
  package var gitCopies: [GitCopy] = []
  /// Where the workspace's changes are kept, when the command writes to a copy of it.
  package var workspaceChanges: String?
  package var limits = ProcessLimits()
  package var cgroup: CgroupSpec?
  /// The system's configuration of git inside.
  package var gitConfiguration: String?
  /// nil where nothing is to be trusted beside the system's roots.
  package var trust: SandboxTrust?
  /// A page for the agent: what the gate is, and how to ask it.
  package var guide: String?
  /// nil where the caller has no terminal.
  package var terminal: TerminalUse?
  package var allows: [Allowance] = []
  package var probes: [Probe] = []

  /// All that is shown of the host's, the workspace among it.
  var shared: [SharedMount] {
    [SharedMount(workspace, workspaceAccess)] + readOnly.map { SharedMount($0, .readOnly) }
      + readWrite.map { SharedMount($0, .writable) } + mounts
  }

  /// Sources of what is shown, and of the home, by a choice.
  package func sharedSources(_ isChosen: (String, MountAccess) -> Bool) -> [String] {
    let homes = home.folders.map { SharedMount($0, .writable) }
    return (shared + homes).filter { isChosen($0.source, $0.access) }.map(\.source)
  }

  package init(command: [String], environment: [String], workspace: String, user: SandboxUser) {
    self.command = command
    self.environment = environment
    self.workspace = workspace
    self.user = user
  }
}

package enum Home: Equatable, Sendable {
  case temporary(bytes: Int)
  /// A folder of the host, seen as the home.
  case folder(String)

  package var folders: [String] { if case .folder(let path) = self { [path] } else { [] } }
}

/// True if the command gets what is typed at once, or when it first asks: others of a pipeline may read the terminal
/// too.
package enum TerminalUse: Equatable, Sendable { case foreground, background }

/// User of the command, outside as inside.
package struct SandboxUser: Equatable, Sendable {
  package let uid: UInt32
  package let gid: UInt32
  /// Not who starts it: root gives its own identity up.
  package let isOther: Bool
  /// Owner of the caller's files where mounts show them as this user's; nil where they are this user's own.
  package let owner: FileOwner?

  package init(uid: UInt32, gid: UInt32, isOther: Bool, owner: FileOwner? = nil) {
    (self.uid, self.gid, self.isOther, self.owner) = (uid, gid, isOther, owner)
  }

  /// As it is where no mount maps anything.
  package var withoutOwner: SandboxUser { SandboxUser(uid: uid, gid: gid, isOther: isOther) }

  /// What files that it makes are owned by, on the disk.
  package var onDisk: FileOwner { owner ?? FileOwner(uid: uid, gid: gid) }
}

package struct FileOwner: Equatable, Sendable {
  package let uid: UInt32
  package let gid: UInt32

  package init(uid: UInt32, gid: UInt32) { (self.uid, self.gid) = (uid, gid) }
}

package struct OwnerMapping: Equatable, Sendable {
  let disk: FileOwner
  let inside: FileOwner
}

/// What rlimits can hold: processes of the sandbox together, data of each one. nil is no limit.
package struct ProcessLimits: Equatable, Sendable {
  package var processes: Int? = 64
  package var dataBytes: Int? = 512 << 20

  package init() {}

  package init(processes: Int?, dataBytes: Int?) { (self.processes, self.dataBytes) = (processes, dataBytes) }
}

package struct SandboxPlan: Equatable, Sendable {
  package static let home = "/home/agent"
  package static let proxyPort: UInt16 = 3128
  package static let dnsPort: UInt16 = 53
  package static let redirectPort: UInt16 = 3129
  package static let portsMax = 256
  static let openFiles: UInt64 = 16_384

  package let steps: [Step]
  package let user: SandboxUser
  /// Folders and files of the host that the command may write.
  package let writable: [String]
  /// Stand-ins in the user's folders for the time of the run, so that the command cannot make those names.
  package let placeholders: [ProtectedPath]
  private let options: SandboxOptions
  private let facts: HostFacts

  package init(_ options: SandboxOptions, _ facts: HostFacts) {
    (self.options, self.facts) = (options, facts)
    user = options.user
    writable = options.shared.filter { $0.access == .writable }.map(\.source) + options.home.folders
    let network = NetworkPart(ports: options.redirectsAll ? nil : options.ports, hasIPv6: facts.hasIPv6)
    let files = FilesPart(options, facts)
    placeholders = files.placeholders
    var steps: [Step] = options.cgroup.map { [.cgroup($0)] } ?? []
    steps += [
      .namespaces(Namespace.allCases), .mapIDs(uid: options.user.uid, gid: options.user.gid),
    ]
    if options.user.isOther { steps.append(.becomeUser(uid: options.user.uid, gid: options.user.gid)) }
    // A change of identity takes the wish to die away again, so this comes behind it.
    steps += [.dieWithParent, .hostName(options.hostName)]
    steps += network.steps
    // No namespace of a user's own, so no capabilities, ever again in here.
    if !options.allows.contains(.userns) { steps.append(.setting("/proc/sys/user/max_user_namespaces", "0")) }
    steps += files.steps
    if options.terminal != nil { steps.append(.openTerminal) }
    steps += [
      .limit(.coreBytes, 0), .limit(.openFiles, Self.openFiles),
    ]
    // Process 1 counts, and so does the one that becomes the command.
    if let processes = options.limits.processes { steps.append(.limit(.processes, UInt64(processes))) }
    if let bytes = options.limits.dataBytes { steps.append(.limit(.dataBytes, UInt64(bytes))) }
    steps += [
      .dropBoundingCapabilities, .lockSecureBits, .noNewPrivileges, .dropCapabilities, .notDumpable, .reaper,
      .session(isForeground: options.terminal == .foreground), .workIn(options.workspace),
      .landlock(writable: files.writable, devices: "/dev"), .seccomp(allows: options.allows),
      .closeDescriptors,
    ]
    steps += options.probes.map { .probe($0) }
    steps.append(.execute(options.command, environment: options.environment))
    self.steps = steps
  }

  /// The same for a kernel that cannot redirect all ports.
  package var withoutRedirection: SandboxPlan {
    var options = options
    options.redirectsAll = false
    return SandboxPlan(options, facts)
  }

  var commandHint: String? { options.commandHint }

  /// In the order in which they are handed out.
  package var listeners: [ListenerSpec] {
    steps.compactMap { if case .listen(let one) = $0 { one } else { nil } }
  }

  package var cgroup: CgroupSpec? {
    for case .cgroup(let spec) in steps { return spec }
    return nil
  }

  package var hasTerminal: Bool { steps.contains(.openTerminal) }

  package var probeCount: Int { steps.count { if case .probe = $0 { true } else { false } } }
  package var hasProbes: Bool { probeCount > 0 }

  package var text: String {
    steps.enumerated().map { "\($0.offset + 1). \($0.element)\n" }.joined()
  }
}

/// An empty network in which every address leads to the gate's listeners.
struct NetworkPart {
  let steps: [Step]

  /// Without `ports`, all of them.
  init(ports: [UInt16]?, hasIPv6: Bool) {
    let families: [IPFamily] = hasIPv6 ? [.v4, .v6] : [.v4]
    // Of the networks for documentation (RFC 5737, RFC 3849): no address that anything else could have.
    let addresses = hasIPv6 ? ["192.0.2.2", "2001:db8::2"] : ["192.0.2.2"]
    var steps: [Step] = [.loopbackUp] + addresses.map { .address($0) } + families.map { .localRoute($0) }
    // Else a host that is not there would look alive.
    steps.append(.setting("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1"))
    if hasIPv6 { steps.append(.setting("/proc/sys/net/ipv6/icmp/echo_ignore_all", "1")) }
    var listeners = [ListenerSpec(.proxy, .v4, port: SandboxPlan.proxyPort)]
    for family in families {
      listeners.append(ListenerSpec(.dns, family, port: SandboxPlan.dnsPort))
      listeners.append(ListenerSpec(.dns, family, isDatagram: true, port: SandboxPlan.dnsPort))
    }
    if let ports {
      let taken: Set<UInt16> = [SandboxPlan.proxyPort, SandboxPlan.dnsPort]
      for port in Set(ports).union([80, 443]).subtracting(taken).sorted() {
        listeners += families.map { ListenerSpec(.transparent, $0, port: port) }
      }
    } else {
      steps.append(.redirect(port: SandboxPlan.redirectPort, hasIPv6: hasIPv6))
      listeners += families.map { ListenerSpec(.transparent, $0, port: SandboxPlan.redirectPort, isRedirected: true) }
    }
    steps += listeners.map { .listen($0) }
    steps.append(.handOut(count: listeners.count))
    self.steps = steps
  }
}
