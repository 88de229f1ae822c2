// Messages for the operator on standard error, one line each.
// It relies on Kernel for the write; the audit log is separate.
import Kernel
import Synchronization
import Wire

package enum Messages {
  package static func say(_ text: String) { StandardError.write("sluice: \(clean(text))\n") }

  package static func warn(_ text: String) {
    if !isQuiet.load(ordering: .relaxed) { insist(text) }
  }

  /// A warning that is printed even after `quieten`.
  package static func insist(_ text: String) { StandardError.write("sluice: warning: \(clean(text))\n") }

  /// Prints one line of a text with its tabs and without the prefix `sluice:`.
  package static func show(_ line: String) {
    StandardError.write(
      line.split(separator: "\t", omittingEmptySubsequences: false).map { clean(String($0)) }.joined(separator: "\t")
        + "\n")
  }

  /// Prints a question without a line end: the answer follows on the same line.
  package static func ask(_ text: String) { StandardError.write("sluice: \(clean(text))") }

  /// Suppresses further warnings.
  package static func quieten() { isQuiet.store(true, ordering: .relaxed) }

  /// Shared by the whole process: set at its start, read by all threads.
  private static let isQuiet = Atomic<Bool>(false)

  /// Escapes control characters, so that a quoted file name can neither move the cursor nor forge a line of the gate.
  /// A message's own further lines are indented.
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
