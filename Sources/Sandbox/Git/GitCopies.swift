// The command's own copies of the repositories' configurations: git inside writes those, and what is harmless of it is
// written back when the sandbox is gone. Relies on git for the writing; the rest of what changed is told and dropped.
import Kernel

package struct GitCopies: Sendable {
  private static let copiesMax = 32
  private static let bytesMax = 1 << 20

  package let folder: String
  package let copies: [GitCopy]
  private let before: [[UInt8]]

  /// `folder` is the command's user's. Without a repository, or where nothing can be made there, there is no copy, and
  /// the configurations stay as they are.
  package init?(of paths: [String], in folder: String, user: SandboxUser) {
    var made: [(copy: GitCopy, bytes: [UInt8])] = []
    for path in paths.prefix(Self.copiesMax) {
      let place = "\(folder)/\(made.count)"
      guard HostFile.kind(path) == .file, let bytes = HostFile.read(path, bytesMax: Self.bytesMax),
        HostFile.makeFolder(place, of: user), HostFile.write("\(place)/config", bytes, as: user)
      else { continue }
      made.append((GitCopy(path: path, number: made.count), bytes))
    }
    if made.isEmpty { return nil }
    (self.folder, copies, before) = (folder, made.map(\.copy), made.map(\.bytes))
  }

  /// Writes back, and answers what was not: one line each.
  package func writeBack() -> [String] {
    zip(copies, before).flatMap { copy, before in
      // A copy that is no file any more says nothing.
      let after = HostFile.read("\(folder)/\(copy.number)/config", bytesMax: Self.bytesMax) ?? before
      return after == before ? [] : write(GitConfigChanges(before, after), to: copy.path)
    }
  }

  private func write(_ changes: GitConfigChanges, to path: String) -> [String] {
    var told = changes.others.map { "\(path): the command changed \($0) in its copy; it is not written back" }
    for change in changes.harmless where change.name.hasSuffix("url") {
      let value =
        change.values.isEmpty
        ? "took \(change.name) away" : "set \(change.name) to \(change.values.joined(separator: ", "))"
      told.append("\(path): the command \(value), which is written back")
    }
    for change in changes.harmless {
      var commands = change.isNew ? [] : [["--unset-all", change.name]]
      commands += change.values.map { ["--add", change.name, $0] }
      for command in commands {
        // Git is found in the system's folders alone, and reads no file but this one.
        let result = try? ChildProcess.run(["git", "config", "--file", path] + command)
        if result?.status != 0 {
          told.append("\(path): \(change.name) cannot be written back: \(result?.errors ?? "git is missing")")
          break
        }
      }
    }
    return told
  }
}

/// Two texts of one configuration, key by key.
struct GitConfigChanges: Equatable {
  struct Change: Equatable {
    /// `branch.main.remote`
    let name: String
    /// Empty where it was taken away.
    let values: [String]
    let isNew: Bool
  }

  private(set) var harmless: [Change] = []
  /// Names of what changed beside.
  private(set) var others: [String] = []

  init(_ before: [UInt8], _ after: [UInt8]) {
    let (old, new) = (Self.keys(before), Self.keys(after))
    let hosts = Set(Self.places(old).compactMap { Self.host(of: $0) })
    // A name that is no remote's is a path to git.
    let known = Known(
      hosts: hosts,
      remotes: Set(
        new.filter { key in
          key.section == "remote" && key.key == "url"
            && (old.contains { $0.name == key.name } || Self.isHarmless(key, Known(hosts: hosts, remotes: [])))
        }.compactMap(\.subsection)))
    for key in new where old.first(where: { $0.name == key.name })?.values != key.values {
      let isNew = !old.contains { $0.name == key.name }
      if Self.isHarmless(key, known) {
        harmless.append(Change(name: key.name, values: key.values, isNew: isNew))
      } else {
        others.append(key.name)
      }
    }
    for key in old where !new.contains(where: { $0.name == key.name }) {
      if Self.isKind(key) {
        harmless.append(Change(name: key.name, values: [], isNew: false))
      } else {
        others.append(key.name)
      }
    }
  }

  private struct Key {
    let section: String
    let subsection: String?
    let key: String
    var values: [String]
    var name: String { ([section, subsection, key].compactMap { $0 }).joined(separator: ".") }
  }

  private static func keys(_ bytes: [UInt8]) -> [Key] {
    var keys: [Key] = []
    for entry in GitConfigText(bytes).entries {
      let value = entry.value ?? "true"
      if let place = keys.firstIndex(where: {
        $0.section == entry.section && $0.subsection == entry.subsection && $0.key == entry.key
      }) {
        keys[place].values.append(value)
      } else {
        keys.append(Key(section: entry.section, subsection: entry.subsection, key: entry.key, values: [value]))
      }
    }
    return keys
  }

  /// Keys that say which branch goes with which, and where a remote is.
  private static func isKind(_ key: Key) -> Bool {
    guard let name = key.subsection, !name.isEmpty, !name.hasPrefix("-"), !hasControls(name) else { return false }
    switch key.section {
    case "branch": return ["remote", "merge", "rebase", "pushremote", "description"].contains(key.key)
    case "remote": return ["url", "pushurl", "fetch"].contains(key.key)
    default: return false
    }
  }

  private struct Known {
    let hosts: Set<String>
    let remotes: Set<String>
  }

  private static func places(_ keys: [Key]) -> [String] {
    keys.filter { $0.section == "remote" && ["url", "pushurl"].contains($0.key) }.flatMap(\.values)
  }

  private static func isHarmless(_ key: Key, _ known: Known) -> Bool {
    guard isKind(key) else { return false }
    return key.values.allSatisfy { value in
      guard !hasControls(value), !value.hasPrefix("-") else { return false }
      switch key.key {
      case "url", "pushurl": return host(of: value).map(known.hosts.contains) ?? false
      case "merge": return value.hasPrefix("refs/")
      // A fetch into other places would replace branches of the caller's.
      case "fetch":
        let sides = value.split(separator: ":", omittingEmptySubsequences: false)
        return sides.count == 2 && (sides[0].hasPrefix("refs/") || sides[0].hasPrefix("+refs/"))
          && sides[1].hasPrefix("refs/remotes/")
      case "rebase": return ["true", "false", "merges"].contains(value)
      // A name of a remote, and no URL or path in its place: git takes them all.
      case "remote", "pushremote": return value == "." || known.remotes.contains(value)
      default: return true
      }
    }
  }

  private static func hasControls(_ text: String) -> Bool { text.utf8.contains { $0 < 0x20 || $0 == 0x7f } }

  /// Of `https://HOST/…`, `ssh://HOST/…` and `user@HOST:path`, and with its scheme where that is not encrypted. Other
  /// places can name programs (git-remote-ext). An authority that programs read in more than one way has no host.
  static func host(of url: String) -> String? {
    if let mark = url.firstRange(of: "://") {
      let scheme = url[..<mark.lowerBound]
      guard ["https", "ssh", "http", "git"].contains(scheme) else { return nil }
      let isPlain = scheme == "http" || scheme == "git"
      return host(in: url[mark.upperBound...].prefix { $0 != "/" }).map { isPlain ? "\(scheme)://\($0)" : $0 }
    }
    guard let colon = url.firstIndex(of: ":"), !url.contains("::"), url[..<colon].contains("@") else { return nil }
    return host(in: url[..<colon])
  }

  private static func host(in authority: Substring) -> String? {
    let parts = authority.split(separator: "@", omittingEmptySubsequences: false)
    guard parts.count <= 2, let host = parts.last, !host.isEmpty, !host.hasPrefix("-"), !authority.hasPrefix("-"),
      parts.dropLast().allSatisfy({ $0.utf8.allSatisfy { isPlain($0) || $0 == UInt8(ascii: "_") } }),
      host.utf8.allSatisfy(isPlain)
    else { return nil }
    return host.lowercased()
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: [UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: ":")].contains(byte)
    }
  }
}
