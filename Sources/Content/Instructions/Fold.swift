// What one character counts as when words are compared: a letter without case, accent or disguise, a gap, or nothing.
// It relies on ConfusableTable; phrases are folded by the same function, so both sides always agree.

enum Fold {
  enum Meaning: Equatable {
    /// Not seen by a reader: the word goes on as if it were not there.
    case nothing
    case gap
    case letter(UInt32)
    /// A script without spaces: each character is a word.
    case ideograph(UInt32)
    /// A letter out of the invisible tag block, which only ever hides text.
    case tag(UInt8)
  }

  /// The same for a scanner: 2 stands for a byte of a longer character.
  static let table = ByteTable { $0 < 0x80 ? ascii[Int($0)] : 2 }

  /// ASCII: 0 a gap, 1 nothing, else the letter. Digits and signs that are read as letters are letters.
  static let ascii: [UInt8] = (0..<128).map { code in
    switch UInt8(code) {
    case 0x61...0x7a where code == 0x6c: UInt8(ascii: "i")
    case 0x61...0x7a: UInt8(code)
    case 0x41...0x5a: code == 0x4c ? UInt8(ascii: "i") : UInt8(code) + 0x20
    case UInt8(ascii: "0"): UInt8(ascii: "o")
    case UInt8(ascii: "1"): UInt8(ascii: "i")
    case UInt8(ascii: "3"): UInt8(ascii: "e")
    case UInt8(ascii: "4"), UInt8(ascii: "@"): UInt8(ascii: "a")
    case UInt8(ascii: "5"), UInt8(ascii: "$"): UInt8(ascii: "s")
    case UInt8(ascii: "7"): UInt8(ascii: "t")
    case 0x30...0x39: UInt8(code)
    case UInt8(ascii: "'"): 1
    default: 0
    }
  }

  /// Letters below U+2500 that have another base than themselves; 0 for the others.
  private static let bases: [UInt8] = {
    var table = [UInt8](repeating: 0, count: 0x2500)
    for (first, text) in ConfusableTable.ranges {
      for (offset, byte) in "\(text)".utf8.enumerated() where byte != UInt8(ascii: ".") {
        table[Int(first) + offset] = ascii[Int(byte)]
      }
    }
    return table
  }()

  static func meaning(of value: UInt32) -> Meaning {
    switch value {
    case 0..<0x80: return plain(UInt8(value))
    case 0x80..<0xa0, 0xa0: return .gap
    case 0xad, 0x300...0x36f, 0x34f, 0x61c, 0x115f...0x1160, 0x1ab0...0x1aff, 0x1dc0...0x1dff, 0x200b...0x200f,
      0x202a...0x202e, 0x2060...0x206f, 0x20d0...0x20ff, 0x2019, 0x3164, 0xfe00...0xfe0f, 0xfe20...0xfe2f, 0xfeff,
      0xffa0, 0xfffd, 0x180b...0x180e, 0xe0100...0xe01ef, 0xe0000...0xe001f, 0xe007f:
      return .nothing
    case 0xe0020...0xe007e: return .tag(UInt8(value - 0xe0000))
    case 0x1680, 0x2000...0x206f, 0x2500...0x2e7f, 0x3000...0x303f, 0xfe30...0xfe4f, 0x1f200...0x1faff:
      return .gap
    case 0x3040...0x312f, 0x3400...0x4dbf, 0x4e00...0x9fff, 0xf900...0xfaff, 0x20000...0x3ffff: return .ideograph(value)
    default: return letter(value)
    }
  }

  private static func plain(_ byte: UInt8) -> Meaning {
    switch ascii[Int(byte)] {
    case 0: .gap
    case 1: .nothing
    case let letter: .letter(UInt32(letter))
    }
  }

  private static func letter(_ value: UInt32) -> Meaning {
    if value < 0x2500 {
      let base = bases[Int(value)]
      if base > 1 { return .letter(UInt32(base)) }
      // Punctuation and signs of the blocks that hold both.
      if value < 0xc0 || (0x2100...0x24ff).contains(value) || value == 0xd7 || value == 0xf7 { return .gap }
    }
    switch value {
    case 0xff01...0xff5e: return plain(UInt8(value - 0xfee0))
    case 0x1d400...0x1d6a3:
      return plain(UInt8((value - 0x1d400) % 52 < 26 ? 0x41 : 0x61) + UInt8((value - 0x1d400) % 26))
    case 0x1d7ce...0x1d7ff: return plain(0x30 + UInt8((value - 0x1d7ce) % 10))
    case 0x1f110...0x1f129: return plain(0x61 + UInt8(value - 0x1f110))
    case 0x1f130...0x1f149, 0x1f150...0x1f169, 0x1f170...0x1f189:
      return plain(0x61 + UInt8((value - 0x1f130) % 32))
    case 0x1f1e6...0x1f1ff: return plain(0x61 + UInt8(value - 0x1f1e6))
    case 0x410...0x42f, 0x391...0x3a9: return .letter(value + 0x20)
    case 0x400...0x40f: return .letter(value + 0x50)
    default: return .letter(value)
    }
  }
}
