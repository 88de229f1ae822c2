// The part of the plan that is the file system: a read-only system, one workspace, and nothing of the caller's beside it.
// It relies on the order: what is mounted later lies on top, so temporary places come before what is bound into them.

struct FilesPart {
  private(set) var steps: [Step] = []
  /// Where Landlock lets the command write, within what the mounts let it.
  let writable: [String]

  private let options: SandboxOptions
  private let facts: HostFacts
  private let home = Plan.home

  init(_ options: SandboxOptions, _ facts: HostFacts) {
    self.options = options
    self.facts = facts
    writable =
      ["/tmp", "/var/tmp", "/run", Plan.home, "/dev/shm", "/proc"] + options.readWrite + [options.workspace]
    steps = [.newRoot(bytes: 4 << 20, inodes: 4096)]
    addSystem()
    addSettings()
    addTemporary()
    addDevices()
    addProcesses()
    for path in options.readOnly { steps.append(.bind(path, at: path, .readOnly)) }
    for path in options.readWrite { steps.append(.bind(path, at: path, .writable)) }
    addWorkspace()
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
    for path in facts.settings { steps.append(.bind(path, at: path, .readOnly)) }
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
    steps += options.trust?.steps ?? []
  }

  private mutating func addTemporary() {
    steps += [
      .temporary("/tmp", mode: "1777", bytes: 512 << 20, inodes: 65_536),
      .temporary("/var/tmp", mode: "1777", bytes: 64 << 20, inodes: 8192),
      .temporary("/run", mode: "0755", bytes: 16 << 20, inodes: 4096),
      .temporary(home, mode: "0755", bytes: 256 << 20, inodes: 65_536),
    ]
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

  /// Under its own path, so that absolute paths hold inside as outside.
  private mutating func addWorkspace() {
    let workspace = options.workspace
    steps.append(.bind(workspace, at: workspace, .writable))
    let git = "\(workspace)/.git"
    switch facts.git {
    case .none: break
    case .file: steps.append(.pin(git, .readOnly))
    case .folder(let entries):
      // Pinned whole, so that it cannot be moved away and another put in its place.
      steps += [.pin(git, .writable), .folder("\(git)/hooks", mode: 0o755), .pin("\(git)/hooks", .readOnly)]
      steps += entries.map { .pin("\(git)/\($0)", .readOnly) }
    }
    for path in options.protected { protect(path) }
  }

  /// With the folders above it: who may rename one of them puts another in its place.
  private mutating func protect(_ path: String) {
    let workspace = options.workspace
    guard path.hasPrefix("\(workspace)/") else { return }
    var folder = workspace
    for part in path.dropFirst(workspace.utf8.count + 1).split(separator: "/").dropLast() {
      folder += "/\(part)"
      let pin = Step.pin(folder, .writable)
      if !steps.contains(pin) { steps.append(pin) }
    }
    steps.append(.pin(path, .readOnly))
  }
}
