// The caller's own programs: folders of PATH outside of the system, with what they need beside them, to be shown
// read-only. Relies on the shape of installations (bin, lib, versions, …), not on names of tools: a home holds keys
// beside programs, so nothing is shown whole but what is an installation by its own marks.
import Kernel

package struct ToolFolders {
  package struct Caller {
    /// PATH, and the home that it is about.
    let path: String
    let home: String?
    let variable: (String) -> String?
    let mayRead: (String) -> Bool

    package init(
      path: String, home: String?, variable: @escaping (String) -> String?, mayRead: @escaping (String) -> Bool
    ) {
      (self.path, self.home, self.variable, self.mayRead) = (path, home, variable, mayRead)
    }
  }

  /// PATH inside: the caller's order, and then the system's own folders.
  package private(set) var path: [String] = []
  /// Real paths on the host.
  package private(set) var shown: [String] = []
  package private(set) var variables: [(name: String, value: String)] = []

  private static let shownMax = 96
  private static let entriesMax = 8192
  private static let systemFolders = ["/usr", "/bin", "/sbin", "/lib"]
  /// The sandbox has its own.
  package static let ownFolders = ["/run", "/proc", "/sys", "/dev", "/etc"]
  /// A folder in one of these may be shown, and not the whole.
  private static let shared: Set<String> = ["/tmp", "/var/tmp", "/home", "/root", "/opt", "/srv", "/mnt", "/var", "/"]
  /// Folders that stand beside one of programs, and belong to it.
  private static let siblings = [
    "bin", "sbin", "lib", "lib64", "libexec", "include", "share", "shims", "versions", "version", "plugins", "installs",
    "candidates", "tools", "toolchains",
  ]
  private static let programFolders: Set<String> = ["bin", "sbin", "libexec", "shims"]
  /// Programs whose other parts stand in a folder of the home, which this variable names: in the sandbox's own home
  /// they would not find it.
  private static let roots: [(variable: String, folder: String, program: String?)] = [
    ("RUSTUP_HOME", ".rustup", "rustup"), ("PYENV_ROOT", ".pyenv", nil), ("RBENV_ROOT", ".rbenv", nil),
    ("ASDF_DATA_DIR", ".asdf", nil), ("MISE_DATA_DIR", ".local/share/mise", nil), ("VOLTA_HOME", ".volta", nil),
    ("SDKMAN_DIR", ".sdkman", nil), ("NVM_DIR", ".nvm", nil),
  ]

  private let caller: Caller
  /// Shown in any case.
  private let visible: [String]
  private let writable: [String]
  private let ownFolders: [String]
  private var entriesLeft = ToolFolders.entriesMax
  /// Folders of PATH that are not shown.
  private var left: [String] = []

  /// `visible` and `writable` are real paths that the sandbox sees already; links in writable ones are not followed.
  package init(
    _ caller: Caller, visible: [String], writable: [String], ownFolders: [String] = ToolFolders.ownFolders
  ) {
    (self.caller, self.visible, self.writable, self.ownFolders) = (caller, visible, writable, ownFolders)
    for entry in caller.path.split(separator: ":").map(String.init) where entry.hasPrefix("/") { add(entry: entry) }
    for folder in SandboxEnvironment.systemPrograms where !path.contains(folder) { path.append(folder) }
    setVariables()
  }

  private mutating func add(entry: String) {
    guard case .real(let folder) = TrustedPath.resolve(entry, writable: writable), HostFile.kind(folder) == .folder
    else {
      return
    }
    if Self.systemFolders.contains(where: { folder.isAtOrBelow($0) }) {
      if !path.contains(entry) { path.append(entry) }
      return
    }
    let isVisible = visible.contains { folder.isAtOrBelow($0) }
    let holdsHome = caller.home.map { $0.isAtOrBelow(folder) } ?? false
    let isOwn = ownFolders.contains { folder.isAtOrBelow($0) } || Self.shared.contains(folder) || holdsHome
    guard isVisible || !isOwn && caller.mayRead(folder) else {
      left.append(folder)
      return
    }
    if !path.contains(folder) { path.append(folder) }
    if !isVisible { add(programs: folder) }
  }

  private func isSeen(_ path: String) -> Bool {
    (Self.systemFolders + visible + shown).contains { path.isAtOrBelow($0) }
  }

  private mutating func show(_ path: String) {
    guard !isSeen(path), shown.count < Self.shownMax, caller.mayRead(path) else { return }
    if let home = caller.home, home.isAtOrBelow(path) { return }
    shown.removeAll { $0.isBelow(path) }
    shown.append(path)
  }

  /// A folder of programs, what stands beside it, and what its links and scripts lead to.
  private mutating func add(programs folder: String) {
    guard !shown.contains(folder) else { return }
    let prefix = folder.parentFolder
    if Self.isInstallation(prefix), prefix != caller.home {
      show(prefix)
    } else {
      show(folder)
      if Self.programFolders.contains(folder.lastPart) { addSiblings(prefix) }
    }
    for entry in HostFile.list(folder) {
      guard entriesLeft > 0 else { return }
      entriesLeft -= 1
      let whole = "\(folder)/\(entry.name)"
      if entry.kind == .link, let target = HostFile.realPath(whole) { add(target: target) }
      if entry.kind == .file, let interpreter = Self.interpreter(whole) { add(interpreter: interpreter) }
    }
  }

  private mutating func addSiblings(_ prefix: String) {
    guard let home = caller.home, prefix != home else { return }
    for name in Self.siblings {
      // ~/.local/share holds keys of other programs.
      if name == "share", prefix == "\(home)/.local" { continue }
      let path = "\(prefix)/\(name)"
      if let real = HostFile.realPath(path), real.isAtOrBelow(prefix) { show(real) }
    }
  }

  /// A virtual environment of Python, or one of conda.
  private static func isInstallation(_ prefix: String) -> Bool {
    HostFile.kind("\(prefix)/pyvenv.cfg") == .file || HostFile.kind("\(prefix)/conda-meta") == .folder
  }

  /// The target of a link in a folder of programs.
  private mutating func add(target: String) {
    guard !isSeen(target) else { return }
    let parent = target.parentFolder
    if Self.programFolders.contains(parent.lastPart) { return add(programs: parent) }
    var folder = parent
    var modules: String?
    while folder != "/" {
      if folder.lastPart == "node_modules" { modules = folder }
      folder = folder.parentFolder
    }
    show(modules ?? target)
  }

  /// The interpreter's own links lead on: that of a virtual environment to the one that made it.
  private mutating func add(interpreter: String) {
    guard !isSeen(interpreter) || HostFile.kind(interpreter) == .link else { return }
    let folder = interpreter.parentFolder
    if !isSeen(folder), let real = HostFile.realPath(folder), real == folder { add(programs: folder) }
    if let target = HostFile.realPath(interpreter) { add(target: target) }
  }

  /// Of a script, the program in its first line.
  private static func interpreter(_ path: String) -> String? {
    guard let start = HostFile.start(of: path, bytes: 256), start.starts(with: "#!".utf8) else { return nil }
    let line = start.dropFirst(2).prefix { $0 != UInt8(ascii: "\n") }
    let word = line.drop { $0 == 0x20 }.prefix { $0 != 0x20 && $0 != 0x0d }
    return word.first == UInt8(ascii: "/") ? String(decoding: word, as: UTF8.self) : nil
  }

  private mutating func setVariables() {
    guard let home = caller.home else { return }
    for root in Self.roots {
      guard let folder = HostFile.realPath(caller.variable(root.variable) ?? "\(home)/\(root.folder)") else { continue }
      if let program = root.program {
        guard path.contains(where: { $0.isBelow(home) && HostFile.kind("\($0)/\(program)") != .missing }) else {
          continue
        }
        for part in ["toolchains", "settings.toml"] {
          if let real = HostFile.realPath("\(folder)/\(part)"), real.isAtOrBelow(folder) { show(real) }
        }
      }
      if shown.contains(where: { $0.isAtOrBelow(folder) }) { variables.append((root.variable, folder)) }
    }
  }

  // MARK: - What is missing

  /// Where the command is outside, and why it is not seen inside; nil where it is seen, or is nowhere.
  package func hint(on command: String) -> String? {
    if command.hasPrefix("/") {
      guard let real = HostFile.realPath(command), HostFile.kind(real) == .file, !isSeen(real) else { return nil }
      return "it is there outside, and its folder is not shown; add --read-only \(real.parentFolder)"
    }
    guard !command.utf8.contains(UInt8(ascii: "/")) else { return nil }
    for folder in left {
      let whole = "\(folder)/\(command)"
      guard HostFile.kind(whole) != .missing else { continue }
      return caller.mayRead(folder)
        ? "it is \(whole) outside, where the sandbox has a folder of its own; put it elsewhere, or add --bind "
          + "\(folder):/opt/programs:ro"
        : "it is \(whole) outside, which the user that the command runs as may not read; make it readable, or install "
          + "it for all"
    }
    for folder in path {
      let whole = "\(folder)/\(command)"
      guard HostFile.kind(whole) == .link, let target = HostFile.realPath(whole), !isSeen(target) else { continue }
      return "\(whole) is a link to \(target), which is not shown; add --read-only \(target.parentFolder)"
    }
    return nil
  }
}
