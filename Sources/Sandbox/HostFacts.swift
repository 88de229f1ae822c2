// What the machine has, looked at once before a plan is made: folders of the system, settings, what /proc shows, IPv6.
// It relies on the paths below being the system's, not the caller's: links among them are followed.
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
  package struct Setting: Equatable, Sendable {
    package let path: String
    /// Where it really is.
    package let source: String

    package init(_ path: String, source: String) {
      self.path = path
      self.source = source
    }
  }

  package var systemFolders: [SystemFolder] = []
  package var settings: [Setting] = []
  package var processMasks: [String] = []
  package var processReadOnly: [String] = []
  package var hasIPv6 = true
  /// Files with the system's roots, where they really are, among the settings.
  package var trustBundles: [String] = []
  package var trustFolder: TrustFolder?

  /// A folder of certificates by their numbers, with the names that are in it.
  package struct TrustFolder: Equatable, Sendable {
    package let path: String
    package let names: Set<String>

    package init(_ path: String, names: Set<String>) { (self.path, self.names) = (path, names) }
  }

  package init() {}

  private static let settingNames = [
    "ssl", "pki", "ca-certificates", "ca-certificates.conf", "crypto-policies", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "ld.so.preload", "alternatives", "localtime", "timezone", "mime.types", "services", "protocols",
    "gai.conf", "host.conf", "locale.alias", "locale.conf", "bash.bashrc", "profile", "profile.d", "inputrc",
    "terminfo", "magic", "debian_version", "os-release", "python3", "python3.11", "python3.12", "python3.13", "perl",
    "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "java-25-openjdk", "fonts", "vim", "nanorc", "maven",
    "chromium.d",
  ]
  private static let maskedNames = [
    "kcore", "keys", "key-users", "kallsyms", "config.gz", "timer_list", "latency_stats", "sched_debug", "kmsg",
    "kpagecount", "kpageflags", "kpagecgroup", "vmallocinfo", "slabinfo", "interrupts", "scsi", "acpi", "asound",
  ]
  /// Of Debian, Fedora, SUSE, Alpine and the like.
  private static let bundleNames = [
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem", "/etc/ssl/cert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  ]
  private static let readOnlyNames = ["sys", "sysrq-trigger", "irq", "bus", "fs"]

  package static func gather() -> HostFacts {
    var facts = HostFacts()
    for path in ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
      switch HostFile.kind(path) {
      case .folder: facts.systemFolders.append(SystemFolder(path, .folder))
      case .link:
        if let target = HostFile.linkTarget(path) { facts.systemFolders.append(SystemFolder(path, .link(target))) }
      default: break
      }
    }
    facts.settings = settingNames.map { "/etc/\($0)" }.compactMap { path in
      HostFile.realPath(path).map { Setting(path, source: $0) }
    }
    facts.processMasks = maskedNames.map { "/proc/\($0)" }.filter { HostFile.kind($0) != .missing }
    facts.processReadOnly = readOnlyNames.map { "/proc/\($0)" }.filter { HostFile.kind($0) != .missing }
    facts.trustBundles = Set(bundleNames.compactMap { HostFile.realPath($0) }).sorted().filter { path in
      facts.settings.contains { path.isBelow($0.path) && $0.path == $0.source }
    }
    let folder = "/etc/ssl/certs"
    if HostFile.kind(folder) == .folder,
      facts.settings.contains(where: { $0.path == "/etc/ssl" && $0.path == $0.source })
    {
      facts.trustFolder = TrustFolder(folder, names: Set(HostFile.list(folder).map(\.name)))
    }
    facts.hasIPv6 = HostFile.kind("/proc/sys/net/ipv6") == .folder
    return facts
  }
}
