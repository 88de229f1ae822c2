// The forms in which an answer may echo a secret: as it is, base64, percent-encoded, JSON-escaped, hexadecimal.
// It relies on Secret for the memory of them all; a pair of first bytes leads to the forms that begin with it.
import Wire

final class EchoForms: Sendable {
  /// A shorter value turns up in any text by chance.
  static let bytesMin = 8

  private let texts: Secret
  private let ranges: [Range<Int>]
  /// One bit for each pair of bytes that a form begins with.
  private let pairs: [UInt64]
  private let byPair: [UInt16: [Int]]
  private let firstBytes: Set<UInt8>

  init(_ secrets: [Secret]) {
    let long = secrets.filter { $0.count >= Self.bytesMin }
    var writer = FormWriter(valueBytes: long.reduce(0) { $0 + $1.count })
    for secret in long {
      var plain = secret.copy
      writer.write(plain)
      Secret.wipe(&plain)
    }
    // The longest first: where two begin alike, the longer one is the match.
    ranges = writer.ranges.sorted { $0.count > $1.count }
    texts = writer.finish()
    var pairs = [UInt64](repeating: 0, count: 1024)
    var byPair: [UInt16: [Int]] = [:]
    var firstBytes: Set<UInt8> = []
    for (number, range) in ranges.enumerated() {
      let (first, second) = texts.withBytes { ($0[range.lowerBound], $0[range.lowerBound + 1]) }
      let pair = UInt16(first) << 8 | UInt16(second)
      pairs[Int(pair) >> 6] |= 1 << UInt64(pair & 63)
      byPair[pair, default: []].append(number)
      firstBytes.insert(first)
    }
    (self.pairs, self.byPair, self.firstBytes) = (pairs, byPair, firstBytes)
  }

  var isEmpty: Bool { ranges.isEmpty }

  enum Match: Equatable {
    case none
    case whole(Int)
    /// A form begins here, and ends behind the text.
    case begins
  }

  /// What begins at `start`.
  @inline(__always)
  func match(_ text: [UInt8], at start: Int, isLast: Bool) -> Match {
    guard start + 1 < text.count else { return !isLast && firstBytes.contains(text[start]) ? .begins : .none }
    let pair = Int(text[start]) << 8 | Int(text[start + 1])
    if pairs[pair >> 6] >> UInt64(pair & 63) & 1 == 0 { return .none }
    return compare(text, at: start, isLast: isLast, byPair[UInt16(pair)] ?? [])
  }

  private func compare(_ text: [UInt8], at start: Int, isLast: Bool, _ numbers: [Int]) -> Match {
    texts.withBytes { forms in
      for number in numbers {
        let form = ranges[number]
        let count = min(form.count, text.count - start)
        if count < form.count && isLast { continue }
        var same = 0
        while same < count, forms[form.lowerBound + same] == text[start + same] { same += 1 }
        if same == count { return count == form.count ? .whole(count) : .begins }
      }
      return .none
    }
  }
}

/// Writes the forms one behind the other, into memory that is large enough from the start: no copy is left where it grew out of.
private struct FormWriter {
  /// At most so many forms, each at most so many times as long as the value.
  private static let (formsMax, growthMax) = (40, 6)

  private var bytes: [UInt8] = []
  /// Each form once.
  private(set) var ranges: [Range<Int>] = []

  init(valueBytes: Int) { bytes.reserveCapacity(valueBytes * Self.formsMax * Self.growthMax) }

  mutating func finish() -> Secret { Secret(taking: &bytes) }

  mutating func write(_ value: [UInt8]) {
    form(value) { byte, out in out.append(byte) }
    for alignment in 0..<3 { base64(value, alignment) }
    for isLower in [false, true] {
      form(value) { Self.digits($0, isLower, &$1) }
      form(value) { Self.percent($0, isLower, &$1) }
      // What encoders leave as it is: everywhere, in a query, in a path.
      for plain in ["", "!*'()", "!$&'()*+,;=:@", "!$&'()*+,;=:@/?"] {
        form(value) { byte, out in
          if byte.isUnreserved || plain.utf8.contains(byte) {
            out.append(byte)
          } else {
            Self.percent(byte, isLower, &out)
          }
        }
      }
      for escaped in ["", "/", "<>&", "<>&'=+/"] { form(value) { Self.json($0, escaped, isLower, &$1) } }
      form(value) { Self.unicodeEscape($0, isLower, &$1) }
      form(value) { byte, out in
        if byte.isUnreserved || byte >= 0x80 { out.append(byte) } else { Self.unicodeEscape(byte, isLower, &out) }
      }
    }
    form(value) { byte, out in
      if byte == UInt8(ascii: "/") { out += "\\/".utf8 } else { Self.json(byte, "", false, &out) }
    }
    for apostrophe in ["&#39;", "&#x27;"] { form(value) { Self.html($0, apostrophe, &$1) } }
  }

  private mutating func form(_ value: [UInt8], _ write: (UInt8, inout [UInt8]) -> Void) {
    let start = bytes.count
    for byte in value { write(byte, &bytes) }
    keep(start..<bytes.count)
  }

  private mutating func keep(_ range: Range<Int>) {
    guard range.count >= EchoForms.bytesMin else { return }
    guard ranges.contains(where: { $0.count == range.count && bytes[$0].elementsEqual(bytes[range]) }) else {
      return ranges.append(range)
    }
    guard range.upperBound == bytes.count else { return }
    // What lies behind the end of an array is not wiped with it.
    for index in range { bytes[index] = 0 }
    bytes.removeLast(range.count)
  }

  /// The letters that depend on the value alone, where `alignment` bytes of something else stand in front of it; of both alphabets.
  private mutating func base64(_ value: [UInt8], _ alignment: Int) {
    var whole: [UInt8] = []
    whole.reserveCapacity(alignment + value.count)
    for _ in 0..<alignment { whole.append(0) }
    whole += value
    let start = bytes.count
    Base64.append(whole, to: &bytes)
    let letters = (start + (alignment * 8 + 5) / 6)..<(start + whole.count * 8 / 6)
    Secret.wipe(&whole)
    keep(letters)
    let other = bytes.count
    for index in letters {
      let letter = bytes[index]
      bytes.append(
        letter == UInt8(ascii: "+") ? UInt8(ascii: "-") : letter == UInt8(ascii: "/") ? UInt8(ascii: "_") : letter)
    }
    keep(other..<bytes.count)
  }

  // MARK: - Bytes

  private static func digits(_ byte: UInt8, _ isLower: Bool, _ out: inout [UInt8]) {
    let letter: UInt8 = isLower ? 0x20 : 0
    out.append(Percent.digit(byte >> 4) | letter)
    out.append(Percent.digit(byte & 0xf) | letter)
  }

  private static func percent(_ byte: UInt8, _ isLower: Bool, _ out: inout [UInt8]) {
    out.append(UInt8(ascii: "%"))
    digits(byte, isLower, &out)
  }

  private static func unicodeEscape(_ byte: UInt8, _ isLower: Bool, _ out: inout [UInt8]) {
    out += "\\u00".utf8
    digits(byte, isLower, &out)
  }

  private static func json(_ byte: UInt8, _ escaped: String, _ isLower: Bool, _ out: inout [UInt8]) {
    if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
      out.append(UInt8(ascii: "\\"))
    } else if escaped.utf8.contains(byte) {
      return unicodeEscape(byte, isLower, &out)
    }
    out.append(byte)
  }

  private static func html(_ byte: UInt8, _ apostrophe: String, _ out: inout [UInt8]) {
    switch byte {
    case UInt8(ascii: "&"): out += "&amp;".utf8
    case UInt8(ascii: "<"): out += "&lt;".utf8
    case UInt8(ascii: ">"): out += "&gt;".utf8
    case UInt8(ascii: "\""): out += "&quot;".utf8
    case UInt8(ascii: "'"): out += apostrophe.utf8
    default: out.append(byte)
    }
  }
}
