// Sessions of browsers that may decide: a token opens one, and each ends.
// It relies on its caller for the clock and for random bytes; texts are compared in constant time.

struct ApprovalSessions {
  static let sessionMs: UInt64 = 8 * 3_600_000
  static let sessionsMax = 16
  static let cookie = "sluice_approvals"

  private let random: () -> String
  /// Opens one session; then there is another one.
  private(set) var token: String
  private var sessions: [(secret: String, endsMs: UInt64)] = []

  /// `random` gives texts of 64 hexadecimal digits, no two alike.
  init(random: @escaping () -> String = ApprovalSessions.random) {
    self.random = random
    token = random()
  }

  static func random() -> String {
    var text = ""
    for _ in 0..<4 {
      // Of the system's generator, which cannot be foretold.
      let digits = String(UInt64.random(in: .min ... .max), radix: 16)
      text += String(repeating: "0", count: 16 - digits.count) + digits
    }
    return text
  }

  /// The secret of a new session; nil where the token is not the one that counts.
  mutating func open(with offered: String, nowMs: UInt64) -> String? {
    guard Self.areEqual(offered, token) else { return nil }
    token = random()
    let secret = random()
    sessions.removeAll { $0.endsMs <= nowMs }
    if sessions.count >= Self.sessionsMax { sessions.removeFirst() }
    sessions.append((secret, nowMs + Self.sessionMs))
    return secret
  }

  func isOpen(_ offered: String, nowMs: UInt64) -> Bool {
    // Each session is compared, so that the time says nothing of them.
    sessions.reduce(false) { found, session in
      let isThis = Self.areEqual(offered, session.secret)
      return found || (isThis && nowMs < session.endsMs)
    }
  }

  /// The value of a cookie in a Cookie field (RFC 6265 section 4.2).
  static func value(in field: String) -> String? {
    for part in field.split(separator: ";") {
      let pair = part.split(separator: "=", maxSplits: 1)
      let name = pair.first.map { $0.drop { $0 == " " } }
      if pair.count == 2, name == cookie[...] { return String(pair[1]) }
    }
    return nil
  }

  private static func areEqual(_ one: String, _ other: String) -> Bool {
    let (left, right) = (Array(one.utf8), Array(other.utf8))
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
  }
}
