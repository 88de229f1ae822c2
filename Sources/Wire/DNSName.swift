// Domain names as DNS carries them: a length in front of each label, and an empty label at the end.
// It relies on RFC 1035 section 3.1; compression is refused, since nothing stands in front of a question to point to.

enum DNSName {
  private static let byteCountMax = 255
  private static let labelBytesMax = 63

  /// The place behind the name that begins at `start`. A step of the loop takes two bytes at least, and 255 end it.
  static func end(_ bytes: Span<UInt8>, from start: Int) throws(DNSResponseCode) -> Int {
    var index = start
    while index < bytes.count, index - start < byteCountMax {
      let length = Int(bytes[index])
      if length == 0 { return index + 1 }
      // Above 63 stand compression pointers and label types that were never used.
      guard length <= labelBytesMax else { throw .formatError }
      index += 1 + length
    }
    throw .formatError
  }

  /// The host name that these labels spell, if they spell one.
  static func host(_ bytes: Span<UInt8>, _ range: Range<Int>) -> HostName? {
    var text: [UInt8] = []
    text.reserveCapacity(range.count)
    var index = range.lowerBound
    while bytes[index] != 0 {
      let label = bytes.extracting((index + 1)..<(index + 1 + Int(bytes[index])))
      // A dot within a label would become a separator in the text: `a.b` of one label is not the name of two.
      guard label.firstIndex(of: UInt8(ascii: "."), in: 0..<label.count) == nil else { return nil }
      if !text.isEmpty { text.append(UInt8(ascii: ".")) }
      text.append(label)
      index += 1 + label.count
    }
    // A name of other bytes may be asked for, but no rule can name it: why it is no host name is of no use here.
    return try? HostName(parsing: text.span)
  }

  static func byteCount(_ name: HostName) -> Int { name.bytes.count + 2 }

  static func append(_ name: HostName, to out: inout [UInt8]) {
    let text = name.bytes.span
    var start = 0
    while start < text.count {
      let end = text.firstIndex(of: UInt8(ascii: "."), in: start..<text.count) ?? text.count
      out.append(UInt8(end - start))
      out.append(text.extracting(start..<end))
      start = end + 1
    }
    out.append(0)
  }

  /// The address whose name under in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5) this is.
  static func reverseAddress(_ name: HostName) -> IPAddress? {
    let text = name.bytes.span
    let suffix = text.count - 13
    if suffix > 0, text.equals(".in-addr.arpa", at: suffix..<text.count) {
      guard case .v4(let value)? = IPAddress(parsing: text.extracting(0..<suffix)) else { return nil }
      return .v4(value.byteSwapped)
    }
    guard text.count == 72, text.equals("ip6.arpa", at: 64..<72) else { return nil }
    var (high, low): (UInt64, UInt64) = (0, 0)
    for nibble in 0..<32 {
      // The last nibble of the address is the first label.
      let index = 62 - 2 * nibble
      guard let value = text[index].hexValue, text[index + 1] == UInt8(ascii: ".") else { return nil }
      if nibble < 16 { high = high << 4 | UInt64(value) } else { low = low << 4 | UInt64(value) }
    }
    return .v6(high: high, low: low)
  }
}
