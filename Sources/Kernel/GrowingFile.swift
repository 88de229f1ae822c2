// A file that another process appends to, read from its start or from a saved offset. Pipes are read to their end.
// It relies on its own offset: more may follow the end of the file, and a file that became shorter is read from its
// start.
import CLinux
import Glibc

package final class GrowingFile {
  package enum Read: Equatable, Sendable {
    case bytes
    /// No more bytes for now; for a pipe, no more at all.
    case end
    /// The file became shorter than the bytes read: the next bytes are from its start.
    case cut
  }

  private let descriptor: Descriptor
  private let isPipe: Bool
  /// The offset of the next read. Always 0 for a pipe.
  package private(set) var offset: UInt64 = 0
  /// The read buffer, one per file and reused: each read appends only the new bytes.
  private var chunk: [UInt8]
  package static let chunkBytesMax = 256 << 10

  /// `chunkBytes` limits the bytes of one read: a reader of many files asks for less.
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

  /// The first bytes of the file, without moving the offset; fewer if the file is shorter, none for a pipe.
  package func beginning(_ count: Int) -> [UInt8] {
    guard !isPipe else { return [] }
    var bytes = [UInt8](repeating: 0, count: count)
    // SAFETY: the array's own room for the time of the call.
    let got = unsafe bytes.withUnsafeMutableBytes { unsafe clinux_read_at(descriptor.raw, $0.baseAddress, count, 0) }
    return Array(bytes.prefix(max(0, got)))
  }

  package var stamp: FileStamp? { FileStamp(of: descriptor) }
  /// True if more bytes may follow the end.
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

/// Standard output for results that a program may read: all bytes are written, and a closed reader is an error.
package enum StandardOutput {
  package static var isTerminal: Bool { clinux_is_terminal(STDOUT_FILENO) == 1 }

  /// Writes all bytes, and empties the array.
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
