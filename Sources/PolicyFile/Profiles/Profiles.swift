// Policy fragments that come with Sluice, asked for as `profile:NAME`: the hosts and settings of one tool each.
// Relies on CProfiles for their bytes, which are the files of Examples/policies.
import CProfiles

package enum Profiles {
  private struct Fragment {
    let name: String
    let bytes: [UInt8]
  }

  private static let all: [Fragment] = (0..<cprofiles_count()).map { index in
    // SAFETY: constant arrays of C, as long as the table beside them says; each name ends with NUL.
    let file = unsafe cprofiles_all()[index]
    let bytes = unsafe Array(UnsafeBufferPointer(start: file.bytes, count: file.length))
    return unsafe Fragment(name: String(cString: file.name), bytes: bytes)
  }

  /// In the order in which they are listed.
  package static let names = all.map(\.name)

  package static func text(of name: String) -> [UInt8]? { all.first { $0.name == name }?.bytes }

  /// The first line of the fragment, which says what it is for.
  package static func summary(of name: String) -> String? {
    guard let line = text(of: name)?.split(separator: UInt8(ascii: "\n")).first else { return nil }
    return String(decoding: line.drop { $0 == UInt8(ascii: "#") || $0 == UInt8(ascii: " ") }, as: UTF8.self)
  }
}
