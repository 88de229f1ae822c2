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
}

extension Span where Element == UInt8 {
  /// Whether the bytes of `range` are `lower` without regard to case. `lower` must be a lower-case ASCII literal.
  @inline(__always)
  func matches(_ lower: StaticString, at range: Range<Int>) -> Bool {
    guard range.count == lower.utf8CodeUnitCount else { return false }
    return hasPrefix(lower, at: range)
  }

  /// Whether the bytes of `range` begin with `lower` without regard to case.
  @inline(__always)
  func hasPrefix(_ lower: StaticString, at range: Range<Int>) -> Bool {
    let count = lower.utf8CodeUnitCount
    guard range.count >= count else { return false }
    // Sound: a string literal is immortal, and `index` stays below its length.
    let expected = unsafe lower.utf8Start
    for index in 0..<count where unsafe self[range.lowerBound + index].lowercased != expected[index] { return false }
    return true
  }

  /// Whether two ranges of these bytes are the same text without regard to case.
  func sameText(_ one: Range<Int>, _ other: Range<Int>) -> Bool {
    guard one.count == other.count else { return false }
    for index in 0..<one.count
    where self[one.lowerBound + index].lowercased != self[other.lowerBound + index].lowercased {
      return false
    }
    return true
  }

  /// Whether two ranges of these bytes are byte for byte the same.
  func sameBytes(_ one: Range<Int>, _ other: Range<Int>) -> Bool {
    guard one.count == other.count else { return false }
    for index in 0..<one.count where self[one.lowerBound + index] != self[other.lowerBound + index] { return false }
    return true
  }

  /// The range without the blanks (RFC 9110 OWS) at its ends.
  @inline(__always)
  func trimmed(_ range: Range<Int>) -> Range<Int> {
    var start = range.lowerBound
    var end = range.upperBound
    while start < end, self[start].isBlank { start += 1 }
    while end > start, self[end - 1].isBlank { end -= 1 }
    return start..<end
  }

  func firstIndex(of byte: UInt8, in range: Range<Int>) -> Int? {
    for index in range where self[index] == byte { return index }
    return nil
  }
}
