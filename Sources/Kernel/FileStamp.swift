// Identity and age of a file, to detect that a file has changed since it was read.
// It relies on stat(2): device, inode, size and time of change.
import CLinux

/// The identity of a file, whatever its path. The inode number may be used again after the file is deleted.
package struct FileIdentity: Hashable, Sendable {
  package let device: UInt64
  package let inode: UInt64

  package init(device: UInt64, inode: UInt64) { (self.device, self.inode) = (device, inode) }
}

/// True if a file is still the one that was read.
package struct FileStamp: Equatable, Sendable {
  package let identity: FileIdentity
  package let size: UInt64
  private let modifiedNs: UInt64

  /// Nil if the file does not exist.
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
    identity = FileIdentity(device: stamp[0], inode: stamp[1])
    (size, modifiedNs) = (stamp[2], stamp[3])
  }

  /// True for the same file, even with other content.
  package func isSameFile(as other: FileStamp) -> Bool { identity == other.identity }
}
