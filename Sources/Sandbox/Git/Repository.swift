// One repository of git as it lies on the disk: its folder, the one that it shares with others, its worktree.
// It relies on reading alone. What git obeys in it comes out as paths; nothing here decides what is done with them.

package struct Repository: Equatable, Sendable {
  /// `.git`, where it is a file that leads elsewhere, or a folder.
  package let entry: String
  /// The repository's own folder: HEAD, index, configuration of the worktree.
  let folder: String
  /// Objects, refs, hooks, configuration: of a linked worktree, those of the main one.
  let common: String
  /// nil of a bare one.
  let worktree: String?

  /// `entry` is `.git` of `worktree`, or the folder of a bare one.
  init?(entry: String, worktree: String?) {
    self.entry = entry
    switch HostFile.kind(entry) {
    case .folder: folder = entry
    case .file:
      guard let text = HostFile.readText(entry, bytesMax: 4096), text.hasPrefix("gitdir:") else { return nil }
      let path = String(text.dropFirst("gitdir:".count)).trimmed
      guard let real = HostFile.realPath(path.whole(in: entry.parentFolder, home: nil)) else { return nil }
      folder = real
    default: return nil
    }
    common = Self.common(of: folder)
    self.worktree = worktree
  }

  /// A placeholder that an earlier version left says `.`, which is the folder itself.
  private static func common(of folder: String) -> String {
    guard !HostFile.isPlaceholder("\(folder)/commondir"),
      let text = HostFile.readText("\(folder)/commondir", bytesMax: 4096)
    else { return folder }
    return HostFile.realPath(text.trimmed.whole(in: folder, home: nil)) ?? folder
  }

  /// True for a folder that has all that git asks for (setup.c, is_git_directory).
  static func isRepository(names: Set<String>) -> Bool {
    names.contains("HEAD") && names.contains("objects") && names.contains("refs")
  }

  /// What git reads as its configuration in here, beside the user's own.
  var configurations: [String] {
    common == folder
      ? ["\(folder)/config", "\(folder)/config.worktree"]
      : ["\(common)/config", "\(common)/config.worktree", "\(folder)/config.worktree"]
  }

  /// What stays as it is, and what is put where it is missing. What a placeholder says is what holds without it.
  var fixed: [(path: String, missing: ProtectedPath.Placeholder?)] {
    var fixed: [(String, ProtectedPath.Placeholder?)] = [
      ("\(common)/hooks", .folder), ("\(common)/info/attributes", .file("")),
    ]
    fixed += configurations.map { ($0, .file("")) }
    // libgit2 takes `./` for what it is, and `.` for no repository.
    if common == folder {
      fixed.append(("\(folder)/commondir", .file("./\n")))
    } else {
      fixed += [("\(folder)/commondir", nil), ("\(folder)/gitdir", nil)]
    }
    if entry != folder { fixed.append((entry, nil)) }
    return fixed
  }

  /// A rebase that is under way: its list can hold programs to run, which the next `git rebase --continue` runs.
  static let unfinished = ["rebase-merge", "rebase-apply"]
}

extension String {
  var trimmed: String {
    let blanks = Set(" \t\r\n".utf8)
    let bytes = Array(utf8)
    guard let first = bytes.firstIndex(where: { !blanks.contains($0) }),
      let last = bytes.lastIndex(where: { !blanks.contains($0) })
    else { return "" }
    return String(decoding: bytes[first...last], as: UTF8.self)
  }
}
