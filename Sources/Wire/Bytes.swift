// Copying and comparing bytes without a loop of our own or an allocation: the one file of this module with unsafe code.
// It relies on the standard library alone; every pointer below is used inside the expression that obtains it, over the
// length that came with it, so none outlives its memory.

extension Array where Element == UInt8 {
  /// Appends the bytes of a span in one copy.
  @inline(__always)
  package mutating func append(_ bytes: Span<UInt8>) {
    // Sound: the buffer is the span's own memory and count, and ends with the closure.
    unsafe bytes.withUnsafeBufferPointer { buffer in unsafe append(contentsOf: buffer) }
  }

  /// Appends the UTF-8 of a literal in one copy.
  @inline(__always)
  package mutating func append(_ literal: StaticString) {
    // Sound: a string literal is immortal; `utf8Start` traps for the one form that has no memory (a lone scalar).
    unsafe append(contentsOf: UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
  }

  /// Feeds all bytes in one call of the hasher instead of one call per byte.
  package func feed(_ hasher: inout Hasher) {
    // Sound: the buffer is the array's own, and ends with the closure.
    unsafe withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
  }
}

extension Span where Element == UInt8 {
  /// True if the bytes of `range` are `lower` without regard to case. `lower` must be a lower-case ASCII literal.
  @inline(__always)
  func matches(_ lower: StaticString, at range: Range<Int>) -> Bool {
    guard range.count == lower.utf8CodeUnitCount else { return false }
    return hasPrefix(lower, at: range)
  }

  /// True if the bytes of `range` begin with `lower` without regard to case.
  @inline(__always)
  func hasPrefix(_ lower: StaticString, at range: Range<Int>) -> Bool {
    let count = lower.utf8CodeUnitCount
    guard range.count >= count else { return false }
    // Sound: a string literal is immortal, and `index` stays below its length.
    let expected = unsafe lower.utf8Start
    for index in 0..<count where unsafe self[range.lowerBound + index].lowercased != expected[index] { return false }
    return true
  }

  /// True if the bytes are `lower`, a lower-case ASCII literal, without regard to case.
  package func matches(_ lower: StaticString) -> Bool { matches(lower, at: 0..<count) }

  /// True if the bytes begin with `lower`, a lower-case ASCII literal, without regard to case.
  package func begins(_ lower: StaticString) -> Bool { hasPrefix(lower, at: 0..<count) }

  /// True if the bytes of `range` are exactly `literal`.
  @inline(__always)
  package func equals(_ literal: StaticString, at range: Range<Int>) -> Bool {
    guard range.count == literal.utf8CodeUnitCount else { return false }
    // Sound: as above.
    let expected = unsafe literal.utf8Start
    for index in 0..<range.count where unsafe self[range.lowerBound + index] != expected[index] { return false }
    return true
  }

  /// True if two ranges of these bytes are the same text without regard to case.
  func sameText(_ one: Range<Int>, _ other: Range<Int>) -> Bool {
    guard one.count == other.count else { return false }
    for index in 0..<one.count
    where self[one.lowerBound + index].lowercased != self[other.lowerBound + index].lowercased {
      return false
    }
    return true
  }

  /// The range without the blanks (RFC 9110 OWS) at its ends. Line ends count: within a field line they are folds.
  @inline(__always)
  func trimmed(_ range: Range<Int>) -> Range<Int> {
    var start = range.lowerBound
    var end = range.upperBound
    while start < end, self[start].isBlankOrFold { start += 1 }
    while end > start, self[end - 1].isBlankOrFold { end -= 1 }
    return start..<end
  }

  /// The first place in `start..<end` whose byte is no field content, or `end`. Eight bytes a step: most of a head is
  /// field content, and looking at it byte by byte was half the cost of a request.
  @inline(__always)
  func endOfFieldContent(from start: Int, to end: Int) -> Int {
    precondition(start >= 0 && start <= end && end <= count, "a scan stays within the bytes it was given")
    var index = start
    while index + 8 <= end {
      let word = word(at: index)
      // A borrow can only mark bytes behind a true mark, and the first mark is the one that is used.
      let controls = (word &- UInt64.everyByte(0x20)) & ~word
      let marks = (controls | (word ^ UInt64.everyByte(0x7f)).zeroBytes) & UInt64.everyByte(0x80)
      if marks == 0 {
        index += 8
        continue
      }
      index += marks.trailingZeroBitCount / 8
      guard self[index] == .tab else { return index }
      index += 1
    }
    while index < end, self[index].isFieldContent { index += 1 }
    return index
  }

  package func firstIndex(of byte: UInt8, in range: Range<Int>) -> Int? {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "a scan stays within the bytes it was given")
    var index = range.lowerBound
    while index + 8 <= range.upperBound {
      let marks = (word(at: index) ^ UInt64.everyByte(byte)).zeroBytes
      if marks != 0 { return index + marks.trailingZeroBitCount / 8 }
      index += 8
    }
    while index < range.upperBound {
      if self[index] == byte { return index }
      index += 1
    }
    return nil
  }

  /// Eight bytes, the first one lowest. The caller has checked that `index + 8` is within the span.
  @inline(__always)
  private func word(at index: Int) -> UInt64 {
    // Sound: both callers check the range against `count` first, and step within it.
    unsafe UInt64(littleEndian: bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self))
  }
}

extension UInt64 {
  @inline(__always)
  fileprivate static func everyByte(_ byte: UInt8) -> UInt64 { UInt64(byte) &* 0x0101_0101_0101_0101 }

  /// The high bit of each byte that is zero; exact for the lowest one.
  @inline(__always)
  fileprivate var zeroBytes: UInt64 {
    (self &- UInt64.everyByte(1)) & ~self & UInt64.everyByte(0x80)
  }
}
