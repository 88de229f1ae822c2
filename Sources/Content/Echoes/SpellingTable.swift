// With which bytes the spellings of a value can begin: one look at a table per byte of a text, and most places are done
// with. It relies on the caller to keep the table where the value is kept: the table tells the value's first bytes.

enum SpellingTable {
  /// How many bytes of a text are looked at.
  static let depth = 4
  static let byteCount = depth * 256
  /// Marks a byte that may open an escape: what stands behind it is not looked at here.
  static let opener: UInt8 = 0x80

  private static let openers: [UInt8] = Array("%\\&='`\0\r\n".utf8)

  static func make(for value: Span<UInt8>) -> [UInt8] {
    var table = [UInt8](repeating: 0, count: byteCount)
    guard value.count >= depth else { return table }
    markPlain(value, &table)
    markNumbers(value, &table)
    for start in SpellingStart.all(value) { markLetters(start, value, &table) }
    for place in 0..<depth {
      for byte in openers { table[place * 256 + Int(byte)] |= opener }
    }
    return table
  }

  private static func markPlain(_ value: Span<UInt8>, _ table: inout [UInt8]) {
    let bit = SpellingGroup.escaped.bit
    for place in 0..<depth {
      // A sign may be doubled, which puts what follows behind by one.
      for earlier in 0...place where earlier == place || !value[earlier].isAlphanumeric {
        for later in earlier...place {
          table[place * 256 + Int(value[later])] |= bit
          if value[later] == 0x20 { for byte in "+_".utf8 { table[place * 256 + Int(byte)] |= bit } }
        }
      }
    }
    // Above ASCII a character may be written with another number of bytes.
    guard let first = (0..<depth).first(where: { value[$0] >= 0x80 }) else { return }
    for place in first..<depth {
      for byte in place == 0 ? 0x80...0xff : 0...0xff { table[place * 256 + byte] |= bit }
    }
  }

  private static func markNumbers(_ value: Span<UInt8>, _ table: inout [UInt8]) {
    let separators = Array(" ,:-;\r\n\t".utf8)
    func mark(_ place: Int, _ byte: UInt8, _ group: SpellingGroup) { table[place * 256 + Int(byte)] |= group.bit }
    let decimal = Array("\(value[0])".utf8)
    for place in 0..<depth {
      let digits = place < decimal.count ? [decimal[place]] : Array("0123456789".utf8) + separators
      for byte in digits { mark(place, byte, .decimal) }
      // The digits of the first two bytes, or of the second one behind what stands between.
      let nibbles = [value[0] >> 4, value[0] & 15, value[1] >> 4, value[1] & 15]
      for nibble in nibbles[min(place, 2)...place] {
        for byte in UInt8(0)..<128 where byte.hexValue == nibble { mark(place, byte, .hexadecimal) }
      }
      if place >= 2 { for byte in separators + Array("0xX".utf8) { mark(place, byte, .hexadecimal) } }
    }
  }

  private static func markLetters(_ start: SpellingStart, _ value: Span<UInt8>, _ table: inout [UInt8]) {
    for place in 0..<depth {
      for letter in start.letters(at: place, of: value) { table[place * 256 + Int(letter)] |= start.group.bit }
    }
  }
}

/// Where the letters of a value begin that depend on the value alone: at a bit of its first byte, for each number of
/// bytes that may stand before it.
struct SpellingStart {
  let group: SpellingGroup
  let cursorBits: (SpellingCursor.Bits, SpellingCursor.Bits)
  /// The first bit of the value that is in the first letter; with base64 twice, of the inner letters and of the outer
  /// ones.
  private let offset: Int
  private let outerOffset: Int?

  static func all(_ value: Span<UInt8>) -> [SpellingStart] {
    let first = UInt32(value[0])
    func bits(_ byte: UInt32, _ count: Int) -> SpellingCursor.Bits {
      SpellingCursor.Bits(value: byte >> UInt32(8 - count), count: count)
    }
    var all: [SpellingStart] = []
    for offset in 0..<5 {
      all.append(
        SpellingStart(group: .base32, cursorBits: (bits(first, offset), .init()), offset: offset, outerOffset: nil))
    }
    for offset in [0, 2, 4] {
      for group in [SpellingGroup.base64, .wideBase64] {
        all.append(
          SpellingStart(group: group, cursorBits: (bits(first, offset), .init()), offset: offset, outerOffset: nil))
      }
      // The inner layer's first letter is one byte of the outer one's text.
      let inner = SpellingStart(group: .base64, cursorBits: (.init(), .init()), offset: offset, outerOffset: nil)
      for letter in inner.letters(at: 0, of: value) {
        for outer in [0, 2, 4] {
          all.append(
            SpellingStart(
              group: .base64Twice, cursorBits: (bits(first, offset), bits(UInt32(letter), outer)), offset: offset,
              outerOffset: outer))
        }
      }
    }
    return all
  }

  /// The letters that may stand at a place behind the start.
  func letters(at place: Int, of value: Span<UInt8>) -> [UInt8] {
    let size = group == .base32 ? 5 : 6
    guard let outerOffset else {
      return Self.number(at: offset + place * size, size) { number in
        byte(number, of: value).map { [$0] } ?? []
      }.flatMap { Letters.letters(for: $0, bits: size) }
    }
    return Self.number(at: outerOffset + place * 6, 6) { number in
      Self.number(at: offset + number * 6, 6) { byte($0, of: value).map { [$0] } ?? [] }
        .flatMap { Letters.letters(for: $0, bits: 6) }
    }.flatMap { Letters.letters(for: $0, bits: 6) }
  }

  /// Of the text that is encoded: wide characters have a zero behind each byte.
  private func byte(_ number: Int, of value: Span<UInt8>) -> UInt8? {
    if group == .wideBase64 { return number % 2 == 1 ? 0 : number / 2 < value.count ? value[number / 2] : nil }
    return number < value.count ? value[number] : nil
  }

  /// The numbers that `size` bits from `bit` on may be, where each byte may be one of several.
  private static func number(at bit: Int, _ size: Int, _ bytes: (Int) -> [UInt8]) -> [UInt32] {
    let (index, shift) = (bit / 8, bit % 8)
    let seconds = shift + size > 8 ? bytes(index + 1) : [0]
    var numbers: [UInt32] = []
    for first in bytes(index) {
      for second in seconds {
        let pair = UInt32(first) << 8 | UInt32(second)
        numbers.append(pair >> UInt32(16 - shift - size) & (1 << UInt32(size) - 1))
      }
    }
    return numbers
  }
}
