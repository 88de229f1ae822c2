// The lines of a log file, one after the other, also while it grows and when it is put aside for a new one.
// It relies on the gate's way to rotate: after the first byte in the new file nothing is written to the old one.
package import Kernel
import Wire

package struct LogTail {
  /// A longer line is none of a gate's; it is counted and skipped.
  package static let lineBytesMax = 1 << 20

  private let path: String
  private let chunkBytes: Int
  private var file: GrowingFile
  /// Files that have stood at the path since, in order, while the old one may still be written to.
  private var next: [GrowingFile] = []
  private var buffer: [UInt8] = []
  private var isSkipping = false
  /// Lines that were too long, or cut off by the end of their file.
  package private(set) var torn = 0

  package init(
    path: String, from offset: UInt64 = 0, chunkBytes: Int = GrowingFile.chunkBytesMax
  ) throws(SystemError) {
    (self.path, self.chunkBytes) = (path, chunkBytes)
    file = try GrowingFile(path: path, from: offset, chunkBytes: chunkBytes)
  }

  /// Begins in an older file, which once was at `path`, goes on with those that came after it, and ends up at `path`.
  init(
    path: String, after older: (path: String, offset: UInt64), _ between: [String], chunkBytes: Int
  ) throws(SystemError) {
    try self.init(path: older.path, from: older.offset, chunkBytes: chunkBytes, follows: path)
    for one in between { next.append(try GrowingFile(path: one, chunkBytes: chunkBytes)) }
  }

  private init(path: String, from offset: UInt64, chunkBytes: Int, follows: String) throws(SystemError) {
    (self.path, self.chunkBytes) = (follows, chunkBytes)
    file = try GrowingFile(path: path, from: offset, chunkBytes: chunkBytes)
  }

  /// The file that is read at this moment. nil: it cannot be told.
  package var identity: FileIdentity? { file.stamp?.identity }
  /// That one, and those that wait for their turn.
  var identities: [FileIdentity] { ([file] + next).compactMap { $0.stamp?.identity } }

  func beginning(_ count: Int) -> [UInt8] { file.beginning(count) }

  /// Calls `body` with each whole line of the next chunk, without its end. False: there is nothing more by now.
  /// `body` answers whether to go on; what it did not want is lost.
  package mutating func read(_ body: (Span<UInt8>) -> Bool) throws(SystemError) -> Bool {
    try readPlaced { bytes, _ in body(bytes) }
  }

  /// The same; `body` is also told the offset behind the line's end. All lines of one call come from the file that
  /// `identity` named before it.
  mutating func readPlaced(_ body: (Span<UInt8>, UInt64) -> Bool) throws(SystemError) -> Bool {
    let kept = buffer.count
    switch try file.read(into: &buffer) {
    case .bytes:
      splitLines(searchFrom: kept, body)
      return true
    case .cut:
      dropPartial()
      return true
    case .end: return try moveOn(body)
    }
  }

  /// Bytes after the last line's end are no line, unless more comes.
  package mutating func finish() { dropPartial() }

  package var canGrow: Bool { file.canGrow }

  private mutating func splitLines(searchFrom: Int, _ body: (Span<UInt8>, UInt64) -> Bool) {
    var bytes: [UInt8] = []
    swap(&bytes, &buffer)
    let origin = file.offset &- UInt64(bytes.count)
    var start = 0
    var search = searchFrom
    while let end = bytes.span.firstIndex(of: UInt8(ascii: "\n"), in: search..<bytes.count) {
      if isSkipping {
        isSkipping = false
      } else if end - start > Self.lineBytesMax {
        torn += 1
      } else if end > start, !body(bytes.span.extracting(start..<end), origin &+ UInt64(clamping: end + 1)) {
        break
      }
      start = end + 1
      search = start
    }
    bytes.removeFirst(start)
    swap(&bytes, &buffer)
    guard buffer.count > Self.lineBytesMax else { return }
    if !isSkipping { torn += 1 }
    isSkipping = true
    buffer.removeAll()
  }

  private mutating func dropPartial() {
    if !buffer.isEmpty, !isSkipping { torn += 1 }
    isSkipping = false
    buffer.removeAll(keepingCapacity: true)
  }

  /// At the end of the file: goes over to the next one once any later one is written to, and this one has been read to
  /// its end.
  private mutating func moveOn(_ body: (Span<UInt8>, UInt64) -> Bool) throws(SystemError) -> Bool {
    guard file.canGrow else { return false }
    // Files that were put aside unwritten give way.
    if next.count >= Self.nextMax { next.removeAll { ($0.stamp?.size ?? 0) == 0 } }
    if next.count < Self.nextMax, let there = FileStamp(path: path), let last = (next.last ?? file).stamp,
      !there.isSameFile(as: last)
    {
      do throws(SystemError) { next.append(try GrowingFile(path: path, chunkBytes: chunkBytes)) } catch {
        // A file that is gone again is looked for at the next turn.
        if FileStamp(path: path) != nil { throw error }
      }
    }
    guard next.contains(where: { ($0.stamp?.size ?? 0) > 0 }) else { return false }
    // The gate may have written to the old file between its end and this look at the new one.
    let kept = buffer.count
    if try file.read(into: &buffer) == .bytes {
      splitLines(searchFrom: kept, body)
      return true
    }
    dropPartial()
    file = next.removeFirst()
    return true
  }

  private static let nextMax = 8
}
