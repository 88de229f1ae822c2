// What the machine has, looked at once before a plan is made: folders of the system, settings, what /proc shows, IPv6.
// It relies on the paths below being the system's, not the caller's: links among them are followed.
import CSandbox
import Kernel

package struct HostFacts: Equatable, Sendable {
  package enum FolderKind: Equatable, Sendable {
    case folder
    case link(String)
  }
  package struct SystemFolder: Equatable, Sendable {
    package let path: String
    package let kind: FolderKind

    package init(_ path: String, _ kind: FolderKind) {
      self.path = path
      self.kind = kind
    }
  }
  /// The workspace's `.git`; of a folder, those entries that tell git what to run.
  package enum Git: Equatable, Sendable {
    case none, file
    case folder([String])
  }

  package var systemFolders: [SystemFolder] = []
  package var settings: [String] = []
  package var processMasks: [String] = []
  package var processReadOnly: [String] = []
  package var hasIPv6 = true
  package var git = Git.none

  package init() {}

  private static let settingNames = [
    "ssl", "pki", "ca-certificates", "ca-certificates.conf", "crypto-policies", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "ld.so.preload", "alternatives", "localtime", "timezone", "mime.types", "services", "protocols",
    "gai.conf", "host.conf", "locale.alias", "locale.conf", "bash.bashrc", "profile", "profile.d", "inputrc",
    "terminfo", "magic", "debian_version", "os-release", "python3", "python3.11", "python3.12", "python3.13", "perl",
    "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "java-25-openjdk", "fonts", "vim", "nanorc",
  ]
  private static let maskedNames = [
    "kcore", "keys", "key-users", "kallsyms", "config.gz", "timer_list", "latency_stats", "sched_debug", "kmsg",
    "kpagecount", "kpageflags", "kpagecgroup", "vmallocinfo", "slabinfo", "interrupts", "scsi", "acpi", "asound",
  ]
  private static let readOnlyNames = ["sys", "sysrq-trigger", "irq", "bus", "fs"]

  package static func gather(workspace: String) throws(LaunchFailure) -> HostFacts {
    var facts = HostFacts()
    for path in ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
      switch HostFile.kind(path) {
      case .folder: facts.systemFolders.append(SystemFolder(path, .folder))
      case .link:
        if let target = HostFile.linkTarget(path) { facts.systemFolders.append(SystemFolder(path, .link(target))) }
      default: break
      }
    }
    facts.settings = settingNames.map { "/etc/\($0)" }.filter { HostFile.realPath($0) != nil }
    facts.processMasks = maskedNames.map { "/proc/\($0)" }.filter { HostFile.kind($0) != .missing }
    facts.processReadOnly = readOnlyNames.map { "/proc/\($0)" }.filter { HostFile.kind($0) != .missing }
    facts.hasIPv6 = HostFile.kind("/proc/sys/net/ipv6") == .folder
    facts.git = try git(of: workspace)
    return facts
  }

  private static func git(of workspace: String) throws(LaunchFailure) -> Git {
    switch HostFile.kind("\(workspace)/.git") {
    case .missing: return .none
    case .file: return .file
    case .folder:
      return .folder(
        ["config", "config.worktree", "commondir"].filter { HostFile.kind("\(workspace)/.git/\($0)") == .file })
    case .link, .other:
      throw LaunchFailure(
        "\(workspace)/.git is a symbolic link: what it leads to cannot be protected; name the folder that the repository is in"
      )
    }
  }
}

/// A path of the host, looked at without following its last link.
package enum HostFile {
  package enum Kind: Int32, Sendable { case missing, folder, file, link, other }

  private static let pathBytesMax = 4096

  package static func kind(_ path: String) -> Kind { owner(path).kind }

  package static func owner(_ path: String) -> (kind: Kind, uid: UInt32, gid: UInt32) {
    var (uid, gid) = (UInt32(0), UInt32(0))
    // SAFETY: two locals for the time of the call.
    let kind = unsafe csandbox_file_kind(path, &uid, &gid)
    return (Kind(rawValue: kind) ?? .other, uid, gid)
  }

  static func linkTarget(_ path: String) -> String? {
    unsafe text { unsafe csandbox_read_link(path, $0, $1) }
  }

  /// Absolute, without links; nil where it does not exist or cannot be reached.
  package static func realPath(_ path: String) -> String? {
    unsafe text { unsafe csandbox_real_path(path, $0, $1) }
  }

  /// Whether this user may, whatever the process has confined itself to.
  package static func mayRead(_ path: String) -> Bool { unsafe csandbox_may_read(path) != 0 }

  package static func makeFolder(_ path: String, mode: UInt32 = 0o700) -> Bool {
    unsafe csandbox_make_folder(path, mode) == 0 || kind(path) == .folder
  }

  /// A new one that is the user's alone.
  package static func makeFolder(_ path: String, of user: SandboxUser) -> Bool {
    unsafe csandbox_make_folder_of(path, user.uid, user.gid) == 0
  }

  /// An empty one.
  package static func removeFolder(_ path: String) { _ = unsafe csandbox_remove_folder(path) }

  /// SAFETY: `ask` writes no more than the room it is told, and answers how much of it.
  private static func text(_ ask: (UnsafeMutablePointer<CChar>, Int) -> Int) -> String? {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: pathBytesMax) { room -> String? in
      guard let base = room.baseAddress else { return nil }
      let count = unsafe ask(base, room.count)
      guard count > 0 else { return nil }
      return unsafe String(decoding: UnsafeRawBufferPointer(start: base, count: count), as: UTF8.self)
    }
  }
}
