// The folders below one, looked through once within bounds: repositories of git, and files by their names.
// It relies on reading folders alone, without following a link: their contents may be an attacker's.

package struct FolderWalk: Sendable {
  /// Entries of folders in all, and how deep.
  static let entriesMax = 100_000
  static let depthMax = 24

  private(set) var repositories: [Repository] = []
  /// Every path that ends in one of the names that were asked for.
  private(set) var found: [String] = []
  /// Where a bound was reached: what lies deeper was not seen.
  package private(set) var cut: String?
  /// Where `.git` is a link.
  private(set) var linked: [String] = []

  private let names: Set<String>
  private var entriesLeft = FolderWalk.entriesMax

  init(_ roots: [String], names: Set<String>) {
    self.names = names
    var waiting = roots.map { (path: $0, depth: 0) }[...]
    // The nearest first: where a bound is reached, it is the deepest that are not seen.
    while let next = waiting.popFirst() {
      guard entriesLeft > 0, next.depth <= Self.depthMax else {
        if cut == nil { cut = next.path }
        continue
      }
      for folder in look(into: next.path) { waiting.append((folder, next.depth + 1)) }
    }
  }

  /// Which folders in it are to be looked at.
  private mutating func look(into path: String) -> [String] {
    let entries = HostFile.list(path)
    entriesLeft -= entries.count + 1
    let all = Set(entries.map(\.name))
    if Repository.isRepository(names: all) {
      if let bare = Repository(entry: path, worktree: nil) { add(bare) }
      return []
    }
    var folders: [String] = []
    for entry in entries {
      let whole = "\(path)/\(entry.name)"
      if entry.name == ".git" {
        if entry.kind == .link { linked.append(whole) }
        if let repository = Repository(entry: whole, worktree: path) { add(repository) }
      } else if entry.kind == .folder {
        folders.append(whole)
      }
      if names.contains(entry.name), !HostFile.isPlaceholder(whole) { found.append(whole) }
    }
    return folders
  }

  private mutating func add(_ repository: Repository) {
    guard !repositories.contains(where: { $0.entry == repository.entry }) else { return }
    repositories.append(repository)
    addModules(of: "\(repository.common)/modules", depth: 0)
    for entry in HostFile.list("\(repository.common)/worktrees") where entry.kind == .folder {
      let own = "\(repository.common)/worktrees/\(entry.name)"
      if let tree = Repository(entry: own, worktree: nil), tree.common != tree.folder { add(tree) }
    }
  }

  /// Repositories of submodules; their names may have folders of their own.
  private mutating func addModules(of path: String, depth: Int) {
    guard depth < Self.depthMax, entriesLeft > 0 else { return }
    let entries = HostFile.list(path)
    entriesLeft -= entries.count
    if Repository.isRepository(names: Set(entries.map(\.name))) {
      if let module = Repository(entry: path, worktree: nil) { add(module) }
    } else {
      for entry in entries where entry.kind == .folder { addModules(of: "\(path)/\(entry.name)", depth: depth + 1) }
    }
  }
}

extension FolderWalk {
  /// The repository that `folder` is a part of, when its `.git` lies above.
  static func above(_ folder: String) -> Repository? {
    var path = folder
    while path != "/" {
      path = path.parentFolder
      let entry = path == "/" ? "/.git" : "\(path)/.git"
      if HostFile.kind(entry) != .missing { return Repository(entry: entry, worktree: path) }
    }
    return nil
  }
}
