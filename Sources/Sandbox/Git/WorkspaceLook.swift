// What programs outside obey in the places that a command may write: at one moment, before it starts or after it ended.
// It relies on FolderWalk, GitSettings and Repository, which only read. Two looks are compared by Findings.
import Kernel

package struct WorkspaceLook: Sendable {
  /// What the user's own git obeys everywhere, and what it means by `~`.
  package struct Caller: Sendable {
    let configurations: [String]
    package let home: String?

    package init(home: String?, configFolder: String?, global: String?) {
      self.home = home
      let folder = configFolder ?? home.map { "\($0)/.config" }
      let own =
        global.map { [$0] } ?? [folder.map { "\($0)/git/config" }, home.map { "\($0)/.gitconfig" }].compactMap { $0 }
      configurations = ["/etc/gitconfig"] + own
    }
  }

  /// A configuration for the sandbox that says who commits, as the caller's says it; nil where that says nothing.
  package static func identity(of caller: Caller) -> String? {
    var lines: [String] = []
    let settings = caller.configurations.flatMap {
      GitConfigText(HostFile.read($0, bytesMax: textBytesMax) ?? []).entries
    }
    for key in ["name", "email"] {
      guard let value = settings.last(where: { $0.section == "user" && $0.subsection == nil && $0.key == key })?.value
      else { continue }
      let quoted = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: " ")
      lines.append("\t\(key) = \"\(quoted)\"\n")
    }
    return lines.isEmpty ? nil : "[user]\n\(lines.joined())"
  }

  package enum Obeyed: Equatable, Sendable {
    case path(ProtectedPath)
    /// A link cannot be kept from being replaced.
    case link(String)
  }

  static let attributesName = ".gitattributes"
  static let modulesName = ".gitmodules"
  private static let topsMax = 16
  private static let textBytesMax = 256 << 10

  let walk: FolderWalk
  let repositories: [Repository]
  /// `filter NAME` and the like, for which some configuration sets a program.
  private(set) var drivers: Set<String> = []
  /// Paths with what is put where they are missing.
  private(set) var wanted: [(path: String, missing: ProtectedPath.Placeholder?)] = []

  package init(_ roots: [String], caller: Caller) {
    walk = FolderWalk(roots, names: Set(ProtectedPath.names + [Self.attributesName, Self.modulesName]))
    let above = roots.compactMap { FolderWalk.above($0) }
    repositories = walk.repositories + above
    for repository in repositories { add(repository, caller) }
    for path in walk.found where ProtectedPath.names.contains(path.lastPart) { wanted.append((path, nil)) }
    // Of more repositories, what is made is told at the end.
    let tops = walk.repositories.compactMap(\.worktree).prefix(Self.topsMax)
    for top in Set(roots + tops) where HostFile.kind(top) == .folder {
      for name in ProtectedPath.names { wanted.append(("\(top)/\(name)", .folder)) }
    }
  }

  /// Where a bound was reached: repositories below were not seen.
  package var cut: String? { walk.cut }

  private mutating func add(_ repository: Repository, _ caller: Caller) {
    wanted += repository.fixed
    let settings = GitSettings(
      shared: caller.configurations, own: repository.configurations, top: repository.worktree,
      folder: repository.folder, home: caller.home)
    drivers.formUnion(settings.drivers)
    let known = Set(repository.configurations)
    wanted += settings.files.filter { !known.contains($0) }.map { ($0, .file("")) }
    wanted += settings.hooks.map { ($0, .folder) }
    wanted += settings.named.map { ($0, .folder) }
    for folder in ["\(repository.common)/hooks"] + settings.hooks {
      wanted += Self.programs(inHooks: folder, top: settings.worktree ?? repository.worktree).map { ($0, nil) }
    }
  }

  /// Files that a hook names, as the manager of hooks does with its list of programs.
  private static func programs(inHooks folder: String, top: String?) -> [String] {
    guard let top else { return [] }
    return HostFile.list(folder).filter { $0.kind == .file && !$0.name.hasSuffix(".sample") }.flatMap { entry in
      let words = HostFile.readText("\(folder)/\(entry.name)", bytesMax: textBytesMax)?.shellWords ?? []
      return words.filter { $0.hasPrefix(".") || $0.utf8.contains(UInt8(ascii: "/")) }
        .map { $0.whole(in: top, home: nil) }.filter { HostFile.kind($0) == .file }
    }
  }

  /// In writable `roots`. Each path once, and a folder for all in it.
  package func obeyed(in roots: [String]) -> [Obeyed] {
    var seen: Set<String> = []
    var all: [Obeyed] = walk.linked.map { .link($0) }
    for (path, missing) in wanted {
      guard seen.insert(path).inserted, let root = roots.first(where: { path.isBelow($0) }) else { continue }
      switch ProtectedPath.look(up: path.below(root), in: root, missing: missing) {
      case .path(let one): if !all.contains(.path(one)) { all.append(.path(one)) }
      case .link(let link): all.append(.link(link))
      case .missing: continue
      }
    }
    return all
  }

  /// Of a linked worktree, the folder of the repository that it is a part of. That one has to name the worktree, too:
  /// the file in the worktree could be the work of an earlier run.
  package static func mainRepository(of workspace: String) -> String? {
    let entry = "\(workspace)/.git"
    guard HostFile.kind(entry) == .file, let own = Repository(entry: entry, worktree: workspace),
      own.common != own.folder,
      own.folder.isBelow("\(own.common)/worktrees"), !own.common.isAtOrBelow(workspace),
      let named = HostFile.readText("\(own.folder)/gitdir", bytesMax: 4096)?.trimmed,
      HostFile.realPath(named.parentFolder) == workspace, named.lastPart == ".git"
    else { return nil }
    return own.common
  }

  /// Of the repositories, the configurations that are there, in writable `roots`.
  package func configurations(in roots: [String]) -> [String] {
    var all: [String] = []
    for path in repositories.flatMap(\.configurations) where !all.contains(path) && !HostFile.isPlaceholder(path) {
      if HostFile.kind(path) == .file, roots.contains(where: { path.isBelow($0) }) { all.append(path) }
    }
    return all
  }

  // MARK: - For the comparison

  /// Of each path that git obeys, its stamp; of folders, those of their entries too.
  var stamps: [String: HostFile.Stamp] {
    var stamps: [String: HostFile.Stamp] = [:]
    // Editors write into their folders all the time.
    for (path, _) in wanted where !HostFile.isPlaceholder(path) && !ProtectedPath.names.contains(path.lastPart) {
      let kind = HostFile.kind(path)
      guard kind == .file || kind == .folder || kind == .link else { continue }
      if kind != .folder { stamps[path] = HostFile.stamp(path) }
      if kind == .folder {
        for entry in HostFile.list(path) { stamps["\(path)/\(entry.name)"] = HostFile.stamp("\(path)/\(entry.name)") }
      }
    }
    return stamps
  }

  /// Files of submodules and of attributes, with what they say.
  var texts: [String: [UInt8]] {
    var texts: [String: [UInt8]] = [:]
    for path in walk.found where [Self.attributesName, Self.modulesName].contains(path.lastPart) {
      texts[path] = HostFile.read(path, bytesMax: Self.textBytesMax) ?? []
    }
    return texts
  }

  /// `filter NAME`, `diff NAME`, `merge NAME` that a file of attributes asks for (gitattributes(5)).
  static func drivers(inAttributes bytes: [UInt8]) -> Set<String> {
    var drivers: Set<String> = []
    for line in bytes.split(separator: UInt8(ascii: "\n")) where line.first != UInt8(ascii: "#") {
      for word in line.split(whereSeparator: { $0 == 32 || $0 == 9 || $0 == 13 }) {
        let parts = word.split(separator: UInt8(ascii: "="), maxSplits: 1)
        guard parts.count == 2 else { continue }
        let kind = String(decoding: parts[0], as: UTF8.self)
        if ["filter", "diff", "merge"].contains(kind) {
          drivers.insert("\(kind) \(String(decoding: parts[1], as: UTF8.self))")
        }
      }
    }
    return drivers
  }

  var unfinished: Set<String> {
    Set(
      repositories.flatMap { one in Repository.unfinished.map { "\(one.folder)/\($0)" } }.filter {
        HostFile.kind($0) == .folder
      })
  }
}
