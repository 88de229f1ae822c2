// Small files, read whole and within a bound.
// It relies on the caller to keep files that may hang off the loops.
import CLinux
import Glibc

package enum FileBytes {
  /// Throws the reason if `read` would fail.
  package static func require(_ path: String) throws(SystemError) {
    let fd = unsafe clinux_open_read(path)
    if fd < 0 { throw SystemError("open \(path)", code: -fd) }
    _ = Descriptor(owning: fd)
  }

  /// A read of 4 MiB fails for files of /proc/sys (ENOMEM).
  private static let readBytesMax = 1 << 20

  /// Reads a small file whole. Nil if it cannot be read, or is larger than the limit.
  package static func read(_ path: String, bytesMax: Int) -> [UInt8]? {
    let fd = unsafe clinux_open_read(path)
    guard fd >= 0 else { return nil }
    let descriptor = Descriptor(owning: fd)
    let bytes = unsafe fill(room: bytesMax + 1) { buffer, _ in
      unsafe clinux_read(descriptor.raw, buffer.baseAddress, min(buffer.count, readBytesMax))
    }
    return bytes.flatMap { $0.count > bytesMax ? nil : $0 }
  }

  /// Reads into one allocation: the content may be a secret, and a growing buffer would leave copies of it. `more`
  /// gets the free room and the count read before, and returns nil on failure.
  static func fill(room: Int, _ more: (UnsafeMutableRawBufferPointer, Int) -> Int) -> [UInt8]? {
    var hasFailed = false
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
      while count < buffer.count {
        // SAFETY: the rest of the array's own room, for the time of the call.
        let got = unsafe more(
          UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[count...]), count)
        if got <= 0 {
          hasFailed = got < 0
          return
        }
        count += got
      }
    }
    return hasFailed ? nil : bytes
  }
}
