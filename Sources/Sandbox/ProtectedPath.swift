// What stays as it is in the writable workspace: what others would run or obey there later, outside of the sandbox.
// It relies on being looked up before the launch; a folder above that is missing means there is nothing to protect.

package struct ProtectedPath: Equatable, Sendable {
  /// What is made where it is missing, so that the command does not make it.
  package enum Placeholder: Equatable, Sendable {
    case folder
    case file(String)
  }

  /// In the workspace, absolute.
  package let path: String
  package let placeholder: Placeholder?

  package init(_ path: String, placeholder: Placeholder? = nil) {
    (self.path, self.placeholder) = (path, placeholder)
  }

  /// What git obeys. `commondir` and `config.worktree` can name another configuration, and that a program; the texts say
  /// what holds without them.
  private static let git: [(name: String, placeholder: Placeholder)] = [
    (".git/hooks", .folder), (".git/config", .file("")), (".git/config.worktree", .file("")),
    (".git/commondir", .file(".\n")),
  ]
  package static let standard = git.map(\.name)

  package enum Found: Equatable, Sendable {
    case path(ProtectedPath)
    /// Nobody keeps the command from making it.
    case missing
    case link(String)
  }

  /// `name` is relative to the workspace.
  package static func look(up name: String, in workspace: String) -> Found {
    var path = workspace
    let parts = name.pathParts
    for (index, part) in parts.enumerated() {
      path += "/\(part)"
      switch HostFile.kind(path) {
      case .folder: continue
      case .link: return .link(path)
      // Where a file stands in place of a folder (`.git` of a worktree), it is the file.
      case .file, .other: return .path(ProtectedPath(path))
      case .missing:
        guard index == parts.count - 1, let made = git.first(where: { $0.name == name }) else { return .missing }
        return .path(ProtectedPath(path, placeholder: made.placeholder))
      }
    }
    return .path(ProtectedPath(path))
  }
}
