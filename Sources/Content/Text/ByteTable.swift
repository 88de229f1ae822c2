// One property of each byte, held so that a look needs no check of bounds; and runs of bytes that have it.
// It relies on a byte being below 256, and on each range being checked once before it is walked.

struct ByteTable {
  private var values: [256 of UInt8]

  init(_ value: (UInt8) -> UInt8) {
    values = [256 of UInt8] { value(UInt8($0)) }
  }

  init(where isIn: (UInt8) -> Bool) { self.init { isIn($0) ? 1 : 0 } }

  subscript(byte: UInt8) -> UInt8 {
    @inline(__always) get { values[Int(byte)] }
  }

  /// The first place in `range` whose byte has no mark, or its end.
  @inline(__always)
  func endOfMarked(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "a scan stays within the bytes it was given")
    var place = range.lowerBound
    // Sound: `place` is held below the range's end, which was checked.
    while place < range.upperBound, values[Int(unsafe bytes[unchecked: place])] != 0 { place += 1 }
    return place
  }

  /// The last place in `range` whose byte has no mark; nil when all have.
  @inline(__always)
  func lastUnmarked(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int? {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "a scan stays within the bytes it was given")
    var place = range.upperBound
    while place > range.lowerBound {
      place -= 1
      // Sound: as above.
      if values[Int(unsafe bytes[unchecked: place])] == 0 { return place }
    }
    return nil
  }
}
