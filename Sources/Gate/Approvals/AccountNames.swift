// The name of a user of this machine, for the log: who approved what.
// It relies on /etc/passwd alone: what else the system asks for names may take its time, and is not there for a gate
// that has confined itself.
import Kernel

package enum AccountNames {
  private static let path = "/etc/passwd"
  private static let bytesMax = 1 << 20

  /// `1000 (alice)`, or the number alone where it has no name there.
  package static func text(uid: UInt32) -> String {
    guard let bytes = FileBytes.read(path, bytesMax: bytesMax), let name = name(of: uid, in: bytes) else {
      return "\(uid)"
    }
    return "\(uid) (\(name))"
  }

  /// Reads lines of passwd(5): `name:password:uid:…`.
  static func name(of uid: UInt32, in bytes: [UInt8]) -> String? {
    let wanted = Array("\(uid)".utf8)
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let fields = line.split(separator: UInt8(ascii: ":"), maxSplits: 3, omittingEmptySubsequences: false)
      guard fields.count > 2, fields[2].elementsEqual(wanted), !fields[0].isEmpty else { continue }
      return String(decoding: fields[0], as: UTF8.self)
    }
    return nil
  }
}
