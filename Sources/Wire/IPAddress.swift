// An IP address as a number, read from strict text and printed in canonical form.
// It relies on nothing; the shorthands of inet_aton (`127.1`, `0x7f.1`) are deliberately not accepted.

package enum IPAddress: Hashable, Sendable, CustomStringConvertible {
  /// Host order: `127.0.0.1` is `0x7f00_0001`.
  case v4(UInt32)
  case v6(high: UInt64, low: UInt64)

  /// A dotted quad without leading zeros, or RFC 4291 text without brackets and zone.
  package init?(parsing text: Span<UInt8>) {
    guard text.count <= 45 else { return nil }
    if text.firstIndex(of: UInt8(ascii: ":"), in: 0..<text.count) != nil {
      guard let (high, low) = IPAddress.parse6(text) else { return nil }
      self = .v6(high: high, low: low)
    } else {
      guard let value = IPAddress.parse4(text, 0..<text.count) else { return nil }
      self = .v4(value)
    }
  }

  package init?(_ text: String) {
    self.init(parsing: [UInt8](text.utf8).span)
  }

  /// The number of bits of this kind of address: 32 or 128.
  package var width: Int {
    switch self {
    case .v4: 32
    case .v6: 128
    }
  }

  /// RFC 5952 for IPv6, with the dotted tail of IPv4-mapped addresses.
  package var description: String {
    var bytes: [UInt8] = []
    append(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The text of `description`, without a String.
  package func append(to out: inout [UInt8]) {
    switch self {
    case .v4(let value): IPAddress.append4(value, to: &out)
    case .v6(0, let low) where low >> 32 == 0xffff:
      out.append("::ffff:")
      IPAddress.append4(UInt32(truncatingIfNeeded: low), to: &out)
    case .v6(let high, let low): IPAddress.append6(high, low, to: &out)
    }
  }

  private static func parse4(_ text: Span<UInt8>, _ range: Range<Int>) -> UInt32? {
    var (value, octet, digits, dots): (UInt32, UInt32, Int, Int) = (0, 0, 0, 0)
    for index in range {
      let byte = text[index]
      if byte.isDigit {
        // Some resolvers read `010` as eight, others as ten.
        guard digits == 0 || octet > 0 else { return nil }
        octet = octet * 10 + UInt32(byte & 0x0f)
        digits += 1
        guard octet <= 255 else { return nil }
      } else {
        guard byte == UInt8(ascii: "."), digits > 0, dots < 3 else { return nil }
        value = value << 8 | octet
        (octet, digits, dots) = (0, 0, dots + 1)
      }
    }
    return digits > 0 && dots == 3 ? value << 8 | octet : nil
  }

  private static func parse6(_ text: Span<UInt8>) -> (high: UInt64, low: UInt64)? {
    let colon = UInt8(ascii: ":")
    var groups = [8 of UInt16](repeating: 0)
    var (count, index, gap): (Int, Int, Int?) = (0, 0, nil)
    if text.count >= 2, text[0] == colon {
      guard text[1] == colon else { return nil }
      (gap, index) = (0, 2)
    }
    while index < text.count {
      guard count < 8 else { return nil }
      let start = index
      var group: UInt16 = 0
      while index < text.count, index - start < 4, let digit = text[index].hexValue {
        group = group << 4 | UInt16(digit)
        index += 1
      }
      if index < text.count, text[index] == UInt8(ascii: ".") {
        guard count <= 6, let tail = parse4(text, start..<text.count) else { return nil }
        groups[count] = UInt16(tail >> 16)
        groups[count + 1] = UInt16(tail & 0xffff)
        count += 2
        break
      }
      guard index > start else { return nil }
      groups[count] = group
      count += 1
      guard index < text.count else { break }
      guard text[index] == colon, index + 1 < text.count else { return nil }
      index += 1
      if text[index] == colon {
        guard gap == nil else { return nil }
        gap = count
        index += 1
      }
    }
    return join(groups, count: count, gap: gap)
  }

  private static func join(_ groups: [8 of UInt16], count: Int, gap: Int?) -> (high: UInt64, low: UInt64)? {
    guard gap == nil ? count == 8 : count < 8 else { return nil }
    var (high, low): (UInt64, UInt64) = (0, 0)
    for position in 0..<count {
      let place = position < gap ?? 8 ? position : position + 8 - count
      let value = UInt64(groups[position])
      if place < 4 { high |= value << (16 * UInt64(3 - place)) } else { low |= value << (16 * UInt64(7 - place)) }
    }
    return (high, low)
  }

  /// Dots go between the bytes; the digits are gathered first, as one append costs more than all of them.
  private static func append4(_ value: UInt32, to out: inout [UInt8]) {
    var text = [15 of UInt8](repeating: 0)
    var count = 0
    for shift in stride(from: UInt32(24), through: 0, by: -8) {
      let byte = UInt8(truncatingIfNeeded: value >> shift)
      if byte >= 100 { put(byte / 100) }
      if byte >= 10 { put(byte / 10 % 10) }
      put(byte % 10)
      if shift > 0 { put(UInt8(ascii: ".") &- UInt8(ascii: "0")) }
    }
    out.append(text.span.extracting(0..<count))

    func put(_ digit: UInt8) {
      text[count] = UInt8(ascii: "0") &+ digit
      count += 1
    }
  }

  private static func append6(_ high: UInt64, _ low: UInt64, to out: inout [UInt8]) {
    func group(_ index: Int) -> UInt64 {
      (index < 4 ? high >> (16 * UInt64(3 - index)) : low >> (16 * UInt64(7 - index))) & 0xffff
    }
    // RFC 5952 section 4.2: the longest run of two or more zero groups, the first of equals.
    var best = 0..<0
    var index = 0
    while index < 8 {
      var end = index
      while end < 8, group(end) == 0 { end += 1 }
      if end - index > max(best.count, 1) { best = index..<end }
      index = end + 1
    }
    index = 0
    while index < 8 {
      if index == best.lowerBound, !best.isEmpty {
        out.append("::")
        index = best.upperBound
        continue
      }
      if index > 0, index != best.upperBound || best.isEmpty { out.append(UInt8(ascii: ":")) }
      appendHex(group(index), to: &out)
      index += 1
    }
  }
}
