// The configuration that git obeys in one repository: the files that it stands in, and the files that its values name.
// It relies on reading alone: git is not asked, which may be missing, and is a program that this very file steers. Each
// include counts, whatever its condition says: a branch that is switched to inside must not make another file count.

struct GitSettings {
  /// Of the configuration itself, with those that are named and are not there.
  private(set) var files: [String] = []
  /// Folders of hooks.
  private(set) var hooks: [String] = []
  /// Files that values name: programs, files of attributes. Those that are not there only where the key is a program's.
  private(set) var named: [String] = []
  /// `core.worktree` of the repository's own file.
  private(set) var worktree: String?
  /// `filter NAME`, `diff NAME`, `merge NAME`, for which a program is set.
  private(set) var drivers: Set<String> = []

  /// As git: ten files deep.
  private static let depthMax = 10
  private static let filesMax = 200
  private static let bytesMax = 1 << 20

  private let home: String?
  /// Relative values are meant from here.
  private var top = ""
  private var entries: [(entry: GitConfigText.Entry, file: String)] = []

  /// `shared` are the user's and the system's files, `own` the repository's; `top` is nil where the repository says it.
  init(shared: [String], own: [String], top: String?, folder: String, home: String?) {
    self.home = home
    for file in own { read(file, depth: 0) }
    let stated = entries.last { $0.entry.section == "core" && $0.entry.key == "worktree" }
    worktree = stated?.entry.value.map { $0.whole(in: folder, home: home) }
    self.top = worktree ?? top ?? folder
    for file in shared { read(file, depth: 0) }
    for (entry, _) in entries { note(entry) }
  }

  private mutating func read(_ file: String, depth: Int) {
    guard depth < Self.depthMax, files.count < Self.filesMax, !files.contains(file) else { return }
    files.append(file)
    guard let bytes = HostFile.read(file, bytesMax: Self.bytesMax) else { return }
    for entry in GitConfigText(bytes).entries {
      entries.append((entry, file))
      guard entry.section == "include" || entry.section == "includeif", entry.key == "path", let path = entry.value
      else { continue }
      // A configuration that is a link is read where it leads to, and so are its includes.
      let real = HostFile.realPath(file) ?? file
      read(path.whole(in: real.parentFolder, home: home), depth: depth + 1)
    }
  }

  private mutating func note(_ entry: GitConfigText.Entry) {
    guard let value = entry.value, !value.isEmpty, !value.utf8.contains(0) else { return }
    if let name = entry.subsection, ["filter", "diff", "merge"].contains(entry.section) {
      drivers.insert("\(entry.section) \(name)")
    }
    switch (entry.section, entry.key) {
    case ("include", _), ("includeif", _), ("core", "worktree"): return
    case ("core", "hookspath"): hooks.append(value.whole(in: top, home: home))
    default: noteWords(value, isProgram: Self.isProgram(entry))
    }
  }

  /// Keys whose value git runs; of these also a file counts that is not there yet.
  private static let programKeys: Set<String> = [
    "fsmonitor", "sshcommand", "gitproxy", "askpass", "editor", "pager", "alternaterefscommand", "helper", "clean",
    "smudge", "process", "external", "command", "textconv", "driver", "cmd", "program", "difffilter",
    "packobjectshook", "recentobjectshook", "receivepack", "uploadpack", "defaultkeycommand", "attributesfile",
  ]

  private static func isProgram(_ entry: GitConfigText.Entry) -> Bool {
    programKeys.contains(entry.key) || entry.section == "alias" || entry.section == "pager"
  }

  /// Any value may be a line of the shell, and each of its words the name of a file. Names without a folder are looked
  /// for in
  /// PATH where they stand first, and are arguments elsewhere.
  private mutating func noteWords(_ value: String, isProgram: Bool) {
    let words = value.shellWords
    for (index, word) in words.enumerated() {
      let hasFolder = word.utf8.contains(UInt8(ascii: "/"))
      guard hasFolder || isProgram && index > 0 else { continue }
      let path = word.whole(in: top, home: home)
      switch HostFile.kind(path) {
      case .file, .link: named.append(path)
      case .missing: if isProgram && hasFolder { named.append(path) }
      case .folder, .other: break
      }
    }
  }
}

extension String {
  /// Absolute, and without `.` and `..`.
  func whole(in folder: String, home: String?) -> String {
    if hasPrefix("~/"), let home { return "\(home)/\(dropFirst(2))".plainPath }
    return (hasPrefix("/") ? self : "\(folder)/\(self)").plainPath
  }

  var plainPath: String {
    var parts: [String] = []
    for part in pathParts where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
  }

  var parentFolder: String {
    let parts = pathParts
    return "/" + parts.dropLast().joined(separator: "/")
  }

  var lastPart: String { pathParts.last ?? "" }

  /// What could be names of files in a line of the shell.
  var shellWords: [String] {
    let ends = Set(" \t\r\n;&|()<>\"'`$={}!,:".utf8)
    return utf8.split(whereSeparator: { ends.contains($0) }).map { String(decoding: $0, as: UTF8.self) }
  }
}
