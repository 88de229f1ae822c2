// JSON strings and numbers appended to a buffer, so that no foreign byte can break a log line.
// It relies on RFC 8259, and also escapes characters that would break or reorder a line on a terminal.

package enum JSONText {
  /// Appends a quoted JSON string. Invalid UTF-8 becomes U+FFFD; controls, U+2028, U+2029 and the bidirectional
  /// controls (which reorder what a terminal shows) are escaped.
  package static func appendString(_ bytes: Span<UInt8>, to out: inout [UInt8]) {
    out.append(UInt8(ascii: "\""))
    var index = 0
    while index < bytes.count {
      let start = index
      while index < bytes.count, isPlain(bytes[index]) { index += 1 }
      if index > start { out.append(bytes.extracting(start..<index)) }
      guard index < bytes.count else { break }
      if bytes[index] < 0x80 {
        appendEscape(bytes[index], to: &out)
        index += 1
      } else {
        index = appendMultibyte(bytes, at: index, to: &out)
      }
    }
    out.append(UInt8(ascii: "\""))
  }

  package static func appendString(_ bytes: [UInt8], to out: inout [UInt8]) {
    appendString(bytes.span, to: &out)
  }

  package static func appendString(_ text: String, to out: inout [UInt8]) {
    appendString(text.utf8.span, to: &out)
  }

  /// For literals that need no escape: it is copied as it stands.
  package static func appendString(_ literal: StaticString, to out: inout [UInt8]) {
    out.append(UInt8(ascii: "\""))
    out.append(literal)
    out.append(UInt8(ascii: "\""))
  }

  /// A whole object of texts.
  package static func object(_ pairs: [(name: String, value: String)]) -> String {
    var out: [UInt8] = []
    for (index, pair) in pairs.enumerated() {
      out.append(UInt8(ascii: index == 0 ? "{" : ","))
      appendString(pair.name, to: &out)
      out.append(UInt8(ascii: ":"))
      appendString(pair.value, to: &out)
    }
    return pairs.isEmpty ? "{}" : String(decoding: out, as: UTF8.self) + "}"
  }

  /// A prepared field of an object, for values written repeatedly.
  package static func field(_ name: StaticString, _ text: String) -> [UInt8] {
    var out = [UInt8](",".utf8)
    appendString(name, to: &out)
    out.append(UInt8(ascii: ":"))
    appendString(text, to: &out)
    return out
  }

  package static func appendDecimal(_ value: UInt64, to out: inout [UInt8]) {
    Wire.appendDecimal(value, to: &out)
  }

  package static func appendHex(_ value: UInt64, to out: inout [UInt8]) { Wire.appendHex(value, to: &out) }

  package static func appendDecimal(_ value: Int, to out: inout [UInt8]) {
    if value < 0 { out.append(UInt8(ascii: "-")) }
    Wire.appendDecimal(UInt64(value.magnitude), to: &out)
  }

  @inline(__always)
  private static func isPlain(_ byte: UInt8) -> Bool {
    byte >= 0x20 && byte < 0x7f && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
  }

  private static func appendEscape(_ byte: UInt8, to out: inout [UInt8]) {
    switch byte {
    case UInt8(ascii: "\""): out.append("\\\"")
    case UInt8(ascii: "\\"): out.append("\\\\")
    case .lineFeed: out.append("\\n")
    case .carriageReturn: out.append("\\r")
    case .tab: out.append("\\t")
    default: appendUnicodeEscape(UInt32(byte), to: &out)
    }
  }

  /// The meaning of a backslash with this byte, except `u` (RFC 8259 section 7). Nil for an invalid escape.
  package static func unescaped(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): byte
    case UInt8(ascii: "b"): 0x08
    case UInt8(ascii: "f"): 0x0c
    case UInt8(ascii: "n"): .lineFeed
    case UInt8(ascii: "r"): .carriageReturn
    case UInt8(ascii: "t"): .tab
    default: nil
    }
  }

  private static func appendUnicodeEscape(_ value: UInt32, to out: inout [UInt8]) {
    out.append("\\u")
    for shift in stride(from: 12, through: 0, by: -4) { out.append(hexDigit(UInt8(value >> UInt32(shift) & 0xf))) }
  }

  /// One scalar of two to four bytes, or U+FFFD for the longest prefix of one (Unicode chapter 3, table 3-7).
  private static func appendMultibyte(_ bytes: Span<UInt8>, at start: Int, to out: inout [UInt8]) -> Int {
    let lead = bytes[start]
    let (length, second): (Int, ClosedRange<UInt8>) =
      switch lead {
      case 0xc2...0xdf: (2, 0x80...0xbf)
      case 0xe0: (3, 0xa0...0xbf)
      case 0xed: (3, 0x80...0x9f)
      case 0xe1...0xef: (3, 0x80...0xbf)
      case 0xf0: (4, 0x90...0xbf)
      case 0xf1...0xf3: (4, 0x80...0xbf)
      case 0xf4: (4, 0x80...0x8f)
      default: (1, 0x80...0xbf)
      }
    var end = start + 1
    var value = UInt32(lead) & (0x7f >> UInt32(length))
    while end < min(start + length, bytes.count) {
      guard end == start + 1 ? second.contains(bytes[end]) : bytes[end] & 0xc0 == 0x80 else { break }
      value = value << 6 | UInt32(bytes[end] & 0x3f)
      end += 1
    }
    if length == 1 || end - start < length {
      out.append("\u{fffd}")
    } else if isDangerous(value) {
      appendUnicodeEscape(value, to: &out)
    } else {
      out.append(bytes.extracting(start..<end))
    }
    return end
  }

  /// True for a character that is safe in messages: it moves no cursor, ends no line and changes no text direction.
  package static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value >= 0x20 && scalar.value != 0x7f && !isDangerous(scalar.value)
  }

  /// C1 controls, line and paragraph separators, bidirectional controls, byte order mark.
  private static func isDangerous(_ value: UInt32) -> Bool {
    switch value {
    case 0x80...0x9f, 0x61c, 0x200e, 0x200f, 0x2028...0x202e, 0x2066...0x2069, 0xfeff: true
    default: false
    }
  }
}

func appendDecimal(_ value: UInt64, to out: inout [UInt8]) {
  var digits = [20 of UInt8](repeating: 0)
  var start = 20
  var rest = value
  repeat {
    start -= 1
    digits[start] = UInt8(ascii: "0") + UInt8(rest % 10)
    rest /= 10
  } while rest > 0
  out.append(digits.span.extracting(start..<20))
}

func appendHex(_ value: UInt64, to out: inout [UInt8]) {
  var shift = max(0, 60 - value.leadingZeroBitCount / 4 * 4)
  while shift >= 0 {
    out.append(hexDigit(UInt8(value >> UInt64(shift) & 0xf)))
    shift -= 4
  }
}

func hexDigit(_ value: UInt8) -> UInt8 {
  value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
}
