// Reads a message head from its first line to its end: the part that requests and responses have in common.
// It relies on `HeadLines` for the lines; a type that conforms knows its first line and what its fields mean.

/// A head that is read line by line: what is common to requests and responses.
protocol HeadGrammar {
  var lines: HeadLines { get set }
  /// True if the last `read` was incomplete, and the next one continues it.
  var isPartlyRead: Bool { get set }
  mutating func readFirstLine(_ bytes: Span<UInt8>, _ line: Range<Int>) throws(HeadProblem)
  /// Called when all lines are read, to check them together.
  mutating func readWhole(_ bytes: Span<UInt8>) throws(HeadProblem)
}

extension HeadGrammar {
  @inline(__always)
  mutating func read(_ bytes: Span<UInt8>, bytesMax: Int) -> HeadResult {
    if !isPartlyRead { lines.reset() }
    isPartlyRead = false
    do throws(HeadProblem) {
      while true {
        switch try lines.next(bytes, bytesMax: bytesMax) {
        case .incomplete:
          isPartlyRead = true
          return .incomplete
        case .firstLine(let line): try readFirstLine(bytes, line)
        case .end(let length):
          try readWhole(bytes)
          return .complete(length: length)
        }
      }
    } catch {
      return .malformed(error)
    }
  }

  mutating func giveUp() {
    lines.reset()
    isPartlyRead = false
  }
}
