// The paths that a sandbox sees: those of the policy's `filesystem_policy` and those of the options, looked up on this
// host. It relies on Sandbox.TrustedPath: a link that an earlier run may have left in a writable place shows nothing.
import Gate
import Kernel
import Policy
import Sandbox

struct SandboxPaths {
  let workspace: String
  let mode: WorkspaceMode
  private(set) var readOnly: [String] = []
  private(set) var readWrite: [String] = []
  private(set) var hidden: [String] = []
  private(set) var protected: [ProtectedPath] = []
  /// Links in the place of what would be protected.
  private var unprotectable: [String] = []
  private(set) var home: Home
  /// Files that programs outside obey there, before the command starts.
  let look: WorkspaceLook
  let caller = WorkspaceLook.Caller(
    home: SandboxPaths.callersHome, configFolder: Environment.value("XDG_CONFIG_HOME"),
    global: Environment.value("GIT_CONFIG_GLOBAL"))

  /// One path as it was asked for.
  private struct Wish {
    let path: String
    /// Origin of the path: an option, or a place in the policy.
    let from: String
    /// A relative one is in this folder.
    let folder: String

    var whole: String { path.hasPrefix("/") ? path : "\(folder)/\(path)" }
    func failure(_ text: String) -> LaunchFailure { LaunchFailure("\(from) \(path): \(text)") }
  }

  init(_ options: Run, _ files: Settings.Files) throws(LaunchFailure) {
    let (workspace, here) = (try Self.workspace(options, files), HostFile.realPath(".") ?? "/")
    func wishes(_ entries: [Settings.Files.Entry], _ key: String) -> [Wish] {
      entries.map { Wish(path: $0.path, from: "\($0.line): \(key)", folder: workspace) }
    }
    self.workspace = workspace
    mode = options.workspaceMode ?? files.workspaceMode
    let writable =
      wishes(files.readWrite, "read_write")
      + options.readWrite.map { Wish(path: $0, from: "--read-write", folder: here) }
    let readable =
      wishes(files.readOnly, "read_only") + options.readOnly.map { Wish(path: $0, from: "--read-only", folder: here) }
    let places = [workspace] + writable.compactMap { HostFile.realPath($0.whole) }
    for wish in writable { Self.add(try Self.shown(wish, places, isWritable: true), to: &readWrite) }
    for wish in readable {
      let path = try Self.shown(wish, places, isWritable: false)
      if path == workspace { throw wish.failure("this is the workspace, which is writable") }
      if readWrite.contains(path) { throw wish.failure("it is also listed as read-write; keep one") }
      Self.add(path, to: &readOnly)
    }
    readWrite.removeAll { $0 == workspace }
    if let common = WorkspaceLook.mainRepository(of: workspace), !readWrite.contains(where: { common.isAtOrBelow($0) })
    {
      readWrite.append(common)
    }
    home = .temporary(bytes: 0)
    look = WorkspaceLook([workspace] + readWrite, caller: caller)
    home = try home(files.home.store, places)
    for wish in wishes(files.hidden, "hidden") { try hide(wish, places) }
    try protect(files.protected.map { wishes($0, "protected") })
    try release(options.unprotect.map { Wish(path: $0, from: "--unprotect", folder: workspace) })
    try protect(policy: options.policy)
  }

  private static func add(_ path: String, to list: inout [String]) { if !list.contains(path) { list.append(path) } }

  private var shown: [String] { [workspace] + readOnly + readWrite }

  /// Folders that the command may write, under their own names.
  var writable: [String] { [workspace] + readWrite }

  // MARK: - The workspace

  private static let systemFolders = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run",
    "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/tmp",
  ]
  private static let systemTrees = ["/proc/", "/sys/", "/dev/", "/etc/", "/usr/bin/", "/usr/lib/", "/usr/sbin/"]

  private static func workspace(_ options: Run, _ files: Settings.Files) throws(LaunchFailure) -> String {
    let isNamed = options.workspace != nil || files.workspace != nil
    let named = options.workspace ?? files.workspace?.path ?? "."
    guard let path = HostFile.realPath(named), HostFile.kind(path) == .folder else {
      let from = options.workspace == nil ? files.workspace.map { "\($0.line): workspace" } : nil
      throw LaunchFailure("\(from ?? "--workspace") \(named): no such folder")
    }
    let place = "the workspace \(path)"
    if systemFolders.contains(path) || systemTrees.contains(where: { path.hasPrefix($0) }) {
      throw LaunchFailure("\(place) is a system folder; name a folder of your own with --workspace DIR")
    }
    if let home = callersHome, home.isAtOrBelow(path) {
      guard isNamed else {
        throw LaunchFailure(
          "\(place) holds your home, with its keys and settings; go to a folder below it, or name one with --workspace DIR"
        )
      }
      Messages.warn("\(place) holds your home, with its keys and settings, and the command can read and write it")
    }
    return path
  }

  private static var callersHome: String? { Environment.value("HOME").flatMap { HostFile.realPath($0) } }

  // MARK: - Further paths

  private static func real(_ wish: Wish, _ places: [String]) throws(LaunchFailure) -> String? {
    switch TrustedPath.resolve(wish.whole, writable: places) {
    case .real(let path): return path
    case .missing: return nil
    case .planted(let link):
      throw wish.failure(
        "\(link) is a symbolic link that the command of an earlier run could have made; name its target instead")
    }
  }

  /// Absolute, and of a kind that may be shown at its own path.
  private static func shown(_ wish: Wish, _ places: [String], isWritable: Bool) throws(LaunchFailure) -> String {
    guard let path = try real(wish, places) else { throw wish.failure("no such file or folder") }
    if path == "/" || systemTrees.contains(where: { path.hasPrefix($0) }) && isWritable
      || ["/proc", "/sys", "/dev", "/etc"].contains(path)
    {
      throw wish.failure("\(path): the sandbox has its own; name something inside it")
    }
    return path
  }

  /// A home that Sluice keeps is made later, for the user that the command runs as.
  private func home(_ wanted: HomeSettings.Store, _ places: [String]) throws(LaunchFailure) -> Home {
    let entry: Settings.Files.Entry
    switch wanted {
    case .temporary(let bytes): return .temporary(bytes: bytes)
    case .persistent: return .temporary(bytes: 0)
    case .folder(let folder): entry = folder
    }
    let wish = Wish(path: entry.path, from: "\(entry.line): home", folder: workspace)
    let path = try Self.shown(wish, places, isWritable: true)
    guard HostFile.kind(path) == .folder, !Self.systemFolders.contains(path) else {
      throw wish.failure("name a folder for this purpose only")
    }
    // A path that is protected or hidden under its own name could be reached under the home's.
    if let other = shown.first(where: { path.isAtOrBelow($0) || $0.isBelow(path) }) {
      throw wish.failure("\(other) is shown under its own path, and lies in it or holds it; name a folder elsewhere")
    }
    if let home = Self.callersHome, home.isAtOrBelow(path) {
      throw wish.failure("it holds your own home, with its keys and settings; name a folder for this purpose only")
    }
    return .folder(path)
  }

  // MARK: - Hidden and protected

  private static let ownPlaces = ["/proc", "/sys", "/dev", "/tmp", "/run", "/var/tmp", SandboxPlan.home]

  private mutating func hide(_ wish: Wish, _ places: [String]) throws(LaunchFailure) {
    guard let path = try Self.real(wish, places) else {
      Messages.warn(
        "\(wish.from) \(wish.path): there is no such file or folder; what the command makes there is not hidden")
      return
    }
    if let other = shown.first(where: { $0.isAtOrBelow(path) }) {
      throw wish.failure("\(other) is visible, and would be hidden too; name the paths inside it to hide")
    }
    let isOwn = Self.systemFolders.contains(path) || Self.ownPlaces.contains { path.isAtOrBelow($0) }
    if isOwn, !shown.contains(where: { path.isBelow($0) }) {
      throw wish.failure("\(path): the sandbox has its own; name a path of the host")
    }
    if let home = home.folders.first(where: { path.isAtOrBelow($0) || $0.isBelow(path) }) {
      throw wish.failure("the home \(home) is visible as a whole; keep in it only what the command may see")
    }
    Self.add(path, to: &hidden)
  }

  /// Paths that the policy protects; else those that programs outside obey.
  private mutating func protect(_ wishes: [Wish]?) throws(LaunchFailure) {
    guard let wishes else {
      for one in look.obeyed(in: mode == .readOnly ? readWrite : writable) {
        switch one {
        case .path(let path): protected.append(path)
        case .link(let link): unprotectable.append(link)
        }
      }
      if let cut = look.cut {
        Messages.warn(
          "the folders that the command may write hold more than was looked through: repositories and settings in \(cut) and "
            + "what lies as deep are not protected; name a smaller --workspace")
      }
      return
    }
    for wish in wishes {
      switch ProtectedPath.look(up: wish.path, in: workspace, missing: nil) {
      case .path(let path): if !protected.contains(path) { protected.append(path) }
      case .link(let link): throw wish.failure(Self.linkText(link))
      case .missing:
        Messages.warn("\(wish.from) \(wish.path): there is no such file or folder; the command can make it")
      }
    }
  }

  private static func linkText(_ link: String) -> String {
    "\(link) is a symbolic link: what it leads to cannot be protected; name the folder that it is really in as the "
      + "workspace, or leave it out of `protected`"
  }

  /// Paths that the caller lets the command write all the same.
  private mutating func release(_ wishes: [Wish]) throws(LaunchFailure) {
    for wish in wishes {
      let path = wish.whole.hasSuffix("/") ? String(wish.whole.dropLast()) : wish.whole
      let count = protected.count + unprotectable.count
      protected.removeAll { $0.path.isAtOrBelow(path) }
      unprotectable.removeAll { $0.isAtOrBelow(path) }
      if protected.count + unprotectable.count == count {
        throw wish.failure("no protected path has this name; `sluice run --print-plan` lists them")
      }
    }
    if let link = unprotectable.first {
      throw LaunchFailure(
        "\(link) is a symbolic link, and programs outside obey what it leads to: it cannot be kept from being replaced; put "
          + "the file itself there, or give --unprotect \(link)")
    }
  }

  /// A policy that the command could write would be its own next time.
  private mutating func protect(policy: String?) throws(LaunchFailure) {
    guard let policy else { return }
    let here = HostFile.realPath(".") ?? "/"
    let whole = policy.hasPrefix("/") ? policy : "\(here)/\(policy)"
    let path: String
    switch TrustedPath.resolve(whole, writable: writable + home.folders) {
    case .real(let real): path = real
    case .planted(let link):
      throw LaunchFailure(
        "--policy \(policy): \(link) is a symbolic link where the command can write, so it could name another policy for the "
          + "next run; name what it leads to")
    case .missing: return
    }
    if readWrite.contains(path) || home.folders.contains(where: { path.isBelow($0) }) {
      throw LaunchFailure(
        "--policy \(policy): the command could write it; move it out of the folders that the command may write")
    }
    guard writable.contains(where: { path.isBelow($0) }) else { return }
    protected.append(ProtectedPath(path))
  }
}
