// A problem of a file, and its place: one value a mistake, all of them collected before anything is said.
// It relies on Wire for what may stand in a text; whoever reads the file passes one `Findings` through.
import Wire

package struct Problem: Hashable, Sendable, CustomStringConvertible {
  package let file: String
  package let mark: Mark
  /// The problem and the text to write instead, in one line.
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
  /// Number of its file in `Findings.files`: a file may include others.
  package var file: Int

  package init(line: Int, column: Int, file: Int = 0) { (self.line, self.column, self.file) = (line, column, file) }

  package static func < (left: Mark, right: Mark) -> Bool {
    (left.file, left.line, left.column) < (right.file, right.line, right.column)
  }
}

/// The name of a section, as messages say it, and its keys.
package struct SchemaSection: Hashable, Sendable {
  package let name: String
  package let keys: [String]
}

/// Findings so far. A class, so that every reader adds to the same list.
package final class Findings {
  /// Beyond this many a file is not what it was taken for; the rest is only counted.
  private static let problemsMax = 200

  /// The file that is read, then those that it includes, each as messages call it.
  package private(set) var files: [String]
  package private(set) var problems: [Problem] = []
  package private(set) var warnings: [Problem] = []
  private var dropped = 0
  /// Every section of which a mapping was read, with the keys that it may have.
  package private(set) var schema: Set<SchemaSection> = []

  package init(file: String) { files = [file] }

  /// The number that marks in this file carry.
  package func begin(_ file: String) -> Int {
    files.append(file)
    return files.count - 1
  }

  /// Where something else stands, for a message about `mark`: `line 3`, or `line 3 of team.yaml`.
  package func place(_ other: Mark, from mark: Mark) -> String {
    other.file == mark.file ? "line \(other.line)" : "line \(other.line) of \(files[other.file])"
  }

  func note(_ section: SchemaSection) { schema.insert(section) }

  package func problem(_ mark: Mark, _ text: String) {
    guard problems.count < Self.problemsMax else {
      dropped += 1
      return
    }
    problems.append(Problem(file: files[mark.file], mark: mark, text: text.onOneLine))
  }

  package func warn(_ mark: Mark, _ text: String) {
    if warnings.count < Self.problemsMax {
      warnings.append(Problem(file: files[mark.file], mark: mark, text: text.onOneLine))
    }
  }

  /// In the order of the file.
  package func sorted() -> (problems: [Problem], warnings: [Problem]) {
    var all = problems.sorted { $0.mark < $1.mark }
    if dropped > 0, let last = all.last {
      all.append(Problem(file: files[last.mark.file], mark: last.mark, text: "and \(dropped) more problems"))
    }
    return (all, warnings.sorted { $0.mark < $1.mark })
  }
}

extension String {
  /// Text of a file may be quoted in a message: no byte of it may break the line or move the cursor.
  fileprivate var onOneLine: String {
    var clean = ""
    for scalar in unicodeScalars {
      clean.unicodeScalars.append(JSONText.isHarmless(scalar) ? scalar : "?")
    }
    return clean
  }
}
