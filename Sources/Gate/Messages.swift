// What the gate says to the person who runs it: standard error, one line each.
// It relies on Kernel for the write; the log is another thing, and goes elsewhere.
import Kernel
import Synchronization
import Wire

package enum Messages {
  package static func say(_ text: String) { StandardError.write("sluice: \(clean(text))\n") }

  package static func warn(_ text: String) {
    if !isQuiet.load(ordering: .relaxed) { insist(text) }
  }

  /// A warning that is told also to who wants none.
  package static func insist(_ text: String) { StandardError.write("sluice: warning: \(clean(text))\n") }

  /// A line of a text, with its tabs and without a name in front.
  package static func show(_ line: String) {
    StandardError.write(
      line.split(separator: "\t", omittingEmptySubsequences: false).map { clean(String($0)) }.joined(separator: "\t")
        + "\n")
  }

  /// A question, which is answered behind it.
  package static func ask(_ text: String) { StandardError.write("sluice: \(clean(text))") }

  /// From now on no warning is told.
  package static func quieten() { isQuiet.store(true, ordering: .relaxed) }

  /// Of the process: set at its start, read by all threads.
  private static let isQuiet = Atomic<Bool>(false)

  /// A name of a file, or whatever else is quoted, moves no cursor and begins no line of ours: what goes on in a
  /// further
  /// line is indented.
  private static func clean(_ text: String) -> String {
    if text.unicodeScalars.allSatisfy(JSONText.isHarmless) { return text }
    return text.split(separator: further, omittingEmptySubsequences: false).map(cleanLine).joined(separator: further)
  }

  private static let further = "\n  "

  private static func cleanLine(_ text: Substring) -> String {
    var clean = ""
    for scalar in text.unicodeScalars {
      if JSONText.isHarmless(scalar) {
        clean.unicodeScalars.append(scalar)
      } else {
        clean += "\\u{\(String(scalar.value, radix: 16))}"
      }
    }
    return clean
  }
}
