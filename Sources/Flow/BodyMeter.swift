// Follows one HTTP body through a relay and finds its end.
// It relies on Wire for chunked framing; a tunnel counts as a body that ends with its connection.
package import Wire

package struct BodyMeter: Sendable {
  private enum Framing {
    case ended
    case length(UInt64)
    case chunked(ChunkedScanner)
    case untilClose
  }

  package enum Progress: Sendable {
    /// All bytes belong to the body, more follow.
    case more
    /// The body ended behind this many of the bytes.
    case ended(Int)
    case malformed
  }

  private var framing: Framing
  /// Ranges of chunk extensions in the bytes followed last. They are not forwarded.
  package private(set) var leftOut: [Range<Int>] = []

  package init(_ length: BodyLength) {
    switch length {
    case .none: framing = .ended
    case .length(let count): framing = count == 0 ? .ended : .length(count)
    case .chunked: framing = .chunked(ChunkedScanner())
    case .untilClose: framing = .untilClose
    }
  }

  package static let tunnel = BodyMeter(.untilClose)

  package var hasEnded: Bool { if case .ended = framing { true } else { false } }
  package var endsWithConnection: Bool { if case .untilClose = framing { true } else { false } }

  /// The number of bytes that may be moved without parsing: zero for a chunked body.
  package var blindBytesMax: Int {
    switch framing {
    case .ended, .chunked: 0
    case .length(let left): Int(clamping: left)
    case .untilClose: .max
    }
  }

  /// The number of bytes that may be read: bytes behind a body of known length are not part of it.
  package var readBytesMax: Int {
    if case .chunked = framing { return .max }
    return blindBytesMax
  }

  /// Counts bytes that were moved without parsing.
  package mutating func moved(_ count: Int) {
    guard case .length(let left) = framing else { return }
    framing = UInt64(count) >= left ? .ended : .length(left - UInt64(count))
  }

  package mutating func follow(_ bytes: Span<UInt8>) -> Progress {
    switch framing {
    case .ended: return .ended(0)
    case .untilClose: return .more
    case .length(let left):
      let taken = Int(clamping: min(UInt64(bytes.count), left))
      moved(taken)
      return hasEnded ? .ended(taken) : .more
    case .chunked(var scanner):
      let progress = scanner.scan(bytes)
      leftOut = scanner.leftOut
      framing = .chunked(scanner)
      switch progress {
      case .needsMore: return .more
      case .done(let consumed):
        framing = .ended
        return .ended(consumed)
      case .malformed: return .malformed
      }
    }
  }
}
