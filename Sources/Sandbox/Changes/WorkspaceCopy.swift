// Changes that a command made in a copy of the workspace: found when the sandbox is gone, shown, applied or dropped.
// Relies on overlayfs: its upper folder holds what was written, and a mark for what was taken away. It follows no link.
import CSandbox
import Kernel

package struct WorkspaceCopy: Sendable {
  package enum Kind: String, Sendable { case added = "A", changed = "M", deleted = "D" }

  package struct Change: Equatable, Sendable {
    package let kind: Kind
    /// Relative to the workspace.
    package let path: String
    let what: HostFile.Kind
  }

  private static let changesMax = 100_000
  private static let comparedBytesMax = 64 << 20
  private static let shownBytesMax = 256 << 10
  private static let shownLinesMax = 2_000

  package let workspace: String
  /// `upper` and `work` are in here.
  package let folder: String
  /// Whole paths that stay as they are.
  private let protected: [String]

  package init(workspace: String, folder: String, protected: [String]) {
    (self.workspace, self.folder, self.protected) = (workspace, folder, protected)
  }

  private var upper: String { "\(folder)/upper" }

  // MARK: - What changed

  /// Folders stand before what is in them.
  package func changes() -> [Change] {
    var changes: [Change] = []
    look("", isNew: false, isOpaque: false, &changes)
    return changes
  }

  /// Further changes would stay unseen: such a copy is not applied.
  package static func areTooMany(_ changes: [Change]) -> Bool { changes.count >= changesMax }

  /// `isNew`: the workspace has no folder there; what a link in its place leads to is no part of it.
  /// `isOpaque`: what the workspace's folder held is gone.
  private func look(_ folder: String, isNew: Bool, isOpaque: Bool, _ changes: inout [Change]) {
    let prefix = folder.isEmpty ? "" : "\(folder)/"
    guard let entries = HostFile.entries(of: "\(upper)/\(folder)") else {
      return changes.append(Change(kind: .changed, path: folder, what: .other))
    }
    for entry in entries.sorted(by: { $0.name < $1.name }) {
      let path = prefix + entry.name
      guard changes.count < Self.changesMax, !protected.contains(where: { "\(workspace)/\(path)".isAtOrBelow($0) })
      else {
        continue
      }
      let before = isNew ? .missing : HostFile.kind("\(workspace)/\(path)")
      switch entry.kind {
      case .folder:
        if before != .folder {
          changes.append(Change(kind: before == .missing ? .added : .changed, path: path, what: .folder))
        }
        let isOpaque = unsafe csandbox_is_opaque("\(upper)/\(path)") != 0 || isOpaque
        if before == .folder, isOpaque { replace(path, &changes) }
        look(path, isNew: before != .folder, isOpaque: isOpaque, &changes)
      case .file, .link:
        let isSame = before == entry.kind && isSame(path, entry.kind)
        if !isSame {
          changes.append(Change(kind: before == .missing ? .added : .changed, path: path, what: entry.kind))
        }
      case .other, .missing:
        if unsafe csandbox_is_whiteout("\(upper)/\(path)") != 0 {
          if before != .missing { changes.append(Change(kind: .deleted, path: path, what: before)) }
        } else {
          changes.append(Change(kind: before == .missing ? .added : .changed, path: path, what: .other))
        }
      }
    }
  }

  /// A folder that was made anew: what it held before and does not hold now is gone.
  private func replace(_ folder: String, _ changes: inout [Change]) {
    for entry in HostFile.list("\(workspace)/\(folder)").sorted(by: { $0.name < $1.name }) {
      let path = "\(folder)/\(entry.name)"
      guard HostFile.kind("\(upper)/\(path)") == .missing, !protected.contains("\(workspace)/\(path)") else { continue }
      changes.append(Change(kind: .deleted, path: path, what: entry.kind))
    }
  }

  private func isSame(_ path: String, _ kind: HostFile.Kind) -> Bool {
    let (old, new) = ("\(workspace)/\(path)", "\(upper)/\(path)")
    if kind == .link { return HostFile.linkTarget(old) == HostFile.linkTarget(new) }
    guard let one = HostFile.stamp(old), let other = HostFile.stamp(new), one.size == other.size, one.mode == other.mode
    else { return false }
    guard let bytes = HostFile.read(old, bytesMax: Self.comparedBytesMax) else { return false }
    return HostFile.read(new, bytesMax: Self.comparedBytesMax) == bytes
  }

  // MARK: - Shown

  /// As a list and, of texts, line by line. What git itself wrote is counted only.
  package func text(_ changes: [Change]) -> [String] {
    let own = changes.filter { $0.path.pathParts.contains(".git") }
    var lines = changes.filter { !$0.path.pathParts.contains(".git") }.map { "\($0.kind.rawValue) \($0.path)" }
    if !own.isEmpty { lines.append("M \(own.count) files of git's own, below .git") }
    for change in changes where change.what == .file && !change.path.pathParts.contains(".git") {
      guard lines.count < Self.shownLinesMax else {
        lines.append("… and more than is shown")
        break
      }
      lines += diff(change)
    }
    return lines
  }

  private func diff(_ change: Change) -> [String] {
    func bytes(_ path: String) -> [UInt8]? {
      HostFile.kind(path) == .file ? HostFile.read(path, bytesMax: Self.shownBytesMax) : []
    }
    let new = change.kind == .deleted ? [] : bytes("\(upper)/\(change.path)")
    let head = [
      "--- \(change.kind == .added ? "/dev/null" : change.path)",
      "+++ \(change.kind == .deleted ? "/dev/null" : change.path)",
    ]
    guard let old = bytes("\(workspace)/\(change.path)"), let new, !old.contains(0), !new.contains(0) else {
      return head + ["  no text, or larger than is shown"]
    }
    let lines = UnifiedDiff(old, new).lines
    return lines.isEmpty ? [] : head + lines
  }

  // MARK: - Applied

  /// Answers each change that could not be applied, with the reason. Files changed outside since `startNs` stay.
  package func apply(_ changes: [Change], startNs: Int64) -> [String] {
    let root = unsafe csandbox_open_folder(workspace)
    guard root >= 0 else { return ["\(workspace): \(SystemError("open", code: -root))"] }
    let owned = Descriptor(owning: root)
    // All of them before the first is applied: taking one name of a file away changes the file's other names.
    let problems = changes.map { problem($0, startNs) }
    return zip(changes, problems).compactMap { change, problem in
      if let problem { return "\(change.path): \(problem)" }
      let result = apply(change, root: owned.raw)
      return result < 0 ? "\(change.path): \(SystemError("write", code: -result))" : nil
    }
  }

  private func problem(_ change: Change, _ startNs: Int64) -> String? {
    if change.what == .other, change.kind != .deleted {
      return "a device, pipe or socket, or a name or folder that cannot be read; it is not applied"
    }
    let place = "\(workspace)/\(change.path)"
    let isMerged = change.kind != .deleted && change.what == .folder && HostFile.kind(place) == .folder
    if !isMerged, isChanged(place, since: startNs, depth: 0) {
      return "it was also changed outside while the command ran; it is left unchanged"
    }
    guard change.what == .link, change.kind != .deleted, let target = HostFile.linkTarget("\(upper)/\(change.path)")
    else { return nil }
    let isInside = !target.hasPrefix("/") && Self.stays(target, from: change.path)
    return isInside ? nil : "a link to a target outside the workspace, \(target)"
  }

  /// A folder, with all that is in it; links are looked at, not followed.
  private func isChanged(_ path: String, since startNs: Int64, depth: Int) -> Bool {
    if let stamp = HostFile.stamp(path), stamp.changedNs > startNs { return true }
    guard depth < 128, HostFile.kind(path) == .folder else { return false }
    return HostFile.list(path).contains { isChanged("\(path)/\($0.name)", since: startNs, depth: depth + 1) }
  }

  /// Steps up stand in front alone: behind the name of another link, a step up leaves from where that one leads.
  private static func stays(_ target: String, from path: String) -> Bool {
    let parts = target.pathParts.filter { $0 != "." }
    let up = parts.prefix { $0 == ".." }
    return up.count < path.pathParts.count && !parts.dropFirst(up.count).contains("..")
  }

  private func apply(_ change: Change, root: CInt) -> CInt {
    let source = "\(upper)/\(change.path)"
    if change.kind == .deleted { return unsafe csandbox_change_remove(root, change.path) }
    switch change.what {
    case .folder: return unsafe csandbox_change_folder(root, change.path, csandbox_mode(source))
    case .link:
      guard let target = HostFile.linkTarget(source) else { return -2 }
      return unsafe csandbox_change_link(root, change.path, target)
    default: return unsafe csandbox_change_file(root, change.path, source, csandbox_mode(source))
    }
  }

  /// With all that is in it.
  package static func remove(_ folder: String) {
    let parent = unsafe csandbox_open_folder(folder.parentFolder)
    guard parent >= 0 else { return }
    let owned = Descriptor(owning: parent)
    _ = unsafe csandbox_change_remove(owned.raw, folder.lastPart)
  }
}
