// Finds the end of a chunked body while it passes, in constant memory and without touching the data (RFC 9112
// section 7.1). It relies on being shown every byte of the body once, in order.

package enum ChunkedProgress: Equatable, Sendable {
  /// All bytes belong to the body, and more follow.
  case needsMore
  /// The body ended behind `consumed` of these bytes.
  case done(consumed: Int)
  case malformed
}

package enum ChunkedStep: Equatable, Sendable {
  /// Chunk data, without framing. Go on at its upper bound.
  case data(Range<Int>)
  case needsMore
  case done(consumed: Int)
  case malformed
}

/// Strict, since the chunks go upstream as they came: what is passed on must have one reading only.
package struct ChunkedScanner: Sendable {
  /// Extensions and trailers of one body, together: a sender may not have the gate carry framing in place of data.
  package static let overheadBytesMax = 16 * 1024

  private enum State {
    case size, extensions, sizeLineFeed, data, dataReturn, dataLineFeed
    case trailerStart, trailerName, trailerValue, trailerLineFeed, endLineFeed
    case done, malformed
  }

  private var state = State.size
  private var remaining: UInt64 = 0
  private var digits: UInt8 = 0
  private var overhead = 0
  private var nameHash = ChunkedScanner.emptyHash

  package init() {}

  /// Reads on through `bytes`.
  package mutating func scan(_ bytes: Span<UInt8>) -> ChunkedProgress {
    var index = 0
    while true {
      switch next(bytes, from: index) {
      case .data(let range): index = range.upperBound
      case .needsMore: return .needsMore
      case .done(let consumed): return .done(consumed: consumed)
      case .malformed: return .malformed
      }
    }
  }

  /// Reads on from `start` up to the next piece of chunk data: for a caller that passes on data alone.
  package mutating func next(_ bytes: Span<UInt8>, from start: Int) -> ChunkedStep {
    var index = start
    while index < bytes.count {
      if state == .data {
        let count = Int(min(remaining, UInt64(bytes.count - index)))
        remaining -= UInt64(count)
        if remaining == 0 { state = .dataReturn }
        return .data(index..<(index + count))
      }
      step(bytes[index])
      index += 1
      if state == .done { return .done(consumed: index) }
      if state == .malformed { return .malformed }
    }
    return state == .malformed || state == .done ? .malformed : .needsMore
  }

  private mutating func step(_ byte: UInt8) {
    switch state {
    case .size: stepSize(byte)
    case .extensions:
      if byte == .carriageReturn { state = .sizeLineFeed } else { spend(byte, if: byte.isFieldContent) }
    case .sizeLineFeed: expect(.lineFeed, byte, then: remaining == 0 ? .trailerStart : .data)
    case .dataReturn: expect(.carriageReturn, byte, then: .dataLineFeed)
    case .dataLineFeed: expect(.lineFeed, byte, then: .size)
    case .trailerStart:
      nameHash = ChunkedScanner.emptyHash
      if byte == .carriageReturn { state = .endLineFeed } else { stepTrailerName(byte) }
    case .trailerName:
      if byte == UInt8(ascii: ":") {
        state = ChunkedScanner.isForbiddenTrailer(nameHash) ? .malformed : .trailerValue
      } else {
        stepTrailerName(byte)
      }
    case .trailerValue:
      if byte == .carriageReturn { state = .trailerLineFeed } else { spend(byte, if: byte.isFieldContent) }
    case .trailerLineFeed: expect(.lineFeed, byte, then: .trailerStart)
    case .endLineFeed: expect(.lineFeed, byte, then: .done)
    case .data, .done, .malformed: state = .malformed
    }
  }

  private mutating func stepSize(_ byte: UInt8) {
    if let value = byte.hexValue {
      // 16 digits hold any size below 2^63; more, even of zeros, is a search for a parser that wraps around.
      guard digits < 16, remaining <= UInt64(Int64.max) >> 4 else { return state = .malformed }
      remaining = remaining << 4 | UInt64(value)
      digits += 1
      return
    }
    guard digits > 0 else { return state = .malformed }
    digits = 0
    switch byte {
    case .carriageReturn: state = .sizeLineFeed
    case UInt8(ascii: ";"): state = .extensions
    default: state = .malformed
    }
  }

  private mutating func stepTrailerName(_ byte: UInt8) {
    state = .trailerName
    nameHash = ChunkedScanner.hash(nameHash, byte)
    spend(byte, if: byte.isToken)
  }

  private mutating func spend(_ byte: UInt8, if isAllowed: Bool) {
    overhead += 1
    if !isAllowed || overhead > ChunkedScanner.overheadBytesMax { state = .malformed }
  }

  private mutating func expect(_ wanted: UInt8, _ byte: UInt8, then next: State) {
    state = byte == wanted ? next : .malformed
  }
}

// MARK: - Trailer names

extension ChunkedScanner {
  private static var emptyHash: UInt64 { 0xcbf2_9ce4_8422_2325 }

  /// FNV-1a of the name in lower case: a name is compared without being kept.
  private static func hash(_ sum: UInt64, _ byte: UInt8) -> UInt64 {
    (sum ^ UInt64(byte.lowercased)) &* 0x100_0000_01b3
  }

  private static func hash(_ name: StaticString) -> UInt64 {
    name.withUTF8Buffer { buffer in unsafe buffer.reduce(emptyHash, hash) }
  }

  /// Framing, routing and credentials have no place in a trailer (RFC 9110 section 6.5.1).
  private static let forbidden: [UInt64] = [
    hash("transfer-encoding"), hash("content-length"), hash("host"), hash("connection"),
    hash("proxy-authorization"), hash("authorization"),
  ]

  private static func isForbiddenTrailer(_ nameHash: UInt64) -> Bool { forbidden.contains(nameHash) }
}
