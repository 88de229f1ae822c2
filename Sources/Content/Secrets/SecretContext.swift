// Values that have no shape of their own: what looks random, right behind a name that says what it is.
// It relies on nothing but the bytes before the value.

/// True if letters look drawn rather than written.
enum Randomness {
  static func isRandom(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
    var counts = [Int](repeating: 0, count: 256)
    var digits = 0
    var letters = 0
    for place in range {
      let byte = bytes[place]
      counts[Int(byte)] += 1
      if (0x30...0x39).contains(byte) { digits += 1 } else if byte.isAlphanumeric { letters += 1 }
    }
    // Words have few digits; what is written by hand repeats its letters.
    let different = counts.reduce(0) { $0 + ($1 > 0 ? 1 : 0) }
    guard digits >= 2, letters >= 4, different >= min(10, range.count * 2 / 3) else { return false }
    return counts.max() ?? 0 <= max(range.count / 5, 3)
  }
}

/// A word such as `api_key` before a run, and nothing but an assignment between them.
enum SecretContext {
  private static let words = [
    "apikey", "secret", "password", "passwd", "accesskey", "privatekey", "authtoken", "accesstoken", "token", "bearer",
    "credential", "authkey", "clientsecret", "passphrase", "accountkey", "signingkey", "encryptionkey", "masterkey",
    "clientid", "apitoken", "appkey", "licensekey", "servicekey", "webhook", "pat",
  ].map { Array($0.utf8) }
  /// A page's token is no secret.
  private static let harmless = [
    "page", "next", "cursor", "csrf", "xsrf", "public", "max", "sync", "continuation", "count", "hash", "path", "file",
    "name", "url", "nonce", "upload", "resume", "integrity", "checksum", "etag",
  ].map { Array($0.utf8) }
  private static let lookBack = 96
  /// Blanks, quotes and signs that stand between a name and its value.
  private static let betweenMax = 16

  static func precedes(_ bytes: Span<UInt8>, _ start: Int) -> Bool {
    var place = start
    let first = max(start - lookBack, 0)
    var isAssigned = false
    while place > first, let sign = Self.sign(bytes[place - 1]) {
      isAssigned = isAssigned || sign
      place -= 1
      if start - place > betweenMax { return false }
    }
    var name: [UInt8] = []
    while place > first, bytes[place - 1].isAlphanumeric || bytes[place - 1].isDashed || bytes[place - 1] == 0x2e {
      if bytes[place - 1].isAlphanumeric { name.append(bytes[place - 1] | (bytes[place - 1] < 0x40 ? 0 : 0x20)) }
      place -= 1
    }
    name.reverse()
    if name == Array("bearer".utf8) || name == Array("basic".utf8) { return place < start }
    return isAssigned && words.contains { name.contains($0) } && !harmless.contains { name.contains($0) }
  }

  /// True if the byte may stand between a name and its value, and whether it assigns.
  private static func sign(_ byte: UInt8) -> Bool? {
    switch byte {
    case UInt8(ascii: "="), UInt8(ascii: ":"), UInt8(ascii: ","), UInt8(ascii: ">"): true
    case UInt8(ascii: " "), UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "`"), UInt8(ascii: "|"),
      UInt8(ascii: "?"), UInt8(ascii: "("), 0x09, 0x0a, 0x0d:
      false
    default: nil
    }
  }
}

extension UInt8 {
  var isAlphanumeric: Bool {
    switch self {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
    default: false
    }
  }
  var isDashed: Bool { self == UInt8(ascii: "-") || self == UInt8(ascii: "_") }
}

extension Array where Element == UInt8 {
  /// True if `part` stands anywhere in it. For short arrays.
  func contains(_ part: [UInt8]) -> Bool {
    guard !part.isEmpty, count >= part.count else { return part.isEmpty }
    return (0...(count - part.count)).contains { start in self[start..<(start + part.count)].elementsEqual(part) }
  }
}
