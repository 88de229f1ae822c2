// Two texts of a policy file as a unified difference, for a person about to replace one by the other.
// It relies on edits that are close together: all lines between the first and the last change are shown.

package enum TextDifference {
  private static let context = 3

  /// Empty where the texts are the same.
  package static func unified(_ old: [UInt8], _ new: [UInt8], name: String) -> String {
    let (before, after) = (lines(old), lines(new))
    if before == after { return "" }
    let most = min(before.count, after.count)
    var head = 0
    while head < most, before[head] == after[head] { head += 1 }
    var tail = 0
    while tail < most - head, before[before.count - 1 - tail] == after[after.count - 1 - tail] { tail += 1 }
    let first = max(0, head - context)
    let behind = min(tail, context)
    let (removed, added) = (before[head..<(before.count - tail)], after[head..<(after.count - tail)])
    let rest = before[(before.count - tail)..<(before.count - tail + behind)]
    let (oldCount, newCount) = (head - first + removed.count + behind, head - first + added.count + behind)
    var text = "--- \(name)\n+++ \(name)\n@@ -\(first + 1),\(oldCount) +\(first + 1),\(newCount) @@\n"
    for line in before[first..<head] { text += " \(line)\n" }
    for line in removed { text += "-\(line)\n" }
    for line in added { text += "+\(line)\n" }
    for line in rest { text += " \(line)\n" }
    return text
  }

  private static func lines(_ bytes: [UInt8]) -> [String] {
    var lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    if lines.last == "" { lines.removeLast() }
    return lines
  }
}
