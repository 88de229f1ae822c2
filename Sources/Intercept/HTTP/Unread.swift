// Bytes of one side that were read and that no step has used yet.
// It relies on its owner to compact it before a parser remembers places in it.
import Wire

/// Bytes that have come and are not used yet.
struct Unread {
  private var bytes: [UInt8] = []
  private var offset = 0

  var isEmpty: Bool { offset == bytes.count }
  var count: Int { bytes.count - offset }

  mutating func append(_ more: Span<UInt8>) { bytes.append(more) }

  mutating func drop(_ count: Int) {
    offset += min(count, bytes.count - offset)
    if offset == bytes.count {
      bytes.removeAll(keepingCapacity: bytes.capacity <= 4096)
      offset = 0
    }
  }

  /// What a parser has gone over must stay where it is, so used bytes go only before a new head.
  mutating func compact() {
    bytes.removeFirst(offset)
    offset = 0
  }

  mutating func takeAll() -> [UInt8] {
    defer { drop(.max) }
    return Array(bytes[offset...])
  }

  func parse<R>(_ read: (Span<UInt8>) -> R) -> R { read(bytes.span.extracting(droppingFirst: offset)) }
}
