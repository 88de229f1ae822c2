// A JSON text as a value, and back: requests and replies of the admin socket, one a line.
// It relies on RFC 8259, and is stricter: whole numbers of 64 bits alone, no name twice, a bounded depth.

package indirect enum JSONValue: Equatable, Sendable {
  case null
  case bool(Bool)
  case number(Int)
  case text(String)
  case list([JSONValue])
  case object([JSONMember])

  /// The value of a member; nil where this is no object, or has none of that name.
  package subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  package var asText: String? { if case .text(let text) = self { text } else { nil } }
  package var asNumber: Int? { if case .number(let number) = self { number } else { nil } }
  package var asBool: Bool? { if case .bool(let bool) = self { bool } else { nil } }
  package var asList: [JSONValue] { if case .list(let list) = self { list } else { [] } }
  package var members: [JSONMember] { if case .object(let members) = self { members } else { [] } }

  /// Without spaces, and so on one line.
  package func append(to out: inout [UInt8]) {
    switch self {
    case .null: out.append("null")
    case .bool(let bool): out.append(bool ? "true" : "false")
    case .number(let number): JSONText.appendDecimal(number, to: &out)
    case .text(let text): JSONText.appendString(text, to: &out)
    case .list(let list):
      out.append(UInt8(ascii: "["))
      for (index, value) in list.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        value.append(to: &out)
      }
      out.append(UInt8(ascii: "]"))
    case .object(let members):
      out.append(UInt8(ascii: "{"))
      for (index, member) in members.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        JSONText.appendString(member.name, to: &out)
        out.append(UInt8(ascii: ":"))
        member.value.append(to: &out)
      }
      out.append(UInt8(ascii: "}"))
    }
  }

  package var line: [UInt8] {
    var out: [UInt8] = []
    append(to: &out)
    out.append(.lineFeed)
    return out
  }
}

package struct JSONMember: Equatable, Sendable {
  package let name: String
  package let value: JSONValue

  package init(_ name: String, _ value: JSONValue) { (self.name, self.value) = (name, value) }
}

package struct JSONProblem: Error, Equatable, CustomStringConvertible {
  /// Counted from zero.
  package let offset: Int
  package let text: String

  package var description: String { "byte \(offset): \(text)" }
}

extension JSONValue {
  /// All of the text is one value.
  package static func parse(_ bytes: [UInt8]) throws(JSONProblem) -> JSONValue {
    var reader = JSONReader(bytes: bytes)
    let value = try reader.value(depth: 0)
    reader.skipSpaces()
    guard reader.isAtEnd else { throw reader.problem("more than one value") }
    return value
  }
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

  mutating func value(depth: Int) throws(JSONProblem) -> JSONValue {
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

  private mutating func object(depth: Int) throws(JSONProblem) -> JSONValue {
    index += 1
    var members: [JSONMember] = []
    skipSpaces()
    if take(UInt8(ascii: "}")) { return .object([]) }
    while true {
      skipSpaces()
      guard next == UInt8(ascii: "\"") else { throw problem("a member begins with its name in quotes") }
      let name = try text()
      if members.contains(where: { $0.name == name }) { throw problem("a name stands twice") }
      skipSpaces()
      guard take(UInt8(ascii: ":")) else { throw problem("a colon follows the name") }
      members.append(JSONMember(name, try value(depth: depth + 1)))
      skipSpaces()
      if take(UInt8(ascii: "}")) { return .object(members) }
      guard take(UInt8(ascii: ",")) else { throw problem("a comma or a closing brace follows") }
    }
  }

  private mutating func list(depth: Int) throws(JSONProblem) -> JSONValue {
    index += 1
    var values: [JSONValue] = []
    skipSpaces()
    if take(UInt8(ascii: "]")) { return .list([]) }
    while true {
      values.append(try value(depth: depth + 1))
      skipSpaces()
      if take(UInt8(ascii: "]")) { return .list(values) }
      guard take(UInt8(ascii: ",")) else { throw problem("a comma or a closing bracket follows") }
    }
  }

  private mutating func word(_ text: StaticString, _ value: JSONValue) throws(JSONProblem) -> JSONValue {
    var wanted: [UInt8] = []
    wanted.append(text)
    guard bytes[index...].starts(with: wanted) else { throw problem("no value begins like this") }
    index += wanted.count
    return value
  }

  private mutating func number() throws(JSONProblem) -> JSONValue {
    let start = index
    _ = take(UInt8(ascii: "-"))
    let first = index
    while let byte = next, byte.isDigit { index += 1 }
    let digits = bytes[first..<index]
    guard !digits.isEmpty, digits.count == 1 || digits.first != UInt8(ascii: "0") else { throw problem("no number") }
    if let byte = next, byte == UInt8(ascii: ".") || byte | 0x20 == UInt8(ascii: "e") {
      throw problem("whole numbers alone")
    }
    guard let value = Int(String(decoding: bytes[start..<index], as: UTF8.self)) else {
      throw problem("a number beyond 64 bits")
    }
    return .number(value)
  }

  private mutating func text() throws(JSONProblem) -> String {
    index += 1
    var out: [UInt8] = []
    while let byte = next {
      index += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: out, as: UTF8.self) else { throw problem("no UTF-8") }
        return text
      case UInt8(ascii: "\\"): try escape(into: &out)
      case 0..<0x20: throw problem("a control character in a text; write it as \\u")
      default: out.append(byte)
      }
    }
    throw problem("it ends within a text")
  }

  private mutating func escape(into out: inout [UInt8]) throws(JSONProblem) {
    guard let byte = next else { throw problem("it ends within a text") }
    index += 1
    if byte == UInt8(ascii: "u") { return try scalar(into: &out) }
    guard let meant = JSONText.unescaped(byte) else { throw problem("an unknown escape") }
    out.append(meant)
  }

  /// One scalar, of two escapes where it is beyond 16 bits (RFC 8259 section 7).
  private mutating func scalar(into out: inout [UInt8]) throws(JSONProblem) {
    var value = try fourDigits()
    if (0xd800..<0xdc00).contains(value) {
      guard take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else { throw problem("half of a surrogate pair") }
      let low = try fourDigits()
      guard (0xdc00..<0xe000).contains(low) else { throw problem("half of a surrogate pair") }
      value = 0x10000 + (value - 0xd800) << 10 + (low - 0xdc00)
    }
    guard let scalar = Unicode.Scalar(value) else { throw problem("half of a surrogate pair") }
    out += Array(String(Character(scalar)).utf8)
  }

  private mutating func fourDigits() throws(JSONProblem) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = next?.hexValue else { throw problem("\\u takes four hexadecimal digits") }
      value = value << 4 | UInt32(digit)
      index += 1
    }
    return value
  }
}
