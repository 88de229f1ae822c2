// What a command left behind that a program outside would obey: the difference of two looks at the same places.
// It relies on the later one being taken when the sandbox is gone. Each finding names a path and what helps.

package struct Finding: Equatable, Sendable {
  package enum Kind: String, Sendable {
    case repository, attributes, submodules, rebase, changed, settings
  }
  package let kind: Kind
  package let path: String
  let detail: String
  /// Moving it aside takes it away; what it said before the run is put back.
  let original: [UInt8]?

  package var text: String {
    switch kind {
    case .repository:
      "\(path): this repository was made inside; git runs what its configuration says when it looks into it, also from above "
        + "where it is entered as a submodule: git status --ignore-submodules=all"
    case .attributes: "\(path): asks git to run \(detail), which your configuration has a program for"
    case .submodules: "\(path): names submodules, made or changed inside; read it before git submodule update"
    case .rebase: "\(path): an unfinished rebase, which can hold commands to run: git rebase --abort"
    case .changed: "\(path): changed while the sandbox ran, and git obeys it; look at it before the next git command"
    case .settings: "\(path): made inside, and programs obey it where that folder is opened; look at it first"
    }
  }
}

package struct BeforeRun: Sendable {
  private let look: WorkspaceLook
  private let roots: [String]
  private let caller: WorkspaceLook.Caller
  private let stamps: [String: HostFile.Stamp]
  private let texts: [String: [UInt8]]
  private let unfinished: Set<String>
  private let found: Set<String>

  package init(_ look: WorkspaceLook, roots: [String], caller: WorkspaceLook.Caller) {
    (self.look, self.roots, self.caller) = (look, roots, caller)
    (stamps, texts, unfinished) = (look.stamps, look.texts, look.unfinished)
    found = Set(look.walk.found)
  }

  /// Looks again.
  package func findings() -> [Finding] {
    let now = WorkspaceLook(roots, caller: caller)
    let entries = Set(look.repositories.map(\.entry))
    var all = now.repositories.filter { !entries.contains($0.entry) }.map {
      Finding(kind: .repository, path: $0.entry, detail: "", original: nil)
    }
    let made = all.map { $0.path.lastPart == ".git" ? $0.path.parentFolder : $0.path }
    all += changes(now, made: made)
    for path in now.unfinished.subtracting(unfinished).sorted() {
      all.append(Finding(kind: .rebase, path: path, detail: "", original: nil))
    }
    for path in now.walk.found where ProtectedPath.names.contains(path.lastPart) && !found.contains(path) {
      all.append(Finding(kind: .settings, path: path, detail: "", original: nil))
    }
    return all
  }

  private func changes(_ now: WorkspaceLook, made: [String]) -> [Finding] {
    var all: [Finding] = []
    let later = now.stamps
    for (path, stamp) in stamps.sorted(by: { $0.key < $1.key }) where later[path] != stamp {
      all.append(Finding(kind: .changed, path: path, detail: "", original: nil))
    }
    for (path, bytes) in now.texts.sorted(by: { $0.key < $1.key }) where texts[path] != bytes {
      if path.lastPart == WorkspaceLook.modulesName {
        all.append(Finding(kind: .submodules, path: path, detail: "", original: texts[path]))
        continue
      }
      let known = WorkspaceLook.drivers(inAttributes: texts[path] ?? [])
      let asked = WorkspaceLook.drivers(inAttributes: bytes).intersection(now.drivers).subtracting(known)
      if !asked.isEmpty {
        let detail = asked.sorted().joined(separator: ", ")
        all.append(Finding(kind: .attributes, path: path, detail: detail, original: texts[path]))
      }
    }
    return all
  }
}

/// Moves what was made inside to a folder where no program obeys it.
package struct Quarantine {
  private let folder: String
  private var count = 0

  package init(workspace: String, nowMs: Int64) { folder = "\(workspace)/.sluice-quarantine/\(nowMs)" }

  /// Where it is now; nil where it could not be moved, or is not moved at all.
  package mutating func take(_ finding: Finding) -> String? {
    // What was there before the run is the user's own, also where it changed since.
    guard finding.kind != .changed, HostFile.makeFolder(folder.parentFolder), HostFile.makeFolder(folder) else {
      return nil
    }
    count += 1
    let place = "\(folder)/\(count)-\(String(finding.path.lastPart.drop { $0 == "." }))"
    guard HostFile.rename(finding.path, to: place) else { return nil }
    // A bare repository is one wherever it lies.
    if finding.kind == .repository { _ = HostFile.rename("\(place)/HEAD", to: "\(place)/HEAD.moved") }
    return place
  }
}
