// Known shapes of keys and tokens, looked for in long runs alone. It relies on each shape beginning with letters of its own;
// what has no such beginning counts only next to a word that says what it is, and only when it looks random.

struct SecretShape {
  var kind: String
  var prefix: [UInt8]
  /// How long the whole is.
  var length: ClosedRange<Int>
  /// Letters and digits alone, or also `-` and `_`.
  var isPlain: Bool
  /// Where the beginning is short, the rest must look random to count.
  var isRandom: Bool

  init(_ kind: String, _ prefix: StaticString, _ length: ClosedRange<Int>, plain: Bool = false, random: Bool = false) {
    (self.kind, self.prefix, self.length) = (kind, Array("\(prefix)".utf8), length)
    (isPlain, isRandom) = (plain, random)
  }

  /// The more special stands before the more general.
  static let all: [SecretShape] = [
    SecretShape("anthropic-key", "sk-ant-", 24...256),
    SecretShape("openai-key", "sk-proj-", 28...256), SecretShape("openai-key", "sk-svcacct-", 28...256),
    SecretShape("openai-key", "sk-admin-", 28...256), SecretShape("openai-key", "sk-", 35...256, random: true),
    SecretShape("aws-access-key", "AKIA", 20...20, plain: true),
    SecretShape("aws-access-key", "ASIA", 20...20, plain: true),
    SecretShape("github-token", "ghp_", 40...255, plain: true),
    SecretShape("github-token", "gho_", 40...255, plain: true),
    SecretShape("github-token", "ghu_", 40...255, plain: true),
    SecretShape("github-token", "ghs_", 40...255, plain: true),
    SecretShape("github-token", "ghr_", 40...255, plain: true), SecretShape("github-token", "github_pat_", 40...255),
    SecretShape("gitlab-token", "glpat-", 26...128), SecretShape("google-key", "AIza", 39...39),
    SecretShape("slack-token", "xoxb-", 20...255), SecretShape("slack-token", "xoxp-", 20...255),
    SecretShape("slack-token", "xoxa-", 20...255), SecretShape("slack-token", "xoxr-", 20...255),
    SecretShape("slack-token", "xoxs-", 20...255), SecretShape("slack-token", "xapp-", 20...255),
    SecretShape("stripe-key", "sk_live_", 24...255, plain: true),
    SecretShape("stripe-key", "rk_live_", 24...255, plain: true),
    SecretShape("stripe-key", "sk_test_", 24...255, plain: true), SecretShape("stripe-key", "whsec_", 30...255),
    SecretShape("npm-token", "npm_", 40...40, plain: true), SecretShape("pypi-token", "pypi-AgE", 60...512),
    SecretShape("huggingface-token", "hf_", 34...64, plain: true),
    SecretShape("digitalocean-token", "dop_v1_", 71...71, plain: true),
  ]

  /// The shapes by the first letter of their prefix.
  private static let byFirst: [[SecretShape]] = (0..<256).map { code in all.filter { $0.prefix[0] == UInt8(code) } }

  /// What in `range` of `bytes` has a known shape. A key may stand behind `_`, `/` or another sign in the same run.
  static func find(_ bytes: Span<UInt8>, _ range: Range<Int>, _ found: (String, Range<Int>) -> Void) {
    var place = range.lowerBound
    while place < range.upperBound {
      defer { place += 1 }
      guard place == range.lowerBound || !bytes[place - 1].isAlphanumeric else { continue }
      for shape in byFirst[Int(bytes[place])] {
        guard let end = shape.match(bytes, place..<range.upperBound) else { continue }
        found(shape.kind, place..<end)
        place = end - 1
        break
      }
    }
  }

  /// The end of a key of this shape that begins where `range` does.
  private func match(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int? {
    guard range.count >= length.lowerBound else { return nil }
    for (offset, byte) in prefix.enumerated() where bytes[range.lowerBound + offset] != byte { return nil }
    var end = range.lowerBound + prefix.count
    while end < range.upperBound, bytes[end].isAlphanumeric || !isPlain && bytes[end].isDashed { end += 1 }
    guard length.contains(end - range.lowerBound) else { return nil }
    let body = (range.lowerBound + prefix.count)..<end
    return !isRandom || Randomness.isRandom(bytes, body) ? end : nil
  }
}

/// Whether letters look drawn rather than written.
enum Randomness {
  static func isRandom(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
    var counts = [UInt8: Int]()
    var digits = 0
    var upper = 0
    var lower = 0
    for place in range {
      let byte = bytes[place]
      counts[byte, default: 0] += 1
      if (0x30...0x39).contains(byte) { digits += 1 }
      if (0x41...0x5a).contains(byte) { upper += 1 }
      if (0x61...0x7a).contains(byte) { lower += 1 }
    }
    // Words have few digits; what is written by hand repeats its letters.
    guard digits >= 2, upper + lower >= 4, counts.count >= 10 else { return false }
    return counts.values.max() ?? 0 <= max(range.count / 5, 3)
  }
}

/// A word such as `api_key` before a run, and nothing but an assignment between them.
enum SecretContext {
  private static let words = [
    "apikey", "secret", "password", "passwd", "accesskey", "privatekey", "authtoken", "accesstoken", "token", "bearer",
    "credential", "authkey", "clientsecret", "passphrase",
  ].map { Array($0.utf8) }
  /// A page's token is no secret.
  private static let harmless = [
    "page", "next", "cursor", "csrf", "public", "max", "sync", "continuation", "count", "hash", "path", "file", "name",
    "url", "id",
  ].map { Array($0.utf8) }
  private static let lookBack = 64

  static func precedes(_ bytes: Span<UInt8>, _ start: Int) -> Bool {
    var place = start
    let first = max(start - lookBack, 0)
    var isAssigned = false
    while place > first, let sign = Self.sign(bytes[place - 1]) {
      isAssigned = isAssigned || sign
      place -= 1
      if start - place > 8 { return false }
    }
    var name: [UInt8] = []
    while place > first, bytes[place - 1].isAlphanumeric || bytes[place - 1].isDashed {
      if bytes[place - 1].isAlphanumeric { name.append(bytes[place - 1] | (bytes[place - 1] < 0x40 ? 0 : 0x20)) }
      place -= 1
    }
    name.reverse()
    if name == Array("bearer".utf8) || name == Array("basic".utf8) { return place < start }
    return isAssigned && words.contains { name.contains($0) } && !harmless.contains { name.contains($0) }
  }

  /// Whether the byte may stand between a name and its value, and whether it assigns.
  private static func sign(_ byte: UInt8) -> Bool? {
    switch byte {
    case UInt8(ascii: "="), UInt8(ascii: ":"): true
    case UInt8(ascii: " "), UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: ">"), 0x09: false
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
  /// Whether `part` stands anywhere in it. For short arrays.
  func contains(_ part: [UInt8]) -> Bool {
    guard !part.isEmpty, count >= part.count else { return part.isEmpty }
    return (0...(count - part.count)).contains { start in self[start..<(start + part.count)].elementsEqual(part) }
  }
}
