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
    var forms: Set<[UInt8]> = []
    for secret in secrets where secret.count >= Self.bytesMin {
      var plain = secret.copy
      forms.formUnion(Self.forms(of: plain))
      Secret.wipe(&plain)
    }
    // The longest first: where two begin alike, the longer one is the match.
    let sorted = forms.filter { $0.count >= Self.bytesMin }.sorted { $0.count > $1.count }
    var all: [UInt8] = []
    var ranges: [Range<Int>] = []
    var pairs = [UInt64](repeating: 0, count: 1024)
    var byPair: [UInt16: [Int]] = [:]
    for (number, form) in sorted.enumerated() {
      ranges.append(all.count..<(all.count + form.count))
      all += form
      let pair = UInt16(form[0]) << 8 | UInt16(form[1])
      pairs[Int(pair) >> 6] |= 1 << UInt64(pair & 63)
      byPair[pair, default: []].append(number)
    }
    firstBytes = Set(sorted.map { $0[0] })
    texts = Secret(taking: &all)
    (self.ranges, self.pairs, self.byPair) = (ranges, pairs, byPair)
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

  // MARK: - The forms

  static func forms(of value: [UInt8]) -> [[UInt8]] {
    var forms = [value]
    for alignment in 0..<3 {
      let letters = base64(value, alignment)
      forms.append(letters)
      forms.append(
        letters.map { $0 == UInt8(ascii: "+") ? UInt8(ascii: "-") : $0 == UInt8(ascii: "/") ? UInt8(ascii: "_") : $0 })
    }
    for isLower in [false, true] {
      let digits = value.flatMap { pairOfDigits($0, isLower) }
      forms.append(digits)
      forms.append(value.flatMap { [UInt8(ascii: "%")] + pairOfDigits($0, isLower) })
      forms.append(value.flatMap { $0.isUnreserved ? [$0] : [UInt8(ascii: "%")] + pairOfDigits($0, isLower) })
      // What encoders leave as it is in a query, and in a path.
      for plain in ["!*'()", "!$&'()*+,;=:@", "!$&'()*+,;=:@/?"] {
        forms.append(
          value.flatMap {
            $0.isUnreserved || plain.utf8.contains($0) ? [$0] : [UInt8(ascii: "%")] + pairOfDigits($0, isLower)
          })
      }
      for escaped in ["", "/", "<>&", "<>&'=+/"] { forms.append(value.flatMap { json($0, escaped, isLower) }) }
      forms.append(value.flatMap { unicodeEscape($0, isLower) })
      forms.append(
        value.flatMap { byte in
          byte.isUnreserved ? [byte] : byte < 0x80 ? unicodeEscape(byte, isLower) : [byte]
        })
    }
    forms.append(value.flatMap { $0 == UInt8(ascii: "/") ? Array("\\/".utf8) : json($0, "", false) })
    forms.append(value.flatMap { html($0, apostrophe: "&#39;") })
    forms.append(value.flatMap { html($0, apostrophe: "&#x27;") })
    return forms
  }

  /// The letters that depend on the value alone, where `alignment` bytes of something else stand in front of it.
  static func base64(_ value: [UInt8], _ alignment: Int) -> [UInt8] {
    var letters: [UInt8] = []
    Base64.append([UInt8](repeating: 0, count: alignment) + value, to: &letters)
    let whole = (alignment + value.count) * 8 / 6
    return Array(letters[..<whole].dropFirst((alignment * 8 + 5) / 6))
  }

  private static func pairOfDigits(_ byte: UInt8, _ isLower: Bool) -> [UInt8] {
    [byte >> 4, byte & 0xf].map { isLower ? Percent.digit($0) | 0x20 : Percent.digit($0) }
  }

  private static func unicodeEscape(_ byte: UInt8, _ isLower: Bool) -> [UInt8] {
    Array("\\u00".utf8) + pairOfDigits(byte, isLower)
  }

  private static func json(_ byte: UInt8, _ escaped: String, _ isLower: Bool) -> [UInt8] {
    if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { return [UInt8(ascii: "\\"), byte] }
    return escaped.utf8.contains(byte) ? unicodeEscape(byte, isLower) : [byte]
  }

  private static func html(_ byte: UInt8, apostrophe: String) -> [UInt8] {
    switch byte {
    case UInt8(ascii: "&"): Array("&amp;".utf8)
    case UInt8(ascii: "<"): Array("&lt;".utf8)
    case UInt8(ascii: ">"): Array("&gt;".utf8)
    case UInt8(ascii: "\""): Array("&quot;".utf8)
    case UInt8(ascii: "'"): Array(apostrophe.utf8)
    default: [byte]
    }
  }
}
