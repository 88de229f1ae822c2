// The outline of a JSON text (RFC 8259): the ranges of its values. It keeps only the names of members. Texts are
// built only for a caller that asks, so a secret stays in the input buffer, which can be wiped.
// It relies on getting the same bytes again. It is strict: one value, no duplicate names, UTF-8, a depth limit.

package indirect enum JSONOutline: Sendable {
  case null
  case bool(Bool)
  /// The number's literal text.
  case number(Range<Int>)
  /// Between its quotes; its escapes are sound.
  case text(Range<Int>)
  case list([JSONOutline])
  case object([Member])

  package struct Member: Sendable {
    package let name: [UInt8]
    package let value: JSONOutline
  }

  /// Reads all of the bytes as one value.
  package init(of bytes: [UInt8]) throws(JSONProblem) {
    do throws(UTF8.ValidationError) { _ = try UTF8Span(validating: bytes.span) } catch {
      throw JSONProblem(offset: error.byteOffsets.lowerBound, text: "no UTF-8")
    }
    var reader = JSONReader(bytes: bytes)
    let value = try reader.value(depth: 0)
    reader.skipSpaces()
    guard reader.isAtEnd else { throw reader.problem("more than one value") }
    self = value
  }

  /// The value of a member. Nil if this is not an object, or has no such member.
  package subscript(name: String) -> JSONOutline? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name.elementsEqual(name.utf8) }?.value
  }

  package var isNull: Bool { if case .null = self { true } else { false } }

  /// Content of a text, in UTF-8, in memory of its own.
  package func text(in bytes: [UInt8]) -> [UInt8]? {
    guard case .text(let range) = self else { return nil }
    return JSONReader.unescaped(bytes, range)
  }
}

package struct JSONProblem: Error, Equatable, CustomStringConvertible {
  /// Counted from zero.
  package let offset: Int
  package let text: String

  package var description: String { "byte \(offset): \(text)" }
}

private struct JSONReader {
  private static let depthMax = 16

  let bytes: [UInt8]
  private var index = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { index == bytes.count }
  private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

  func problem(_ text: String) -> JSONProblem { JSONProblem(offset: index, text: text) }

  mutating func skipSpaces() {
    while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { index += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard next == byte else { return false }
    index += 1
    return true
  }

  mutating func value(depth: Int) throws(JSONProblem) -> JSONOutline {
    guard depth < Self.depthMax else { throw problem("nested too deep") }
    skipSpaces()
    guard let first = next else { throw problem("it ends where a value should stand") }
    switch first {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try list(depth: depth)
    case UInt8(ascii: "\""): return .text(try text())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    default: throw problem("no value begins like this")
    }
  }

  private mutating func object(depth: Int) throws(JSONProblem) -> JSONOutline {
    index += 1
    var members: [JSONOutline.Member] = []
    var names: Set<[UInt8]> = []
    skipSpaces()
    if take(UInt8(ascii: "}")) { return .object([]) }
    while true {
      skipSpaces()
      guard next == UInt8(ascii: "\"") else { throw problem("a member begins with its name in quotes") }
      let name = Self.unescaped(bytes, try text())
      guard names.insert(name).inserted else { throw problem("a name stands twice") }
      skipSpaces()
      guard take(UInt8(ascii: ":")) else { throw problem("a colon follows the name") }
      members.append(JSONOutline.Member(name: name, value: try value(depth: depth + 1)))
      skipSpaces()
      if take(UInt8(ascii: "}")) { return .object(members) }
      guard take(UInt8(ascii: ",")) else { throw problem("a comma or a closing brace follows") }
    }
  }

  private mutating func list(depth: Int) throws(JSONProblem) -> JSONOutline {
    index += 1
    var values: [JSONOutline] = []
    skipSpaces()
    if take(UInt8(ascii: "]")) { return .list([]) }
    while true {
      values.append(try value(depth: depth + 1))
      skipSpaces()
      if take(UInt8(ascii: "]")) { return .list(values) }
      guard take(UInt8(ascii: ",")) else { throw problem("a comma or a closing bracket follows") }
    }
  }

  private mutating func word(_ text: StaticString, _ value: JSONOutline) throws(JSONProblem) -> JSONOutline {
    let end = index + text.utf8CodeUnitCount
    guard end <= bytes.count, bytes.span.equals(text, at: index..<end) else {
      throw problem("no value begins like this")
    }
    index = end
    return value
  }

  private mutating func number() throws(JSONProblem) -> JSONOutline {
    let start = index
    _ = take(UInt8(ascii: "-"))
    let first = index
    guard skipDigits() > 0, bytes[first] != UInt8(ascii: "0") || index == first + 1 else { throw problem("no number") }
    if take(UInt8(ascii: ".")), skipDigits() == 0 { throw problem("digits follow the point") }
    if let byte = next, byte | 0x20 == UInt8(ascii: "e") {
      index += 1
      if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
      guard skipDigits() > 0 else { throw problem("no number") }
    }
    return .number(start..<index)
  }

  private mutating func skipDigits() -> Int {
    let start = index
    while let byte = next, byte.isDigit { index += 1 }
    return index - start
  }

  // MARK: - Texts

  /// Skips a text with its quotes.
  private mutating func text() throws(JSONProblem) -> Range<Int> {
    index += 1
    let start = index
    while let byte = next {
      switch byte {
      case UInt8(ascii: "\""):
        index += 1
        return start..<(index - 1)
      case UInt8(ascii: "\\"):
        guard let (_, end) = Self.escape(bytes, at: index) else { throw problem("an escape that means nothing") }
        index = end
      case 0..<0x20: throw problem("a control character in a text; write it as \\u")
      default: index += 1
      }
    }
    throw problem("it ends within a text")
  }

  /// Decodes a valid text. Its buffer has its final size from the start, so that no copy is left behind by growing.
  static func unescaped(_ bytes: [UInt8], _ range: Range<Int>) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(range.count)
    var index = range.lowerBound
    while index < range.upperBound {
      if bytes[index] == UInt8(ascii: "\\"), let (scalar, end) = escape(bytes, at: index) {
        UTF8.encode(scalar)?.forEach { out.append($0) }
        index = end
      } else {
        out.append(bytes[index])
        index += 1
      }
    }
    return out
  }

  /// Meaning of the escape at `start`, and its end; one scalar of two escapes where it is beyond 16 bits (section
  /// 7).
  private static func escape(_ bytes: [UInt8], at start: Int) -> (Unicode.Scalar, end: Int)? {
    guard start + 1 < bytes.count else { return nil }
    guard bytes[start + 1] == UInt8(ascii: "u") else {
      return JSONText.unescaped(bytes[start + 1]).map { (Unicode.Scalar($0), start + 2) }
    }
    guard let high = fourDigits(bytes, at: start + 2) else { return nil }
    guard high & 0xfc00 == 0xd800 else { return Unicode.Scalar(high).map { ($0, start + 6) } }
    guard start + 7 < bytes.count, bytes[start + 6] == UInt8(ascii: "\\"), bytes[start + 7] == UInt8(ascii: "u"),
      let low = fourDigits(bytes, at: start + 8), low & 0xfc00 == 0xdc00
    else { return nil }
    return Unicode.Scalar(0x10000 + (high & 0x3ff) << 10 + low & 0x3ff).map { ($0, start + 12) }
  }

  private static func fourDigits(_ bytes: [UInt8], at start: Int) -> UInt32? {
    guard start + 4 <= bytes.count else { return nil }
    var value: UInt32 = 0
    for byte in bytes[start..<(start + 4)] {
      guard let digit = byte.hexValue else { return nil }
      value = value << 4 | UInt32(digit)
    }
    return value
  }
}
