// Escapes of a layer, as one unit each: percent, backslashes, references, quoted-printable, quotes of shells, doubled
// signs. It relies on SpellingReader for the characters of the layer below, which may be escaped themselves.

extension SpellingReader {
  func readEscapes(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    let below = index + 1
    read(cursor, layers, below) { unit, next in
      found(unit, next)
      guard let byte = unit.ascii, !byte.isAlphanumeric, byte > 0x20 else { return }
      switch byte {
      case UInt8(ascii: "%"): readPercent(next, layers, below, found)
      case UInt8(ascii: "\\"): readBackslash(next, layers, below, found)
      case UInt8(ascii: "&"): readReference(next, layers, below, found)
      case UInt8(ascii: "="): readQuotedPrintable(next, layers, below, found)
      // Forms and words of MIME write a blank so.
      case UInt8(ascii: "+"), UInt8(ascii: "_"): found(.byte(0x20), next)
      case UInt8(ascii: "'"): readShellQuote(next, layers, below, found)
      case UInt8(ascii: "`"):
        if let (sign, after) = first(next, layers, below, where: { !$0.isAlphanumeric && $0 > 0x20 }) {
          found(.byte(sign), after)
        }
      default: break
      }
      // CSV, SQL, YAML and formats of printf double a sign that would end or begin something.
      if byte != UInt8(ascii: "\\"), let (_, after) = first(next, layers, below, where: { $0 == byte }) {
        found(.byte(byte), after)
      }
    }
  }

  /// So many hexadecimal digits.
  private func hexadecimal(
    _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, count: Int
  ) -> (value: UInt32, next: SpellingCursor)? {
    var (next, value) = (cursor, UInt32(0))
    for _ in 0..<count {
      guard let (byte, after) = first(next, layers, index, where: { $0.hexValue != nil }) else { return nil }
      value = value << 4 | UInt32(byte.hexValue ?? 0)
      next = after
    }
    return (value, next)
  }

  private func readPercent(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    if let (value, next) = hexadecimal(cursor, layers, index, count: 2) { return found(.byte(UInt8(value)), next) }
    // The `escape` of JavaScript.
    guard let (_, u) = first(cursor, layers, index, where: { $0 | 0x20 == UInt8(ascii: "u") }),
      let (value, next) = hexadecimal(u, layers, index, count: 4)
    else { return }
    found(.scalar(value), next)
  }

  /// `=2B` is a byte, and `=` at the end of a line is nothing (RFC 2045 section 6.7).
  private func readQuotedPrintable(
    _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found
  ) {
    if let (value, next) = hexadecimal(cursor, layers, index, count: 2) { return found(.byte(UInt8(value)), next) }
    if let next = lineEnd(cursor, layers, index) { found(.nothing, next) }
  }

  private func lineEnd(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int) -> SpellingCursor? {
    guard let (byte, next) = first(cursor, layers, index, where: { $0 == 0x0d || $0 == 0x0a }) else { return nil }
    return byte == 0x0a ? next : first(next, layers, index, where: { $0 == 0x0a })?.next
  }

  // MARK: - Backslashes

  private func readBackslash(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    guard let (byte, next) = first(cursor, layers, index, where: { _ in true }) else { return }
    // Any sign stands for itself so, and with some encoders any letter: what it means to most comes first.
    defer { if byte >= 0x20 { found(.byte(byte), next) } }
    switch byte {
    case UInt8(ascii: "n"): found(.byte(0x0a), next)
    case UInt8(ascii: "r"): found(.byte(0x0d), next)
    case UInt8(ascii: "t"): found(.byte(0x09), next)
    case UInt8(ascii: "s"): found(.byte(0x20), next)
    case UInt8(ascii: "x"), UInt8(ascii: "u"), UInt8(ascii: "U"): readCodePoint(byte, next, layers, index, found)
    case 0x0d, 0x0a:
      // A line that goes on in the next one.
      if let end = lineEnd(cursor, layers, index) { skipIndent(end, layers, index, found) }
    default:
      if byte.hexValue != nil { readDigits(cursor, layers, index, found) }
    }
  }

  private func skipIndent(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    var cursor = cursor
    var count = 0
    while count < 32, let (_, next) = first(cursor, layers, index, where: { $0 == 0x20 || $0 == 0x09 }) {
      (cursor, count) = (next, count + 1)
    }
    // YAML goes on behind one more backslash where the next character is a blank.
    found(.nothing, cursor)
  }

  /// `\x2b`, `\u002b`, `\U0000002b`, and with braces.
  private func readCodePoint(
    _ kind: UInt8, _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found
  ) {
    let count = kind == UInt8(ascii: "x") ? 2 : kind == UInt8(ascii: "u") ? 4 : 8
    if let (value, next) = hexadecimal(cursor, layers, index, count: count) {
      // A byte in most languages, a code point in others.
      if count == 2 { found(.byte(UInt8(value)), next) }
      if count > 2 { readSurrogates(value, next, layers, index, found) }
      return
    }
    guard let (_, brace) = first(cursor, layers, index, where: { $0 == UInt8(ascii: "{") }),
      let (value, next) = number(brace, layers, index, base: 16),
      let (_, end) = first(next, layers, index, where: { $0 == UInt8(ascii: "}") })
    else { return }
    found(.scalar(value), end)
  }

  private func readSurrogates(
    _ high: UInt32, _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found
  ) {
    guard (0xd800..<0xdc00).contains(high) else { return found(.scalar(high), cursor) }
    guard let (_, slash) = first(cursor, layers, index, where: { $0 == UInt8(ascii: "\\") }),
      let (_, u) = first(slash, layers, index, where: { $0 == UInt8(ascii: "u") }),
      let (low, next) = hexadecimal(u, layers, index, count: 4), (0xdc00..<0xe000).contains(low)
    else { return }
    found(.scalar(0x10000 + (high - 0xd800) << 10 + (low - 0xdc00)), next)
  }

  /// `\53` and `\053` in octal; `\2b ` and `\00002b` in CSS. How many digits belong to it only the value tells.
  private func readDigits(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    var (next, octal, value) = (cursor, UInt32?(0), UInt32(0))
    for count in 1...6 {
      guard let (byte, after) = first(next, layers, index, where: { $0.hexValue != nil }) else { return }
      let digit = UInt32(byte.hexValue ?? 0)
      octal = digit < 8 && count <= 3 ? octal.map { $0 * 8 + digit } : nil
      value = value << 4 | digit
      next = after
      if let octal, octal < 256 { found(.byte(UInt8(octal)), next) }
      guard value <= 0x10ffff else { return }
      found(.scalar(value), next)
      if let (_, blank) = first(next, layers, index, where: { $0 == 0x20 || $0 == 0x09 || $0 == 0x0a }) {
        found(.scalar(value), blank)
      }
    }
  }

  // MARK: - References

  private func number(
    _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, base: UInt32
  ) -> (value: UInt32, next: SpellingCursor)? {
    var (next, value, count) = (cursor, UInt32(0), 0)
    while count < 10, let (byte, after) = first(next, layers, index, where: { Self.isDigit($0, base) }) {
      value = min(value &* base &+ UInt32(byte.hexValue ?? 0), 0x20_0000)
      (next, count) = (after, count + 1)
    }
    return count > 0 ? (value, next) : nil
  }

  /// `&#43;`, `&#x2b;`, `&plus;`; numbers and the oldest names also without a semicolon, as browsers read them.
  private func readReference(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    guard let (byte, next) = first(cursor, layers, index, where: { $0 == UInt8(ascii: "#") || $0.isAlphanumeric })
    else { return }
    guard byte == UInt8(ascii: "#") else { return readName(cursor, layers, index, found) }
    var (digits, base) = (next, UInt32(10))
    if let (_, x) = first(next, layers, index, where: { $0 | 0x20 == UInt8(ascii: "x") }) { (digits, base) = (x, 16) }
    guard let (value, end) = number(digits, layers, index, base: base), value <= 0x10ffff else { return }
    let closed = first(end, layers, index, where: { $0 == UInt8(ascii: ";") })
    found(.scalar(value), closed?.next ?? end)
  }

  private func readName(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    var (next, name) = (cursor, "")
    while name.utf8.count < ReferenceNames.bytesMax,
      let (byte, after) = first(next, layers, index, where: { $0.isAlphanumeric })
    {
      name.unicodeScalars.append(Unicode.Scalar(byte))
      next = after
      if ReferenceNames.isOpen(name), let value = ReferenceNames.value(name) { found(.scalar(value), next) }
    }
    guard let value = ReferenceNames.value(name),
      let (_, end) = first(next, layers, index, where: { $0 == UInt8(ascii: ";") })
    else { return }
    found(.scalar(value), end)
  }

  /// A quote within quotes: `'\''` and `'"'"'`.
  private func readShellQuote(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    let quote = UInt8(ascii: "'")
    for middle in ["\\'", "\"'\""] {
      var next: SpellingCursor? = cursor
      for byte in middle.utf8 + [quote] {
        next = next.flatMap { first($0, layers, index, where: { $0 == byte })?.next }
      }
      if let next { found(.byte(quote), next) }
    }
  }
}

/// The names that HTML has for characters of ASCII and ISO 8859-1.
enum ReferenceNames {
  static let bytesMax = 16

  private static let ascii: [String: UInt32] = [
    "Tab": 0x09, "NewLine": 0x0a, "nbsp": 0x20, "ensp": 0x20, "emsp": 0x20, "thinsp": 0x20, "excl": 0x21,
    "quot": 0x22, "QUOT": 0x22, "num": 0x23, "dollar": 0x24, "percnt": 0x25, "amp": 0x26, "AMP": 0x26, "apos": 0x27,
    "lpar": 0x28, "rpar": 0x29, "ast": 0x2a, "midast": 0x2a, "plus": 0x2b, "comma": 0x2c, "hyphen": 0x2d, "dash": 0x2d,
    "minus": 0x2d, "period": 0x2e, "sol": 0x2f, "colon": 0x3a, "semi": 0x3b, "lt": 0x3c, "LT": 0x3c, "equals": 0x3d,
    "gt": 0x3e, "GT": 0x3e, "quest": 0x3f, "commat": 0x40, "lsqb": 0x5b, "lbrack": 0x5b, "bsol": 0x5c, "rsqb": 0x5d,
    "rbrack": 0x5d, "Hat": 0x5e, "lowbar": 0x5f, "UnderBar": 0x5f, "grave": 0x60, "DiacriticalGrave": 0x60,
    "lcub": 0x7b, "lbrace": 0x7b, "verbar": 0x7c, "vert": 0x7c, "VerticalLine": 0x7c, "rcub": 0x7d, "rbrace": 0x7d,
    "shy": 0xad, "zwnj": 0x200c, "zwj": 0x200d,
  ]
  /// From U+00A1 on.
  private static let latin: [Substring] =
    """
    iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro para \
    middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave \
    Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute \
    Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave \
    iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml
    """.split(separator: " ")

  private static let all: [String: UInt32] = {
    var all = ascii
    for (offset, name) in latin.enumerated() { all[String(name)] = 0xa1 + UInt32(offset) }
    all["euro"] = 0x20ac
    return all
  }()

  static func value(_ name: String) -> UInt32? { all[name] }

  /// Needs no semicolon.
  static func isOpen(_ name: String) -> Bool {
    ["amp", "AMP", "lt", "LT", "gt", "GT", "quot", "QUOT"].contains(name)
      || value(name).map { $0 >= 0xa1 && $0 < 0x100 } ?? false
  }
}
