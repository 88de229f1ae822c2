// The lines of a log file, one after the other, also while it grows and when it is put aside for a new one.
// It relies on the gate's way to rotate: after the first byte in the new file nothing is written to the old one.
package import Kernel
import Wire

package struct LogTail {
  /// A longer line is none of a gate's; it is counted and skipped.
  package static let lineBytesMax = 1 << 20

  private let path: String
  private var file: GrowingFile
  /// Files that have stood at the path since, in order, while the old one may still be written to.
  private var next: [GrowingFile] = []
  private var buffer: [UInt8] = []
  private var isSkipping = false
  /// Lines that were too long, or cut off by the end of their file.
  package private(set) var torn = 0

  package init(path: String) throws(SystemError) {
    self.path = path
    file = try GrowingFile(path: path)
  }

  /// Calls `body` with each whole line of the next chunk, without its end. False: there is nothing more by now.
  /// `body` answers whether to go on; what it did not want is lost.
  package mutating func read(_ body: (Span<UInt8>) -> Bool) throws(SystemError) -> Bool {
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

  private mutating func splitLines(searchFrom: Int, _ body: (Span<UInt8>) -> Bool) {
    var bytes: [UInt8] = []
    swap(&bytes, &buffer)
    var start = 0
    var search = searchFrom
    while let end = bytes.span.firstIndex(of: UInt8(ascii: "\n"), in: search..<bytes.count) {
      if isSkipping {
        isSkipping = false
      } else if end - start > Self.lineBytesMax {
        torn += 1
      } else if end > start, !body(bytes.span.extracting(start..<end)) {
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
  private mutating func moveOn(_ body: (Span<UInt8>) -> Bool) throws(SystemError) -> Bool {
    guard file.canGrow else { return false }
    if let there = FileStamp(path: path), let last = (next.last ?? file).stamp, !there.isSameFile(as: last) {
      // Files that were put aside unwritten: the first of them gives way.
      if next.count == Self.nextMax { next.removeFirst() }
      do throws(SystemError) { next.append(try GrowingFile(path: path)) } catch {
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
