// What the gate says to the person who runs it: standard error, one line each.
// It relies on Kernel for the write; the log is another thing, and goes elsewhere.
import Kernel

package enum Messages {
  package static func say(_ text: String) { StandardError.write("sluice: \(text)\n") }
  package static func warn(_ text: String) { StandardError.write("sluice: warning: \(text)\n") }
}
