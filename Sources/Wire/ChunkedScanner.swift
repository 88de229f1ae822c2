// Finds the end of a chunked body in transit, in constant memory and without changing the data (RFC 9112 section
// 7.1). It relies on getting every byte of the body once, in order.

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

/// Strict, since chunks are forwarded as received, without extensions: forwarded bytes must have only one reading.
/// RFC 9112 section 7.1.1 lets a recipient ignore unknown extensions. Parsers disagree on where an extension ends, so
/// extensions must follow the grammar and are not forwarded.
package struct ChunkedScanner: Sendable {
  /// Limit for the extensions and trailers of one body: a sender may not use the gate to carry framing instead of
  /// data.
  package static let overheadBytesMax = 16 * 1024

  private enum State {
    case size, sizeLineFeed, data, dataReturn, dataLineFeed
    case trailerStart, trailerName, trailerValue, trailerLineFeed, endLineFeed
    case done, malformed
    // chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
    case extensionGap, extensionStart, extensionName, extensionNameGap
    case extensionValueStart, extensionToken, extensionQuoted, extensionEscape, extensionEnd

    var isTrailer: Bool {
      switch self {
      case .trailerStart, .trailerName, .trailerValue, .trailerLineFeed: true
      default: false
      }
    }

    var isExtension: Bool {
      switch self {
      case .extensionGap, .extensionStart, .extensionName, .extensionNameGap, .extensionValueStart, .extensionToken,
        .extensionQuoted, .extensionEscape, .extensionEnd:
        true
      default: false
      }
    }
  }

  private var state = State.size
  private var remaining: UInt64 = 0
  private var digits: UInt8 = 0
  private var overhead = 0
  private var nameHash = ChunkedScanner.emptyHash
  /// Ranges of chunk extensions in the bytes scanned last. They are not forwarded.
  package private(set) var leftOut: [Range<Int>] = []
  /// The trailer fields, each with its line end, for a caller that forwards only data.
  package private(set) var trailers: [UInt8] = []

  package init() {}

  /// Scans `bytes`, which all belong to the body. Ranges in `leftOut` must not be forwarded.
  package mutating func scan(_ bytes: Span<UInt8>) -> ChunkedProgress {
    if !leftOut.isEmpty { leftOut = [] }
    var index = 0
    while true {
      switch read(bytes, from: index, notesExtensions: true) {
      case .data(let range): index = range.upperBound
      case .needsMore: return .needsMore
      case .done(let consumed): return .done(consumed: consumed)
      case .malformed: return .malformed
      }
    }
  }

  /// Scans from `start` to the next piece of chunk data, for a caller that forwards only data.
  package mutating func next(_ bytes: Span<UInt8>, from start: Int) -> ChunkedStep {
    read(bytes, from: start, notesExtensions: false)
  }

  @inline(__always)
  private mutating func read(_ bytes: Span<UInt8>, from start: Int, notesExtensions: Bool) -> ChunkedStep {
    var index = start
    while index < bytes.count {
      if state == .data {
        let count = Int(min(remaining, UInt64(bytes.count - index)))
        remaining -= UInt64(count)
        if remaining == 0 { state = .dataReturn }
        return .data(index..<(index + count))
      }
      if !notesExtensions, state.isTrailer { trailers.append(bytes[index]) }
      step(bytes[index])
      if notesExtensions, state.isExtension { leaveOut(index) }
      index += 1
      if state == .done { return .done(consumed: index) }
      if state == .malformed { return .malformed }
    }
    return state == .malformed || state == .done ? .malformed : .needsMore
  }

  private mutating func leaveOut(_ index: Int) {
    if let last = leftOut.last, last.upperBound == index {
      leftOut[leftOut.count - 1] = last.lowerBound..<(index + 1)
    } else {
      leftOut.append(index..<(index + 1))
    }
  }

  private mutating func step(_ byte: UInt8) {
    switch state {
    case .size: stepSize(byte)
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
    default: stepExtension(byte)
    }
  }

  private mutating func stepSize(_ byte: UInt8) {
    if let value = byte.hexValue {
      // 16 digits hold any size below 2^63. More digits, even zeros, look for a parser that overflows.
      guard digits < 16, remaining <= UInt64(Int64.max) >> 4 else { return state = .malformed }
      remaining = remaining << 4 | UInt64(value)
      digits += 1
      return
    }
    guard digits > 0 else { return state = .malformed }
    digits = 0
    if byte == .carriageReturn { state = .sizeLineFeed } else { enter(ChunkedScanner.behindExtension(byte)) }
  }

  private mutating func stepExtension(_ byte: UInt8) {
    switch state {
    case .extensionGap: enter(ChunkedScanner.behindExtension(byte))
    case .extensionStart: enter(byte.isBlank ? state : byte.isToken ? .extensionName : .malformed)
    case .extensionName where byte.isToken: enter(.extensionName)
    case .extensionName where byte == .carriageReturn: state = .sizeLineFeed
    case .extensionName, .extensionNameGap:
      if byte == UInt8(ascii: "=") {
        enter(.extensionValueStart)
      } else {
        enter(byte.isBlank ? .extensionNameGap : byte == UInt8(ascii: ";") ? .extensionStart : .malformed)
      }
    case .extensionValueStart:
      let value: State = byte == UInt8(ascii: "\"") ? .extensionQuoted : byte.isToken ? .extensionToken : .malformed
      enter(byte.isBlank ? state : value)
    case .extensionToken where byte.isToken: enter(.extensionToken)
    case .extensionQuoted where byte == UInt8(ascii: "\""): enter(.extensionEnd)
    case .extensionQuoted where byte == UInt8(ascii: "\\"): enter(.extensionEscape)
    case .extensionQuoted, .extensionEscape: enter(byte.isFieldContent ? .extensionQuoted : .malformed)
    default:
      // Behind a whole value.
      if byte == .carriageReturn { state = .sizeLineFeed } else { enter(ChunkedScanner.behindExtension(byte)) }
    }
  }

  /// Another extension may follow; a line that ends in blanks is none.
  private static func behindExtension(_ byte: UInt8) -> State {
    byte.isBlank ? .extensionGap : byte == UInt8(ascii: ";") ? .extensionStart : .malformed
  }

  private mutating func enter(_ next: State) {
    overhead += 1
    state = overhead > ChunkedScanner.overheadBytesMax ? .malformed : next
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

extension [UInt8] {
  /// Appends bytes without some ranges of them, which are in order.
  package mutating func append(_ bytes: Span<UInt8>, leavingOut ranges: [Range<Int>]) {
    var start = 0
    for range in ranges where range.upperBound <= bytes.count {
      append(bytes.extracting(start..<range.lowerBound))
      start = range.upperBound
    }
    append(bytes.extracting(start..<bytes.count))
  }
}
