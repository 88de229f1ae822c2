// Decodes runs of base64, also wrapped ones, into bytes for the next layer, and keeps the way back to the encoded text.
// It relies on pieces of one run coming in order; both alphabets are read, and four letters that fit no byte are let
// be.

struct Base64Decoder {
  /// A shorter run decodes to less than any phrase or key.
  static let lettersMin = 20

  private static let values: [UInt8] = {
    var table = [UInt8](repeating: 0xff, count: 256)
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for (value, byte) in letters.utf8.enumerated() { table[Int(byte)] = UInt8(value) }
    table[Int(UInt8(ascii: "-"))] = 62
    table[Int(UInt8(ascii: "_"))] = 63
    return table
  }()

  private var bits: UInt32 = 0
  private var bitCount: UInt32 = 0
  /// For each run, which decoded byte was its first, and where in the text it began.
  private var segments: [(decoded: Int, encoded: Int)] = []
  private(set) var decodedCount = 0

  /// Hex digits and dashes alone are a hash or an id.
  static func isWorthwhile(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
    for place in range {
      let byte = bytes[place]
      if byte.hexValue == nil && byte != UInt8(ascii: "-") { return true }
    }
    return false
  }

  /// A new block: nothing is left of the one before.
  mutating func restart() {
    bits = 0
    bitCount = 0
  }

  /// Decodes `range` of `bytes`, whose first byte is at `offset` of the text.
  mutating func decode(_ bytes: Span<UInt8>, _ range: Range<Int>, offset: Int, into output: inout [UInt8]) {
    if segments.count > 256 { segments.removeFirst(128) }
    segments.append((decodedCount, offset))
    let before = output.count
    for place in range {
      let value = Self.values[Int(bytes[place])]
      bits = bits << 6 | UInt32(value & 0x3f)
      bitCount += 6
      if bitCount >= 8 {
        bitCount -= 8
        output.append(UInt8(truncatingIfNeeded: bits >> bitCount))
      }
    }
    decodedCount += output.count - before
  }

  /// One byte that stands for no letter: what parts two blocks.
  mutating func skipByte() { decodedCount += 1 }

  /// Where in the text the decoded range was encoded, out to whole letters.
  func source(of range: Range<Int>) -> Range<Int> {
    encoded(range.lowerBound, roundedUp: false)..<encoded(range.upperBound - 1, roundedUp: true)
  }

  private func encoded(_ decoded: Int, roundedUp: Bool) -> Int {
    let segment = segments.last { $0.decoded <= decoded } ?? segments.first ?? (0, 0)
    let ahead = max(decoded - segment.decoded, 0)
    // Byte n is in letters 4n/3 and the next one.
    return segment.encoded + ahead * 4 / 3 + (roundedUp ? 2 : 0)
  }
}
