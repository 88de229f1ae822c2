// Base64 as in Basic credentials (RFC 4648 section 4), read strictly.
// It relies on nothing; a second spelling of the same bytes is refused, so that two spellings cannot pass a
// comparison.

package enum Base64 {
  /// Nil unless the text is padded, of the standard alphabet, and canonical (its unused bits are zero).
  package static func decode(_ text: Span<UInt8>) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    var digits = text.count
    while digits > 0, text.count - digits < 2, text[digits - 1] == UInt8(ascii: "=") { digits -= 1 }
    var decoded: [UInt8] = []
    decoded.reserveCapacity(digits * 3 / 4)
    var (bits, count): (UInt32, UInt32) = (0, 0)
    for index in 0..<digits {
      guard let value = value(of: text[index]) else { return nil }
      bits = bits << 6 | UInt32(value)
      count += 6
      guard count >= 8 else { continue }
      count -= 8
      decoded.append(UInt8(truncatingIfNeeded: bits >> count))
      bits &= (1 << count) - 1
    }
    return bits == 0 ? decoded : nil
  }

  /// Padded, of the standard alphabet.
  package static func append(_ bytes: some Collection<UInt8>, to out: inout [UInt8]) {
    var (bits, count): (UInt32, UInt32) = (0, 0)
    for byte in bytes {
      bits = bits << 8 | UInt32(byte)
      count += 8
      while count >= 6 {
        count -= 6
        out.append(digit(UInt8(truncatingIfNeeded: bits >> count) & 63))
      }
      bits &= (1 << count) - 1
    }
    if count > 0 { out.append(digit(UInt8(truncatingIfNeeded: bits << (6 - count)) & 63)) }
    for _ in 0..<((3 - bytes.count % 3) % 3) { out.append(UInt8(ascii: "=")) }
  }

  private static func digit(_ value: UInt8) -> UInt8 {
    switch value {
    case 0..<26: UInt8(ascii: "A") + value
    case 26..<52: UInt8(ascii: "a") + value - 26
    case 52..<62: UInt8(ascii: "0") + value - 52
    case 62: UInt8(ascii: "+")
    default: UInt8(ascii: "/")
    }
  }

  private static func value(of byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte - UInt8(ascii: "A")
    case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - UInt8(ascii: "a") + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0") + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }
}
