// The ways in which a text may spell a value: layers of escapes, base64, base32, hexadecimal and numbers over the bytes
// of a text.
// It relies on each layer reading the layer below it character by character, so that no list of finished spellings is
// needed.

enum SpellingLayer {
  case escapes
  /// Letters of `bits` bits each: base64 (6) and base32 (5). `slot` is where the cursor keeps the bits that are left
  /// over.
  case letters(bits: Int, slot: Int)
  /// Bytes as numbers: two hexadecimal digits, or a decimal number.
  case numbers(base: UInt32)
}

/// A group of spellings that are looked for together, by its bit in `SpellingTable`.
enum SpellingGroup: UInt8, CaseIterable {
  case escaped, hexadecimal, decimal, base64, wideBase64, base64Twice, base32

  var bit: UInt8 { 1 << rawValue }

  /// The layers, the topmost first.
  var layers: [SpellingLayer] {
    switch self {
    case .escaped: [.escapes, .escapes, .escapes]
    case .hexadecimal: [.escapes, .numbers(base: 16), .escapes]
    case .decimal: [.numbers(base: 10)]
    case .base64, .wideBase64: [.escapes, .letters(bits: 6, slot: 0), .escapes, .escapes]
    case .base64Twice: [.escapes, .letters(bits: 6, slot: 0), .escapes, .letters(bits: 6, slot: 1), .escapes]
    case .base32: [.letters(bits: 5, slot: 0), .escapes]
    }
  }
}

extension SpellingGroup {
  static func areEscapes(_ layers: [SpellingLayer], from index: Int) -> Bool {
    for layer in layers[index...] { if case .escapes = layer { continue } else { return false } }
    return true
  }
}

/// A place in a text, and the bits that layers of letters have read and not used.
struct SpellingCursor: Equatable {
  struct Bits: Equatable {
    var value: UInt32 = 0
    var count = 0
  }

  var place: Int
  var bits = (Bits(), Bits())

  static func == (one: Self, other: Self) -> Bool {
    one.place == other.place && one.bits.0 == other.bits.0 && one.bits.1 == other.bits.1
  }
}

/// One character of a layer: a byte, a Unicode scalar above ASCII, or nothing at all (a soft line break).
struct SpellingUnit: Equatable {
  private static let scalarMark: UInt32 = 1 << 31
  static let nothing = SpellingUnit(raw: .max)

  private let raw: UInt32

  private init(raw: UInt32) { self.raw = raw }

  static func byte(_ byte: UInt8) -> SpellingUnit { SpellingUnit(raw: UInt32(byte)) }

  static func scalar(_ value: UInt32) -> SpellingUnit {
    // Soft hyphens and letters without width show nothing.
    if value == 0xad || (0x200b...0x200d).contains(value) || value == 0x2060 || value == 0xfeff { return nothing }
    return SpellingUnit(raw: value < 0x80 ? value : value & 0x1f_ffff | scalarMark)
  }

  /// Nil for a scalar above ASCII, and for nothing.
  var byte: UInt8? { raw < 0x100 ? UInt8(raw) : nil }

  /// Of a scalar above ASCII; a byte above ASCII may be one too (ISO 8859-1).
  var scalar: UInt32? {
    if self == Self.nothing || raw < 0x80 { return nil }
    return raw & ~Self.scalarMark
  }

  var ascii: UInt8? { raw < 0x80 ? UInt8(raw) : nil }
}

/// Reads the characters of a layer. All readings of a place are given, since a `%2F` may be an escape or stand for
/// itself.
final class SpellingReader {
  let text: [UInt8]
  private let isLast: Bool

  private struct Known {
    var place = -1
    var units: [(SpellingUnit, Int)] = []
    var ranOut = false
  }

  private static let knownPlaces = 64
  private var known = [Known](repeating: Known(), count: 4 * SpellingReader.knownPlaces)
  /// A reading went on behind the end of the text, and more may come.
  var ranOut = false

  init(_ text: [UInt8], isLast: Bool) { (self.text, self.isLast) = (text, isLast) }

  typealias Found = (SpellingUnit, SpellingCursor) -> Void

  func read(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    guard index < layers.count else { return readText(cursor, found) }
    switch layers[index] {
    case .escapes:
      // A letter or a digit opens nothing, however deep the escapes are.
      if SpellingGroup.areEscapes(layers, from: index) {
        let isPlain = cursor.place < text.count && text[cursor.place].isAlphanumeric
        return isPlain ? readText(cursor, found) : readKnown(cursor, layers, index, found)
      }
      readEscapes(cursor, layers, index, found)
    case .letters(let bits, let slot): readLetters(cursor, layers, index, bits, slot, found)
    case .numbers(let base): readNumber(cursor, layers, index, base, found)
    }
  }

  private func readText(_ cursor: SpellingCursor, _ found: Found) {
    guard cursor.place < text.count else {
      if !isLast { ranOut = true }
      return
    }
    var next = cursor
    next.place += 1
    found(.byte(text[cursor.place]), next)
  }

  /// Escapes over the text are read once at each place: else each further layer would multiply the work.
  private func readKnown(_ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ found: Found) {
    let depth = layers.count - index
    let slot = depth * Self.knownPlaces + cursor.place % Self.knownPlaces
    if known[slot].place != cursor.place {
      let before = ranOut
      ranOut = false
      var units: [(SpellingUnit, Int)] = []
      readEscapes(cursor, layers, index) { units.append(($0, $1.place)) }
      known[slot] = Known(place: cursor.place, units: units, ranOut: ranOut)
      ranOut = before
    }
    if known[slot].ranOut { ranOut = true }
    var next = cursor
    for (unit, place) in known[slot].units {
      next.place = place
      found(unit, next)
    }
  }

  /// The first reading whose character is wanted.
  func first(
    _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, where isWanted: (UInt8) -> Bool
  ) -> (byte: UInt8, next: SpellingCursor)? {
    var result: (UInt8, SpellingCursor)?
    read(cursor, layers, index) { unit, next in
      guard result == nil, let byte = unit.ascii, isWanted(byte) else { return }
      result = (byte, next)
    }
    return result
  }

  // MARK: - Letters and numbers

  private func readLetters(
    _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ bits: Int, _ slot: Int, _ found: Found
  ) {
    var cursor = cursor
    var left = slot == 0 ? cursor.bits.0 : cursor.bits.1
    while left.count < 8 {
      guard let (value, next) = letter(cursor, layers, index + 1, bits) else { return }
      cursor = next
      left.value = left.value << UInt32(bits) | value
      left.count += bits
    }
    left.count -= 8
    let byte = UInt8(truncatingIfNeeded: left.value >> UInt32(left.count))
    left.value &= 1 << UInt32(left.count) - 1
    if slot == 0 { cursor.bits.0 = left } else { cursor.bits.1 = left }
    found(.byte(byte), cursor)
  }

  /// The value of the next letter. Encoders break lines, and wide characters have zeros between.
  private func letter(
    _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ bits: Int
  ) -> (UInt32, SpellingCursor)? {
    var cursor = cursor
    var lineBreak = LineBreak()
    while true {
      var result: (unit: SpellingUnit, value: UInt32?, next: SpellingCursor)?
      read(cursor, layers, index) { unit, next in
        guard result == nil else { return }
        let value = unit.ascii.flatMap { Letters.value($0, bits: bits) }
        if value != nil || unit == .nothing || lineBreak.takes(unit) { result = (unit, value, next) }
      }
      guard let result else { return nil }
      if let value = result.value { return (value, result.next) }
      lineBreak.take(result.unit)
      cursor = result.next
    }
  }

  private func readNumber(
    _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ base: UInt32, _ found: Found
  ) {
    // The bits say whether a number came before.
    let isFirst = cursor.bits.0.count == 0
    var starts = isFirst || base == 16 ? [cursor] : []
    if !isFirst { skipSeparators(cursor, layers, index + 1, base) { starts.append($0) } }
    for start in starts {
      var (next, value, digits) = (start, UInt32(0), 0)
      let digitsMax = base == 16 ? 2 : 3
      while digits < digitsMax, let (byte, after) = first(next, layers, index + 1, where: { Self.isDigit($0, base) }) {
        value = value * base + UInt32(byte.hexValue ?? 0)
        (next, digits) = (after, digits + 1)
      }
      guard digits > 0, base == 10 || digits == 2, value < 256 else { continue }
      next.bits.0.count = 1
      found(.byte(UInt8(value)), next)
    }
  }

  /// `73:6b`, `73 6b`, `0x73, 0x6b`, `115,107`, each number in a line of its own.
  private func skipSeparators(
    _ cursor: SpellingCursor, _ layers: [SpellingLayer], _ index: Int, _ base: UInt32,
    _ found: (SpellingCursor) -> Void
  ) {
    var cursor = cursor
    var count = 0
    while count < 24, let (_, next) = first(cursor, layers, index, where: { " ,:-;\r\n\t".utf8.contains($0) }) {
      cursor = next
      count += 1
    }
    if count > 0 { found(cursor) }
    guard base == 16, let (_, zero) = first(cursor, layers, index, where: { $0 == UInt8(ascii: "0") }),
      let (_, x) = first(zero, layers, index, where: { $0 | 0x20 == UInt8(ascii: "x") })
    else { return }
    found(x)
  }

  static func isDigit(_ byte: UInt8, _ base: UInt32) -> Bool { (byte.hexValue).map { UInt32($0) < base } ?? false }
}

/// One break of a line within a value, with the indent behind it.
struct LineBreak {
  private static let indentMax = 32
  private var hasReturn = false
  private var hasBreak = false
  private var indent = 0

  var isOpen: Bool { hasBreak || hasReturn }

  func takes(_ unit: SpellingUnit) -> Bool {
    switch unit.byte {
    case 0: true
    case 0x0d: !hasReturn && !hasBreak
    case 0x0a: !hasBreak
    case 0x20, 0x09: hasBreak && indent < Self.indentMax
    default: false
    }
  }

  mutating func take(_ unit: SpellingUnit) {
    switch unit.byte {
    case 0x0d: hasReturn = true
    case 0x0a: hasBreak = true
    case 0x20, 0x09: indent += 1
    default: break
    }
  }
}

enum Letters {
  private static let base64 = values(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", also: "-_", from: 62)
  private static let base32 = values("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", also: "abcdefghijklmnopqrstuvwxyz", from: 0)

  private static func values(_ letters: String, also others: String, from: UInt8) -> ByteTable {
    var table = [UInt8](repeating: 0xff, count: 256)
    for (value, letter) in letters.utf8.enumerated() { table[Int(letter)] = UInt8(value) }
    for (value, letter) in others.utf8.enumerated() { table[Int(letter)] = UInt8(value) + from }
    return ByteTable { table[Int($0)] }
  }

  static func value(_ byte: UInt8, bits: Int) -> UInt32? {
    let value = bits == 6 ? base64[byte] : base32[byte]
    return value == 0xff ? nil : UInt32(value)
  }

  /// The letters that stand for a value: of both alphabets, and in both cases where there is no difference.
  static func letters(for value: UInt32, bits: Int) -> [UInt8] {
    (0..<128).filter { self.value($0, bits: bits) == value }
  }
}
