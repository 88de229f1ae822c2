// What is wrong with a file, and where: one value a mistake, all of them collected before anything is said.
// It relies on Wire for what may stand in a text; whoever reads the file passes one `Findings` through.
import Wire

package struct Problem: Hashable, Sendable, CustomStringConvertible {
  package let file: String
  package let mark: Mark
  /// What is wrong and what to write instead, in one line.
  package let text: String

  /// `agent.yaml:7:11: …`, the form that editors jump to.
  package var description: String { "\(place): \(text)" }
  package var asWarning: String { "\(place): warning: \(text)" }

  private var place: String { "\(file):\(mark.line):\(mark.column)" }
}

/// A place in a text, counted from 1.
package struct Mark: Hashable, Sendable, Comparable {
  package var line: Int
  package var column: Int

  package init(line: Int, column: Int) { (self.line, self.column) = (line, column) }

  package static func < (left: Mark, right: Mark) -> Bool { (left.line, left.column) < (right.line, right.column) }
}

/// What was found so far. A class, so that every reader adds to the same list.
package final class Findings {
  /// Beyond this many a file is not what it was taken for; the rest is only counted.
  private static let problemsMax = 200

  package let file: String
  package private(set) var problems: [Problem] = []
  package private(set) var warnings: [Problem] = []
  private var dropped = 0

  package init(file: String) { self.file = file }

  package func problem(_ mark: Mark, _ text: String) {
    guard problems.count < Self.problemsMax else {
      dropped += 1
      return
    }
    problems.append(Problem(file: file, mark: mark, text: text.onOneLine))
  }

  package func warn(_ mark: Mark, _ text: String) {
    if warnings.count < Self.problemsMax { warnings.append(Problem(file: file, mark: mark, text: text.onOneLine)) }
  }

  /// In the order of the file.
  package func sorted() -> (problems: [Problem], warnings: [Problem]) {
    var all = problems.sorted { $0.mark < $1.mark }
    if dropped > 0, let last = all.last {
      all.append(Problem(file: file, mark: last.mark, text: "and \(dropped) more problems"))
    }
    return (all, warnings.sorted { $0.mark < $1.mark })
  }
}

extension String {
  /// What stands in a file may be quoted in a message: no byte of it may break the line or move the cursor.
  fileprivate var onOneLine: String {
    var clean = ""
    for scalar in unicodeScalars {
      clean.unicodeScalars.append(JSONText.isHarmless(scalar) ? scalar : "?")
    }
    return clean
  }
}
