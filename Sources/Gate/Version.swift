// The version for `sluice version` and for the status of a running gate.
// It relies on CVersion, whose texts are constants of the program.
import CAres
import CCrypt
import CVersion

package enum Version {
  /// From the file VERSION of the repository.
  package static let text = unsafe constant(cversion_text())
  /// Nil in a build that was not made by `make release`.
  package static let commit: String? = {
    let text = unsafe constant(cversion_commit())
    return text.isEmpty ? nil : text
  }()

  /// Libraries that this module links, and the parts whose version only the build knows.
  package static var libraries: [(name: String, version: String)] {
    let built = unsafe constant(cversion_built_with()).split(separator: ";").map {
      part -> (name: String, version: String) in
      let words = part.split(separator: " ", maxSplits: 1).map(String.init)
      return (words.first ?? "", words.count > 1 ? words[1] : "")
    }
    // SAFETY: c-ares returns a string literal; its argument may be nil.
    let cares = unsafe String(cString: ares_version(nil))
    return [("c-ares", cares), ("libxcrypt", XCRYPT_VERSION_STR)] + built
  }

  private static func constant(_ text: UnsafePointer<CChar>) -> String {
    // SAFETY: a constant of the program, which ends with NUL.
    let text = unsafe String(cString: text)
    return String(text.prefix { !$0.isNewline })
  }
}
