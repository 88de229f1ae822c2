// The part of the plan that is the file system: a read-only system, one workspace, and nothing of the caller's beside
// it. It relies on the order: what is mounted later lies on top, so temporary places come before what is bound into
// them.
import Kernel

struct FilesPart {
  private(set) var steps: [Step] = []
  /// Where Landlock lets the command write, within what the mounts let it.
  let writable: [String]

  private let options: SandboxOptions
  private let facts: HostFacts
  /// What is shown of the user's so far, the folders above before those below.
  private var shown: [SharedMount] = []
  private(set) var placeholders: [ProtectedPath] = []
  private var home: String { options.homePath }

  init(_ options: SandboxOptions, _ facts: HostFacts) {
    self.options = options
    self.facts = facts
    writable =
      ["/tmp", "/var/tmp", "/run", options.homePath, "/dev/shm", "/proc"]
      + options.shared.filter { $0.access == .writable }.map(\.path)
    steps = [.newRoot(bytes: 4 << 20, inodes: 4096)]
    addSystem()
    addSettings()
    addTemporary()
    addDevices()
    addProcesses()
    addShared()
    for one in options.seeds { steps.append(.seed(one)) }
    for path in Self.outermost(options.protected, \.path) { protect(path) }
    for path in Self.outermost(options.hidden, \.self) { hide(path) }
    steps.append(.enterRoot)
  }

  private mutating func addSystem() {
    for folder in facts.systemFolders {
      switch folder.kind {
      case .folder: steps.append(.bind(folder.path, at: folder.path, .readOnly))
      case .link(let target): steps.append(.link(folder.path, to: target))
      }
    }
  }

  /// Of the host's /etc what programs need to run; who and where they are is the sandbox's own.
  private mutating func addSettings() {
    let (uid, gid) = (options.user.uid, options.user.gid)
    steps.append(.folder("/etc", mode: 0o755))
    for one in facts.settings { steps.append(.bind(one.source, at: one.path, .readOnly)) }
    let nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    steps += [
      .file("/etc/passwd", "agent:x:\(uid):\(gid):agent:\(home):/bin/sh\n\(nobody)"),
      .file("/etc/group", "agent:x:\(gid):\nnogroup:x:65534:\n"),
      .file("/etc/hosts", "127.0.0.1 localhost \(options.hostName)\n::1 localhost\n"),
      .file("/etc/hostname", "\(options.hostName)\n"),
      .file("/etc/resolv.conf", "nameserver 127.0.0.1\noptions edns0\n"),
      .file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
      .link("/etc/mtab", to: "/proc/self/mounts"),
    ]
    if let guide = options.guide { steps.append(.file("\(SandboxTrust.folder)/README.md", guide)) }
    if let text = options.gitConfiguration { steps.append(.file("/etc/gitconfig", text)) }
    steps += options.trust?.steps(systemBundles: facts.trustBundles, folder: facts.trustFolder) ?? []
  }

  private mutating func addTemporary() {
    steps += [
      temporary("/tmp", mode: "1777", bytes: options.temporaryBytes),
      .temporary("/var/tmp", mode: "1777", bytes: 64 << 20, inodes: 8192),
      .temporary("/run", mode: "0755", bytes: 16 << 20, inodes: 4096),
    ]
    switch options.home {
    case .temporary(let bytes): steps.append(temporary(home, mode: "0755", bytes: bytes))
    case .folder(let folder): steps.append(bind(folder, at: home, .writable))
    }
  }

  /// Small files, on the average: 8 KiB.
  private func temporary(_ path: String, mode: String, bytes: Int) -> Step {
    .temporary(path, mode: mode, bytes: bytes, inodes: max(65_536, bytes >> 13))
  }

  private mutating func addDevices() {
    steps.append(.temporary("/dev", mode: "0755", bytes: 64 << 10, inodes: 64))
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
      steps.append(.bind("/dev/\(name)", at: "/dev/\(name)", .device))
    }
    steps += [
      .link("/dev/fd", to: "/proc/self/fd"), .link("/dev/stdin", to: "/proc/self/fd/0"),
      .link("/dev/stdout", to: "/proc/self/fd/1"), .link("/dev/stderr", to: "/proc/self/fd/2"),
      .link("/dev/ptmx", to: "pts/ptmx"), .terminals("/dev/pts"),
      .temporary("/dev/shm", mode: "1777", bytes: 64 << 20, inodes: 4096),
    ]
  }

  private mutating func addProcesses() {
    steps.append(.processes("/proc"))
    for path in facts.processMasks { steps.append(.mask(path)) }
    for path in facts.processReadOnly { steps.append(.pin(path, .readOnly)) }
  }

  // MARK: - What is the user's

  /// Under their own paths, so that absolute paths hold inside as outside. What lies in another is mounted after it.
  private mutating func addShared() {
    for one in options.shared.sorted(by: { ($0.path.pathParts.count, $0.path) < ($1.path.pathParts.count, $1.path) }) {
      let container = above(one.path)
      let isIn = container?.inside(one.source) == one.path
      switch (container?.access, one.access) {
      case _ where one.path == options.workspace && options.workspaceChanges != nil:
        steps.append(.copy(one.path, changes: options.workspaceChanges ?? ""))
      case (.writable?, .readOnly) where isIn: pin(one.path)
      case (.readOnly?, .readOnly) where isIn: break
      default: steps.append(bind(one.source, at: one.path, one.access))
      }
      shown.append(one)
    }
  }

  private func bind(_ source: String, at path: String, _ access: MountAccess) -> Step {
    guard let owner = options.user.owner, options.mapped.contains(source) else {
      return .bind(source, at: path, access)
    }
    let inside = FileOwner(uid: options.user.uid, gid: options.user.gid)
    return .bindMapped(source, at: path, access, OwnerMapping(disk: owner, inside: inside))
  }

  private func above(_ path: String) -> SharedMount? { shown.last { path.isBelow($0.path) } }

  /// Each place where a path of the host is seen.
  private func places(of host: String) -> [String] {
    var places: [String] = []
    for place in shown.compactMap({ $0.inside(host) }) where !places.contains(place) { places.append(place) }
    return places
  }

  private mutating func protect(_ one: ProtectedPath) {
    var isCovered = false
    for path in places(of: one.path) where above(path)?.access == .writable {
      if let copy = options.gitCopies.first(where: { $0.path == one.path }) {
        pinAbove(path)
        steps.append(.substitute(path, to: copy.inside))
      } else if let placeholder = one.placeholder {
        pinAbove(path)
        steps.append(.cover(path, placeholder))
        isCovered = true
      } else {
        pin(path)
      }
    }
    if isCovered { placeholders.append(one) }
  }

  private mutating func hide(_ host: String) {
    for path in Set(places(of: host) + [host]).sorted() { hide(inside: path) }
  }

  private mutating func hide(inside path: String) {
    if above(path)?.access == .writable { pinAbove(path) }
    let isShown =
      above(path) != nil || facts.settings.contains { path.isAtOrBelow($0.path) }
      || facts.systemFolders.contains { path.isBelow($0.path) && $0.kind == .folder }
    if isShown { steps.append(.hide(path)) }
  }

  private mutating func pin(_ path: String) {
    pinAbove(path)
    steps.append(.pin(path, .readOnly))
  }

  /// The folders above it that are in a writable place: who may rename one of them puts another there, now or for the
  /// next run.
  private mutating func pinAbove(_ path: String) {
    guard let root = above(path)?.path else { return }
    var folder = root
    for part in path.pathParts.dropFirst(root.pathParts.count).dropLast() {
      folder += "/\(part)"
      let pin = Step.pin(folder, .writable)
      if !steps.contains(pin) { steps.append(pin) }
    }
  }

  /// Sorted, and none that lies in another.
  private static func outermost<One>(_ all: [One], _ path: (One) -> String) -> [One] {
    var kept: [One] = []
    for one in all.sorted(by: { path($0) < path($1) }) where !kept.contains(where: { path(one).isAtOrBelow(path($0)) })
    {
      kept.append(one)
    }
    return kept
  }
}
