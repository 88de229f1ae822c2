// What the gate says to the person who runs it: standard error, one line each.
// It relies on Kernel for the write; the log is another thing, and goes elsewhere.
import Kernel
import Wire

package enum Messages {
  package static func say(_ text: String) { StandardError.write("sluice: \(clean(text))\n") }
  package static func warn(_ text: String) { StandardError.write("sluice: warning: \(clean(text))\n") }

  /// A name of a file, or whatever else is quoted, moves no cursor and ends no line.
  private static func clean(_ text: String) -> String {
    if text.unicodeScalars.allSatisfy(JSONText.isHarmless) { return text }
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
