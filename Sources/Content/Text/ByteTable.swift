// One property of each byte, held so that a look needs no check of bounds; and runs of bytes that have it.
// It relies on a byte being below 256, and on each range being checked once before it is walked.

/// Tables are made for the life of the program: the memory of one is never freed, and not written after its beginning.
@safe struct ByteTable: @unchecked Sendable {
  // An InlineArray would do, but each look at one copies it (Swift 6.3): 18 million instructions for 100 KiB of text in
  // place of 6.
  private let values: UnsafePointer<UInt8>

  init(_ value: (UInt8) -> UInt8) {
    let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: 256)
    for byte in 0...255 { unsafe memory[byte] = value(UInt8(byte)) }
    unsafe values = unsafe UnsafePointer(memory)
  }

  init(where isIn: (UInt8) -> Bool) { self.init { isIn($0) ? 1 : 0 } }

  subscript(byte: UInt8) -> UInt8 {
    // Sound: there are 256 of them.
    @inline(__always) get { unsafe values[Int(byte)] }
  }

  /// The first place in `range` whose byte has no mark, or its end.
  @inline(__always)
  func endOfMarked(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "a scan stays within the bytes it was given")
    var place = range.lowerBound
    // Sound: `place` is held below the range's end, which was checked.
    while place < range.upperBound, unsafe self[bytes[unchecked: place]] != 0 { place += 1 }
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
      if unsafe self[bytes[unchecked: place]] == 0 { return place }
    }
    return nil
  }
}
