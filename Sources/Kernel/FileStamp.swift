// Identity and age of a file, to tell whether it is still the one that was read.
// It relies on stat(2): device, inode, size and time of change.
import CLinux

/// True if a file is still the one that was read.
package struct FileStamp: Equatable, Sendable {
  private let device: UInt64
  private let inode: UInt64
  package let size: UInt64
  private let modifiedNs: UInt64

  /// nil when there is no such file.
  package init?(path: String) {
    unsafe self.init { unsafe clinux_file_stamp(path, $0) }
  }

  package init?(of descriptor: borrowing Descriptor) {
    let raw = descriptor.raw
    unsafe self.init { unsafe clinux_descriptor_stamp(raw, $0) }
  }

  private init?(_ read: (UnsafeMutablePointer<UInt64>?) -> CInt) {
    var stamp = [UInt64](repeating: 0, count: 4)
    // SAFETY: four words, as the call wants.
    let result = unsafe stamp.withUnsafeMutableBufferPointer { unsafe read($0.baseAddress) }
    guard result == 0 else { return nil }
    (device, inode, size, modifiedNs) = (stamp[0], stamp[1], stamp[2], stamp[3])
  }

  /// The same file, whatever it holds by now.
  package func isSameFile(as other: FileStamp) -> Bool { device == other.device && inode == other.inode }
}
