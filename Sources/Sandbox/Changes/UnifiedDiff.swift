// The difference of two texts, line by line, as `diff -u` prints it.
// Relies on a bound: texts that differ in more lines than that are shown as one taken away and one put there.

struct UnifiedDiff {
  private enum Edit { case keep, delete, insert }

  private static let editsMax = 1_000
  private static let context = 3

  private(set) var lines: [String] = []

  init(_ old: [UInt8], _ new: [UInt8]) {
    let (old, new) = (Self.split(old), Self.split(new))
    var first = 0
    while first < min(old.count, new.count), old[first] == new[first] { first += 1 }
    var last = 0
    while last < min(old.count, new.count) - first, old[old.count - 1 - last] == new[new.count - 1 - last] { last += 1 }
    let middle = Self.edits(old[first..<(old.count - last)], new[first..<(new.count - last)])
    let keep = { (count: Int) in [Edit](repeating: .keep, count: count) }
    print(keep(first) + middle + keep(last), old, new)
  }

  private static func split(_ bytes: [UInt8]) -> [ArraySlice<UInt8>] {
    var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    return lines
  }

  /// Myers, "An O(ND) Difference Algorithm": the furthest place on each diagonal, with more and more edits.
  private static func edits(_ old: ArraySlice<ArraySlice<UInt8>>, _ new: ArraySlice<ArraySlice<UInt8>>) -> [Edit] {
    let (old, new) = (Array(old), Array(new))
    let most = min(old.count + new.count, editsMax)
    var furthest = [Int](repeating: 0, count: 2 * most + 3)
    var trace: [[Int]] = []
    for edits in 0...most {
      trace.append(furthest)
      for diagonal in stride(from: -edits, through: edits, by: 2) {
        let place = diagonal + most + 1
        let isDown = diagonal == -edits || diagonal != edits && furthest[place - 1] < furthest[place + 1]
        var x = isDown ? furthest[place + 1] : furthest[place - 1] + 1
        while x < old.count, x - diagonal < new.count, old[x] == new[x - diagonal] { x += 1 }
        furthest[place] = x
        if x >= old.count, x - diagonal >= new.count { return path(trace, old.count, new.count, offset: most + 1) }
      }
    }
    return [Edit](repeating: .delete, count: old.count) + [Edit](repeating: .insert, count: new.count)
  }

  /// From the end back to the start.
  private static func path(_ trace: [[Int]], _ oldCount: Int, _ newCount: Int, offset: Int) -> [Edit] {
    var (x, y) = (oldCount, newCount)
    var edits: [Edit] = []
    for (count, furthest) in trace.enumerated().reversed() {
      let diagonal = x - y
      let isDown =
        diagonal == -count || diagonal != count && furthest[diagonal - 1 + offset] < furthest[diagonal + 1 + offset]
      let before = isDown ? diagonal + 1 : diagonal - 1
      let (startX, startY) = (furthest[before + offset], furthest[before + offset] - before)
      while x > max(startX, 0), y > max(startY, 0) {
        edits.append(.keep)
        (x, y) = (x - 1, y - 1)
      }
      if count == 0 { break }
      edits.append(isDown ? .insert : .delete)
      (x, y) = (startX, startY)
    }
    return edits.reversed()
  }

  private mutating func print(_ edits: [Edit], _ old: [ArraySlice<UInt8>], _ new: [ArraySlice<UInt8>]) {
    var shown = [Bool](repeating: false, count: edits.count)
    for (index, edit) in edits.enumerated() where edit != .keep {
      for near in max(0, index - Self.context)...min(edits.count - 1, index + Self.context) { shown[near] = true }
    }
    var (x, y) = (0, 0)
    var hunk: [String] = []
    var start = (x: 0, y: 0)
    for (index, edit) in edits.enumerated() {
      if shown[index] {
        if hunk.isEmpty { start = (x, y) }
        let line = edit == .insert ? new[y] : old[x]
        hunk.append((edit == .keep ? " " : edit == .insert ? "+" : "-") + String(decoding: line, as: UTF8.self))
      }
      if edit != .insert { x += 1 }
      if edit != .delete { y += 1 }
      guard !hunk.isEmpty, index + 1 == edits.count || !shown[index + 1] else { continue }
      lines.append("@@ -\(Self.range(start.x, x)) +\(Self.range(start.y, y)) @@")
      lines += hunk
      hunk = []
    }
  }

  private static func range(_ from: Int, _ to: Int) -> String { "\(to > from ? from + 1 : from),\(to - from)" }
}
