// Text for people: standard error.
// It relies on nothing; a failure to write there cannot be reported anywhere.
import CLinux
import Glibc

package enum StandardError {
  /// A failure here cannot be reported anywhere else, and is ignored.
  package static func write(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      // SAFETY: the slice's own memory for the time of the call.
      let written = unsafe bytes.withUnsafeBytes { unsafe clinux_write(STDERR_FILENO, $0.baseAddress, $0.count) }
      if written <= 0 { return }
      bytes = bytes.dropFirst(written)
    }
  }
}
