// JSON web tokens: three runs with dots between, of which the first opens with `{"`. And what of a secret is
// remembered. It relies on the window holding the whole token.

enum TokenShape {
  static let id = "json-web-token"
  private static let opening = Array("eyJ".utf8)
  private static let headBytesMin = 16
  private static let payloadBytesMax = 8192
  private static let stringsMax = 64

  /// Where in the run a token may begin.
  static func start(_ bytes: Span<UInt8>, _ run: Range<Int>) -> Int? {
    guard run.count >= headBytesMin else { return nil }
    for place in run.lowerBound...(run.upperBound - headBytesMin)
    where bytes[place] == opening[0] && bytes[place + 1] == opening[1] && bytes[place + 2] == opening[2] {
      return place
    }
    return nil
  }

  /// Fingerprints of the hosts that its claims name.
  static func audiences(_ token: ArraySlice<UInt8>) -> [Int] {
    let parts = token.split(separator: UInt8(ascii: "."), maxSplits: 2)
    guard parts.count == 3, parts[1].count <= payloadBytesMax else { return [] }
    var decoder = Base64Decoder()
    var claims: [UInt8] = []
    let payload = Array(parts[1])
    decoder.decode(payload.span, 0..<payload.count, offset: 0, into: &claims)
    return claims.split(separator: UInt8(ascii: "\"")).prefix(stringsMax).compactMap { text in
      let host = Array(text).withoutScheme.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ":") }
      return host.contains(UInt8(ascii: ".")) ? Fingerprint.of(host) : nil
    }
  }
}

extension [UInt8] {
  fileprivate var withoutScheme: ArraySlice<UInt8> {
    for scheme in ["https://", "http://"] where starts(with: scheme.utf8) { return self[scheme.utf8.count...] }
    return self[...]
  }
}

/// A number for a value, the same in one process; nothing leads back.
package enum Fingerprint {
  package static func of(_ bytes: ArraySlice<UInt8>) -> Int {
    var hasher = Hasher()
    for byte in bytes { hasher.combine(byte) }
    return hasher.finalize()
  }
}

/// Runs of base32 (RFC 4648) and of hexadecimal digits.
enum OtherBases {
  /// A shorter run decodes to less than any key.
  private static let lettersMin = 32

  static func decode(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [UInt8]? {
    guard range.count >= lettersMin else { return nil }
    var (isBase32, isHex) = (true, range.count % 2 == 0)
    for place in range {
      let byte = bytes[place]
      isBase32 = isBase32 && ((0x41...0x5a).contains(byte) || (0x32...0x37).contains(byte))
      isHex = isHex && byte.hexValue != nil
      if !isBase32 && !isHex { return nil }
    }
    let text = isHex ? hex(bytes, range) : base32(bytes, range)
    // A hash decodes to anything, and a key to letters.
    let letters = text.reduce(0) { $0 + ($1 >= 0x20 && $1 < 0x7f ? 1 : 0) }
    return letters * 10 >= text.count * 9 ? text : nil
  }

  private static func hex(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
    stride(from: range.lowerBound, to: range.upperBound, by: 2).map {
      (bytes[$0].hexValue ?? 0) << 4 | (bytes[$0 + 1].hexValue ?? 0)
    }
  }

  private static func base32(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
    var (bits, count): (UInt32, UInt32) = (0, 0)
    var text: [UInt8] = []
    for place in range {
      let byte = bytes[place]
      bits = bits << 5 | UInt32(byte < 0x41 ? byte - 0x32 + 26 : byte - 0x41)
      count += 5
      if count >= 8 {
        count -= 8
        text.append(UInt8(truncatingIfNeeded: bits >> count))
      }
    }
    return text
  }
}
