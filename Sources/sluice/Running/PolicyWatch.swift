// `sluice run --watch`: whether the policy, or a file that it names, has changed since it was last looked at.
// It relies on stat(2), which the gate's own confinement still allows; a file that is replaced has changed too.
import Kernel

struct PolicyWatch {
  private let source: FilePolicySource
  private var seen: [String: FileStamp?] = [:]

  init(_ source: FilePolicySource) {
    self.source = source
    _ = hasChanged()
  }

  /// Once for each change. Nothing changes at the first look.
  mutating func hasChanged() -> Bool {
    let now = Dictionary(uniqueKeysWithValues: source.filesRead.map { ($0, FileStamp(path: $0)) })
    defer { seen = now }
    return now != seen
  }
}
