// The text under check, unescaped: the newest bytes and what stands before them, in one piece, with the way back to
// where each byte came from. It relies on its history being longer than anything that a scanner looks back for.
import Wire

struct Window {
  /// No needle and no run is longer; the scanners may look this far back from the newest byte.
  static let historyBytes = 8192
  static let capacity = 4 * historyBytes

  private(set) var bytes: [UInt8] = []
  /// The offset of `bytes[0]` in the unescaped text.
  private(set) var base = 0
  /// From each `at` on, in unescaped bytes, the source goes on at `source`.
  private var turns: [(at: Int, source: Int)] = [(0, 0)]

  init() { bytes.reserveCapacity(Self.capacity) }

  var end: Int { base + bytes.count }
  var room: Int { Self.capacity - bytes.count }

  mutating func append(_ run: Span<UInt8>) {
    bytes.append(run)
  }

  /// What one escape stood for, which ended at `sourceEnd`.
  mutating func append(_ meaning: Escape.Meaning, sourceEnd: Int) {
    switch meaning {
    case .byte(let byte): bytes.append(byte)
    case .scalar(let value) where value < 0x80: bytes.append(UInt8(value))
    case .scalar(let value):
      // What is no scalar, such as half a surrogate pair, stands as a question mark.
      bytes += Array(String(Character(Unicode.Scalar(value) ?? "?")).utf8)
    }
    turns.append((end, sourceEnd))
  }

  /// Bytes up to `sourceEnd` stand for nothing.
  mutating func skip(sourceEnd: Int) {
    // However many stand behind each other, they are one turn.
    if turns.last?.at == end { turns.removeLast() }
    turns.append((end, sourceEnd))
  }

  /// Drops all but the history. Call when `room` is used up.
  mutating func slide() {
    guard bytes.count > Self.historyBytes else { return }
    let dropped = bytes.count - Self.historyBytes
    bytes.removeFirst(dropped)
    base += dropped
    let kept = (turns.lastIndex { $0.at <= base }) ?? 0
    turns.removeFirst(kept)
  }

  /// Where the unescaped offset came from; what is older than the history has the oldest known place.
  func source(of offset: Int) -> Int {
    var low = 0
    var high = turns.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if turns[middle].at <= offset { low = middle } else { high = middle }
    }
    return max(turns[low].source + (offset - turns[low].at), 0)
  }

  subscript(_ offset: Int) -> UInt8 { bytes[offset - base] }
  func has(_ range: Range<Int>) -> Bool { range.lowerBound >= base && range.upperBound <= end }
}
