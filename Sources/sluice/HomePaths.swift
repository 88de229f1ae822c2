// The home of a sandbox, looked up on this host: where it is kept, where it stands inside, what of the caller's home is
// in it. Relies on Sandbox.TrustedPath for links that an earlier run may have left.
import Gate
import Kernel
import Policy
import Sandbox

struct HomePaths {
  let store: Home
  /// Inside.
  let path: String
  private(set) var mounts: [SharedMount] = []
  private(set) var seeds: [HomeSeed] = []
  /// Files whose bytes are in the seeds.
  private(set) var copied: [String] = []

  private let user: SandboxUser
  private let writable: [String]
  private let callersHome: String?

  private static let copiedFilesMax = 512
  private static let copiedBytesMax = 8 << 20

  /// `files` are settings of tools that a registry's answer names.
  init(
    _ wanted: HomeSettings, makes: Bool, at option: String?, folder: Home, around: Around, user: SandboxUser,
    files: [String]
  ) throws(LaunchFailure) {
    (self.user, writable, callersHome) = (user, around.writable + folder.folders, around.callersHome)
    path = try Self.place(option, wanted.place, around)
    if case .persistent(let name) = wanted.store {
      store = .folder(try KeptFolders(user: user, makes: makes).folder("homes/\(name)"))
    } else {
      store = folder
    }
    for entry in wanted.readOnly { try show(entry) }
    for file in files { try show(Settings.Files.Entry(file, line: SourceLine(file: "profile:", line: 0))) }
    for entry in wanted.copied { try copy(entry) }
    for cache in wanted.caches {
      for folder in cache.folders {
        let part = cache.folders.count > 1 ? "/\(folder)" : ""
        let source = try KeptFolders(user: user, makes: makes).folder("caches/\(cache.name)\(part)")
        mounts.append(SharedMount(source, at: "\(path)/\(folder)", .writable))
      }
    }
  }

  /// Other paths that the sandbox sees.
  struct Around {
    let writable: [String]
    let readOnly: [String]
    let callersHome: String?
  }

  /// `caller`, a whole path, or the sandbox's own place.
  private static func place(
    _ option: String?, _ wanted: HomeSettings.Place, _ around: Around
  ) throws(LaunchFailure) -> String {
    let place: String
    switch (option, wanted) {
    case ("caller"?, _), (nil, .caller):
      guard let home = around.callersHome else {
        throw LaunchFailure("the home has the path of yours, but HOME is not set; set HOME, or name a path")
      }
      place = home
    case (let path?, _), (nil, .path(let path)): place = path
    case (nil, .own): return SandboxPlan.home
    }
    // The workspace may lie in it, and may be it.
    if let other = (around.writable + around.readOnly).first(where: { place.isBelow($0) }) {
      throw LaunchFailure("the home cannot stand at \(place), in \(other), which is shown; name another place")
    }
    return place
  }

  private enum Found {
    case path(String)
    case missing
  }

  private func find(_ entry: Settings.Files.Entry) throws(LaunchFailure) -> Found {
    guard let callersHome else { return .missing }
    switch TrustedPath.resolve("\(callersHome)/\(entry.path)", writable: writable) {
    case .real(let path):
      if path == callersHome || callersHome.isBelow(path) {
        throw LaunchFailure(
          "\(entry.line): \(entry.path) leads to \(path), which holds your whole home; name a part of it")
      }
      if HostFile.mayRead(path, as: user) { return .path(path) }
      if !isOptional(entry) {
        Messages.warn("\(entry.line): ~/\(entry.path) cannot be read by user \(user.uid), whom the command runs as")
      }
      return .missing
    case .planted(let link):
      throw LaunchFailure(
        "\(entry.line): \(link) is a symbolic link that the command of an earlier run could have made; "
          + "name what it leads to")
    case .missing:
      if !isOptional(entry) {
        Messages.warn("\(entry.line): there is no ~/\(entry.path); the command starts without it")
      }
      return .missing
    }
  }

  /// A profile names what the tool may have.
  private func isOptional(_ entry: Settings.Files.Entry) -> Bool { entry.line.file.hasPrefix("profile:") }

  private mutating func show(_ entry: Settings.Files.Entry) throws(LaunchFailure) {
    guard case .path(let source) = try find(entry) else { return }
    mounts.append(SharedMount(source, at: "\(path)/\(entry.path)", .readOnly))
  }

  private mutating func copy(_ entry: Settings.Files.Entry) throws(LaunchFailure) {
    guard case .path(let source) = try find(entry) else { return }
    var waiting = [(source: source, path: "\(path)/\(entry.path)")]
    var bytesLeft = Self.copiedBytesMax
    while let next = waiting.popLast() {
      switch HostFile.kind(next.source) {
      case .folder:
        for one in HostFile.list(next.source) where one.kind == .folder || one.kind == .file {
          waiting.append(("\(next.source)/\(one.name)", "\(next.path)/\(one.name)"))
        }
      case .file:
        guard let bytes = FileBytes.read(next.source, bytesMax: bytesLeft), seeds.count < Self.copiedFilesMax else {
          throw LaunchFailure(
            "\(entry.line): ~/\(entry.path) is more than is copied (512 files, 8 MiB), or cannot be read; "
              + "show it with `read_only`, or name less")
        }
        bytesLeft -= bytes.count
        seeds.append(HomeSeed(next.path, bytes, isProgram: (NewFile.mode(next.source) ?? 0) & 0o100 != 0))
        copied.append(next.source)
      default: continue
      }
    }
  }
}

/// Folders that Sluice keeps between runs, for the command's user.
struct KeptFolders {
  let user: SandboxUser
  /// A plan that is only printed makes nothing.
  var makes = true

  /// Of root's sandboxes, where their users may go.
  private var base: String? {
    if user.isOther { return "/var/lib/sluice" }
    return Environment.baseFolder("XDG_DATA_HOME", belowHome: ".local/share").map { "\($0)/sluice" }
  }

  /// Made where it is not there.
  func folder(_ name: String) throws(LaunchFailure) -> String {
    guard let base else { throw LaunchFailure("HOME is not set, so there is no folder for \(name); set HOME") }
    let whole = "\(base)/\(name)"
    guard makes else { return whole }
    var made = ""
    for part in whole.split(separator: "/").dropLast() {
      made += "/\(part)"
      if HostFile.kind(made) == .missing, !HostFile.makeFolder(made, mode: user.isOther ? 0o711 : 0o700) {
        throw LaunchFailure("cannot make \(made), in which \(name) is kept")
      }
    }
    if HostFile.kind(whole) == .missing { _ = HostFile.makeFolder(whole, of: user) }
    let owner = HostFile.owner(whole)
    guard owner.kind == .folder else { throw LaunchFailure("cannot make \(whole), in which \(name) is kept") }
    guard owner.uid == user.onDisk.uid else {
      throw LaunchFailure(
        "\(whole) is kept for user \(owner.uid), and the command runs as user \(user.uid); "
          + "give --user \(owner.uid), or use another name")
    }
    return HostFile.realPath(whole) ?? whole
  }
}
