// Domain names in DNS form: a length before each label, and an empty label at the end.
// It relies on RFC 1035 section 3.1; compression is refused, since a question has no earlier name to point to.

enum DNSName {
  private static let byteCountMax = 255
  private static let labelBytesMax = 63

  /// The index behind the name that begins at `start`. Each step takes at least two bytes, and 255 bytes end the
  /// loop.
  static func end(_ bytes: Span<UInt8>, from start: Int) throws(DNSResponseCode) -> Int {
    var index = start
    while index < bytes.count, index - start < byteCountMax {
      let length = Int(bytes[index])
      if length == 0 { return index + 1 }
      // Values above 63 are compression pointers and label types that were never used.
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
    // A query may contain a name of other bytes, but no rule can name it, so the reason is not needed.
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
