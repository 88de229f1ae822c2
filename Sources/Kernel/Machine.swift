// Facts about the machine and the process: cores, current folder, exit.
// It relies on nothing.
import CLinux
import Glibc

package enum Machine {
  /// Cores that this process may run on.
  package static func cores() -> Int { Int(clinux_cores()) }
  package static var processID: Int32 { getpid() }
  package static var userID: UInt32 { geteuid() }

  /// Nil on failure, e.g. if the folder was removed.
  package static func currentFolder() -> String? {
    var text = [CChar](repeating: 0, count: 4096)
    // SAFETY: the array lives through the call and has room for its count.
    let count = unsafe text.withUnsafeMutableBufferPointer { unsafe clinux_current_folder($0.baseAddress, $0.count) }
    return count > 0 ? String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
  }

  /// Nil on failure.
  package static func hostName() -> String? {
    var text = [CChar](repeating: 0, count: 256)
    // SAFETY: the array lives through the call, and its last byte stays zero.
    let result = unsafe text.withUnsafeMutableBufferPointer { room in
      guard let base = room.baseAddress else { return CInt(-1) }
      return unsafe gethostname(base, room.count - 1)
    }
    let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return result == 0 ? String(decoding: bytes, as: UTF8.self) : nil
  }

  package static func exit(status: Int32) -> Never { Glibc.exit(status) }
}
