// Reads a small JSON text (RFC 8259) whose texts are secrets: as bytes that can be wiped, never as a String. Fractions are
// kept as they are written. Strict: one value, no key twice, nothing behind it.
// It relies on nothing; depth is bounded, and what the text may weigh is the caller's to bound.
import Wire

indirect enum SecretJSON: Hashable, Sendable {
  case null
  case bool(Bool)
  /// As it is written.
  case number([UInt8])
  /// UTF-8, with the escapes undone.
  case string([UInt8])
  case array([SecretJSON])
  case object([[UInt8]: SecretJSON])

  static let depthMax = 16

  /// Nil where the text is not JSON.
  init?(parsing text: [UInt8]) {
    var reader = SecretJSONReader(text)
    reader.skipBlanks()
    guard let value = reader.value(depth: 0) else { return nil }
    reader.skipBlanks()
    guard reader.isAtEnd else { return nil }
    self = value
  }

  subscript(_ key: String) -> SecretJSON? {
    guard case .object(let members) = self else { return nil }
    return members[Array(key.utf8)]
  }

  var text: [UInt8]? {
    if case .string(let bytes) = self { return bytes }
    return nil
  }

  /// A whole number that is not negative; a decimal fraction is cut off.
  var wholeNumber: UInt64? {
    guard case .number(let bytes) = self else { return nil }
    let whole = bytes.prefix { $0 != UInt8(ascii: ".") }
    let rest = bytes.dropFirst(whole.count).dropFirst()
    guard !whole.isEmpty, whole.allSatisfy(\.isDigit), rest.allSatisfy(\.isDigit) else { return nil }
    return UInt64(String(decoding: whole, as: UTF8.self))
  }
}

private struct SecretJSONReader {
  private let bytes: [UInt8]
  private var index = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { index == bytes.count }
  private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

  mutating func skipBlanks() {
    while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { index += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard next == byte else { return false }
    index += 1
    return true
  }

  private mutating func take(_ literal: StaticString) -> Bool {
    let end = index + literal.utf8CodeUnitCount
    guard end <= bytes.count, bytes.span.equals(literal, at: index..<end) else { return false }
    index = end
    return true
  }

  mutating func value(depth: Int) -> SecretJSON? {
    guard depth < SecretJSON.depthMax, let byte = next else { return nil }
    switch byte {
    case UInt8(ascii: "n"): return take("null") ? .null : nil
    case UInt8(ascii: "t"): return take("true") ? .bool(true) : nil
    case UInt8(ascii: "f"): return take("false") ? .bool(false) : nil
    case UInt8(ascii: "\""): return string().map { .string($0) }
    case UInt8(ascii: "["): return array(depth)
    case UInt8(ascii: "{"): return object(depth)
    default: return number()
    }
  }

  private mutating func array(_ depth: Int) -> SecretJSON? {
    index += 1
    var items: [SecretJSON] = []
    skipBlanks()
    if take(UInt8(ascii: "]")) { return .array([]) }
    while true {
      skipBlanks()
      guard let item = value(depth: depth + 1) else { return nil }
      items.append(item)
      skipBlanks()
      if take(UInt8(ascii: "]")) { return .array(items) }
      guard take(UInt8(ascii: ",")) else { return nil }
    }
  }

  private mutating func object(_ depth: Int) -> SecretJSON? {
    index += 1
    var members: [[UInt8]: SecretJSON] = [:]
    skipBlanks()
    if take(UInt8(ascii: "}")) { return .object([:]) }
    while true {
      skipBlanks()
      guard next == UInt8(ascii: "\""), let key = string() else { return nil }
      skipBlanks()
      guard take(UInt8(ascii: ":")) else { return nil }
      skipBlanks()
      guard let member = value(depth: depth + 1), members.updateValue(member, forKey: key) == nil else { return nil }
      skipBlanks()
      if take(UInt8(ascii: "}")) { return .object(members) }
      guard take(UInt8(ascii: ",")) else { return nil }
    }
  }

  private mutating func number() -> SecretJSON? {
    let start = index
    _ = take(UInt8(ascii: "-"))
    guard let first = next, first.isDigit else { return nil }
    skipDigits()
    // No leading zeros.
    if first == UInt8(ascii: "0"), bytes[index - 1] != first || index - start > (bytes[start] == first ? 1 : 2) {
      return nil
    }
    if take(UInt8(ascii: ".")) {
      guard skipDigits() > 0 else { return nil }
    }
    if let byte = next, byte | 0x20 == UInt8(ascii: "e") {
      index += 1
      if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
      guard skipDigits() > 0 else { return nil }
    }
    return .number(Array(bytes[start..<index]))
  }

  @discardableResult
  private mutating func skipDigits() -> Int {
    let start = index
    while let byte = next, byte.isDigit { index += 1 }
    return index - start
  }

  private mutating func string() -> [UInt8]? {
    index += 1
    var text: [UInt8] = []
    while let byte = next {
      index += 1
      switch byte {
      case UInt8(ascii: "\""): return String(validating: text, as: UTF8.self) == nil ? nil : text
      case UInt8(ascii: "\\"): guard escape(&text) else { return nil }
      case 0..<0x20: return nil
      default: text.append(byte)
      }
    }
    return nil
  }

  private mutating func escape(_ text: inout [UInt8]) -> Bool {
    guard let byte = next else { return false }
    index += 1
    if byte == UInt8(ascii: "u") { return unicode(&text) }
    guard let meant = JSONText.unescaped(byte) else { return false }
    text.append(meant)
    return true
  }

  private mutating func unicode(_ text: inout [UInt8]) -> Bool {
    guard var value = fourDigits() else { return false }
    if value & 0xfc00 == 0xd800 {
      guard take("\\u"), let low = fourDigits(), low & 0xfc00 == 0xdc00 else { return false }
      value = 0x10000 + (value & 0x3ff) << 10 + low & 0x3ff
    }
    guard let scalar = Unicode.Scalar(value) else { return false }
    text += UTF8.encode(scalar).map(Array.init) ?? []
    return true
  }

  private mutating func fourDigits() -> UInt32? {
    guard index + 4 <= bytes.count else { return nil }
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = bytes[index].hexValue else { return nil }
      value = value << 4 | UInt32(digit)
      index += 1
    }
    return value
  }
}
