// A file that somebody else appends to, read from its beginning or wherever it was left. Pipes are read to their end.
// It relies on its own offset: the end of a file is no end, and a file that became shorter is read from the start.
import CLinux
import Glibc

package final class GrowingFile {
  package enum Read: Equatable, Sendable {
    case bytes
    /// Nothing more for now; of a pipe, for ever.
    case end
    /// The file became shorter than what was read: the next bytes are its beginning.
    case cut
  }

  private let descriptor: Descriptor
  private let isPipe: Bool
  /// Where the next read begins. Of a pipe always 0.
  package private(set) var offset: UInt64 = 0
  /// One a file, used again: a read appends what came and no more.
  private var chunk: [UInt8]
  package static let chunkBytesMax = 256 << 10

  /// `chunkBytes` bounds what one read appends: who reads many files at once asks for less.
  package init(
    path: String, from offset: UInt64 = 0, chunkBytes: Int = GrowingFile.chunkBytesMax
  ) throws(SystemError) {
    chunk = [UInt8](repeating: 0, count: chunkBytes)
    let fd = unsafe clinux_open_read(path)
    guard fd >= 0 else { throw SystemError("open", code: -fd) }
    descriptor = Descriptor(owning: fd)
    var byte: UInt8 = 0
    // SAFETY: a read of no bytes into a local.
    isPipe = unsafe clinux_read_at(fd, &byte, 0, 0) == -Int(ESPIPE)
    if !isPipe { self.offset = offset }
  }

  /// The file's first bytes, fewer where it has fewer; nothing of a pipe. What is read next stays the same.
  package func beginning(_ count: Int) -> [UInt8] {
    guard !isPipe else { return [] }
    var bytes = [UInt8](repeating: 0, count: count)
    // SAFETY: the array's own room for the time of the call.
    let got = unsafe bytes.withUnsafeMutableBytes { unsafe clinux_read_at(descriptor.raw, $0.baseAddress, count, 0) }
    return Array(bytes.prefix(max(0, got)))
  }

  package var stamp: FileStamp? { FileStamp(of: descriptor) }
  /// True if more may come behind its end.
  package var canGrow: Bool { !isPipe }

  /// Appends the next bytes, one chunk at most.
  package func read(into bytes: inout [UInt8]) throws(SystemError) -> Read {
    while true {
      let count = readChunk()
      if count > 0 {
        offset += UInt64(count)
        bytes += chunk[..<count]
        return .bytes
      }
      if count == 0 { return try end() }
      guard count == -Int(EAGAIN) else { throw SystemError("read", code: CInt(truncatingIfNeeded: -count)) }
      let ready = clinux_wait_readable(descriptor.raw, -1)
      if ready < 0 { throw SystemError("poll", code: -ready) }
    }
  }

  private func readChunk() -> Int {
    let (fd, offset) = (descriptor.raw, offset)
    // SAFETY: the chunk lives through the call and has room for its count.
    return unsafe chunk.withUnsafeMutableBytes { room in
      unsafe isPipe
        ? clinux_read(fd, room.baseAddress, room.count) : clinux_read_at(fd, room.baseAddress, room.count, offset)
    }
  }

  private func end() throws(SystemError) -> Read {
    if isPipe { return .end }
    guard let stamp else { throw SystemError("fstat", code: EIO) }
    guard stamp.size < offset else { return .end }
    offset = 0
    return .cut
  }
}

/// Standard output for results that a program may read: whole writes, and a reader that is gone is an error.
package enum StandardOutput {
  package static var isTerminal: Bool { clinux_is_terminal(STDOUT_FILENO) == 1 }

  /// Writes all of it, and empties the array.
  package static func write(_ bytes: inout [UInt8]) throws(SystemError) {
    var written = 0
    while written < bytes.count {
      // SAFETY: the pointer stays within the array for the time of the call.
      let result = unsafe bytes.withUnsafeBytes { raw in
        unsafe clinux_write(STDOUT_FILENO, raw.baseAddress?.advanced(by: written), raw.count - written)
      }
      if result >= 0 {
        written += result
      } else if result == -Int(EAGAIN) {
        let ready = clinux_wait_writable(STDOUT_FILENO, -1)
        if ready < 0 { throw SystemError("poll", code: -ready) }
      } else {
        throw SystemError("write", code: CInt(truncatingIfNeeded: -result))
      }
    }
    bytes.removeAll(keepingCapacity: true)
  }
}
