// A path that stays as it is in a writable place: what others would run or obey there later, outside of the sandbox.
// It relies on being looked up before the launch. What is not there yet gets a placeholder, so that nobody makes it.
import Kernel

package struct ProtectedPath: Equatable, Sendable {
  /// Stands there while a sandbox needs it, and says what holds without it.
  package enum Placeholder: Equatable, Sendable {
    case folder
    case file(String)
  }

  /// Absolute.
  package let path: String
  package let placeholder: Placeholder?

  package init(_ path: String, placeholder: Placeholder? = nil) {
    (self.path, self.placeholder) = (path, placeholder)
  }

  package var folder: String { path.parentFolder }

  /// Files and folders that programs outside run or obey without asking, or after a question that nobody reads:
  /// settings of
  /// editors and of coding agents with the commands and servers that they start, what a shell reads on entering the
  /// folder,
  /// hooks, containers. Instructions in plain words (AGENTS.md, CLAUDE.md) are read and not run, and are not among
  /// them.
  package static let names: [String] = [
    ".vscode", ".idea", ".zed", ".cursor", ".windsurf", ".claude", ".codex", ".gemini", ".mcp.json", ".envrc", ".husky",
    ".devcontainer", ".devcontainer.json",
  ]

  package enum Found: Equatable, Sendable {
    case path(ProtectedPath)
    case missing
    case link(String)
  }

  /// `name` is relative to `folder`. `missing` is put where it is not; where a folder above it is not there either, an
  /// empty folder in the place of that one keeps all below it from being made.
  package static func look(up name: String, in folder: String, missing: Placeholder? = .folder) -> Found {
    var path = folder
    let parts = name.pathParts
    for (index, part) in parts.enumerated() {
      path += "/\(part)"
      let isLast = index == parts.count - 1
      switch HostFile.isPlaceholder(path) ? .missing : HostFile.kind(path) {
      case .folder: continue
      case .link: return .link(path)
      // Where a file stands in place of a folder (`.git` of a worktree), it is the file.
      case .file, .other: return .path(ProtectedPath(path))
      case .missing:
        guard let missing else { return .missing }
        return .path(ProtectedPath(path, placeholder: isLast ? missing : .folder))
      }
    }
    return .path(ProtectedPath(path))
  }
}
