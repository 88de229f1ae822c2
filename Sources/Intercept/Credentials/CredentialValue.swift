// The value of a credential as a source gave it: a token, or the keys of AWS, and how long it is good for.
// It relies on the source's text being a token, or JSON with one and an expiry; what else stands there is a problem.
package import Content
import Policy
import Wire

/// Why there is no value, in words that hold nothing of one.
package struct CredentialProblem: Error, Hashable, Sendable, CustomStringConvertible {
  package let description: String
  /// The endpoint says that the refresh token is good no more (RFC 6749 section 5.2). Nothing else says so.
  package var endsRefreshToken = false

  package init(_ description: String) { self.description = description }
}

/// What a source gave; `lifetimeMs` counts from then, and nil is until further notice.
package struct FetchedCredential: Sendable {
  package var value: CredentialValue
  package var lifetimeMs: UInt64?
  /// In place of the refresh token that was used (RFC 6749 section 6).
  package var refreshToken: Secret?
  /// For the operator: it serves, and something beside it went wrong.
  package var warning: String?
}

package final class CredentialValue: Sendable {
  /// The token; with AWS, the secret access key.
  package let secret: Secret
  /// With AWS alone.
  package let keyID: [UInt8]
  package let sessionToken: Secret?
  /// Made once, for all the texts that are searched for it.
  package let spelled: [SpelledValue]

  package init(secret: Secret, keyID: [UInt8] = [], sessionToken: Secret? = nil) {
    (self.secret, self.keyID, self.sessionToken) = (secret, keyID, sessionToken)
    spelled = ([secret] + (sessionToken.map { [$0] } ?? [])).map(\.spelled)
  }
}

extension Secret: KeptBytes {
  package func look(_ body: (Span<UInt8>) -> Void) { withBytes(body) }

  /// The table tells the first bytes of the value, and is kept as the value is.
  fileprivate var spelled: SpelledValue {
    var table = withBytes { SpelledValue.tableBytes(for: $0) }
    return SpelledValue(value: self, table: Secret(taking: &table))
  }
}

extension EchoSearch {
  package init(_ value: CredentialValue) { self.init(value.spelled) }
}

enum CredentialText {
  static let bytesMax = 64 * 1024

  /// The text is taken over, and wiped. `nowUnix` is what an expiry in it is compared with.
  static func read(
    _ text: inout [UInt8], for placement: Credential.Placement, nowUnix: Int64
  ) throws(CredentialProblem) -> FetchedCredential {
    defer { Secret.wipe(&text) }
    withoutMark(&text)
    let isJSON = text.first { !isBlank($0) } == UInt8(ascii: "{")
    guard isJSON else {
      if case .sigv4 = placement { return try keys(inPlain: text) }
      var token = Array(text[range(withoutBlanks: text)])
      return FetchedCredential(value: CredentialValue(secret: try secret(&token, placement)), lifetimeMs: nil)
    }
    // What is wrong with it is not told: it would say something of what stands there.
    guard let value = try? JSONOutline(of: text) else { throw CredentialProblem("it looks like JSON, and is none") }
    let lifetimeMs = try lifetime(value, text, nowUnix)
    if case .sigv4 = placement {
      return FetchedCredential(value: try keys(value, text), lifetimeMs: lifetimeMs)
    }
    guard var token = (value["token"] ?? value["access_token"])?.text(in: text) else {
      throw CredentialProblem("its JSON has no `token`")
    }
    return FetchedCredential(value: CredentialValue(secret: try secret(&token, placement)), lifetimeMs: lifetimeMs)
  }

  /// The byte-order mark that some programs begin a text with.
  static func withoutMark(_ text: inout [UInt8]) {
    if text.starts(with: [0xef, 0xbb, 0xbf]) { for index in 0..<3 { text[index] = 0x20 } }
  }

  static func secret(
    _ token: inout [UInt8], _ placement: Credential.Placement
  ) throws(CredentialProblem) -> Secret {
    guard !token.isEmpty else { throw CredentialProblem("it is empty") }
    guard token.count <= 16 * 1024 else { throw CredentialProblem("it is longer than 16 KiB") }
    guard token.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
      throw CredentialProblem("it has a line break or another control character inside")
    }
    if case .header = placement, !token.allSatisfy({ $0 < 0x7f }) {
      throw CredentialProblem("it is not ASCII, and goes into a header")
    }
    return Secret(taking: &token)
  }

  private static func lifetime(
    _ value: JSONOutline, _ json: [UInt8], _ nowUnix: Int64
  ) throws(CredentialProblem) -> UInt64? {
    if let seconds = value["expires_in"], !seconds.isNull {
      guard let seconds = seconds.wholeNumber(in: json) else {
        throw CredentialProblem("its `expires_in` is no number of seconds")
      }
      return Self.lifetimeMs(seconds: seconds)
    }
    guard let time = value["expires_at"] ?? value["Expiration"], !time.isNull else { return nil }
    var unix = time.wholeNumber(in: json).flatMap { Int64(exactly: $0) }
    if let text = time.text(in: json) { unix = Timestamp.parse(String(decoding: text, as: UTF8.self)) }
    guard let unix else { throw CredentialProblem("its expiry is neither an RFC 3339 time nor Unix seconds") }
    guard unix > nowUnix else { throw CredentialProblem("it has expired already") }
    // Milliseconds or nanoseconds, taken for seconds, would never expire.
    guard unix < Self.unixMax else {
      throw CredentialProblem(
        "its expiry is after the year 9999: Unix seconds are wanted, not milliseconds or nanoseconds")
    }
    return Self.lifetimeMs(seconds: UInt64(clamping: unix &- nowUnix))
  }

  /// The end of the year 9999, the last that RFC 3339 can say.
  private static let unixMax: Int64 = 253_402_300_800
  private static let lifetimeSecondsMax: UInt64 = 10 * 365 * 86_400

  /// Read again after ten years at the latest.
  static func lifetimeMs(seconds: UInt64) -> UInt64 { min(seconds, lifetimeSecondsMax) &* 1000 }

  /// What a `credential_process` of AWS prints.
  private static func keys(_ value: JSONOutline, _ json: [UInt8]) throws(CredentialProblem) -> CredentialValue {
    guard let id = value["AccessKeyId"]?.text(in: json), var key = value["SecretAccessKey"]?.text(in: json) else {
      throw CredentialProblem(
        "its JSON has no `AccessKeyId` and `SecretAccessKey`, as a credential_process prints them")
    }
    var session = value["SessionToken"]?.text(in: json)
    return try keys(id, &key, &session)
  }

  /// `KEYID:SECRET` or `KEYID:SECRET:SESSIONTOKEN`.
  private static func keys(inPlain text: [UInt8]) throws(CredentialProblem) -> FetchedCredential {
    let plain = range(withoutBlanks: text)
    let parts = text[plain].split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard parts.count == 2 || parts.count == 3 else {
      throw CredentialProblem(
        "it is neither KEYID:SECRET, nor that with :SESSIONTOKEN, nor JSON of a credential_process")
    }
    var key = Array(parts[1])
    var session = parts.count == 3 ? Array(parts[2]) : nil
    return FetchedCredential(value: try keys(Array(parts[0]), &key, &session), lifetimeMs: nil)
  }

  private static func keys(
    _ id: [UInt8], _ key: inout [UInt8], _ session: inout [UInt8]?
  ) throws(CredentialProblem) -> CredentialValue {
    let isID = (8...128).contains(id.count) && id.allSatisfy { $0.isUnreserved }
    let isPlain = { (bytes: [UInt8]) in bytes.allSatisfy { $0 > 0x20 && $0 < 0x7f } }
    guard isID, !key.isEmpty, isPlain(key), session.map(isPlain) ?? true else {
      throw CredentialProblem("its key id or secret is no key of AWS")
    }
    var token: Secret?
    if var text = session, !text.isEmpty {
      session = nil
      token = Secret(taking: &text)
    }
    return CredentialValue(secret: Secret(taking: &key), keyID: id, sessionToken: token)
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

  private static func range(withoutBlanks text: [UInt8]) -> Range<Int> {
    let first = text.firstIndex { !isBlank($0) } ?? text.endIndex
    let last = text.lastIndex { !isBlank($0) } ?? text.startIndex - 1
    return first..<max(first, last + 1)
  }
}

extension JSONOutline {
  /// A number that is not negative; a decimal fraction is cut off.
  func wholeNumber(in bytes: [UInt8]) -> UInt64? {
    guard case .number(let range) = self else { return nil }
    let whole = bytes[range].prefix { $0 != UInt8(ascii: ".") }
    let rest = bytes[whole.endIndex..<range.upperBound].dropFirst()
    guard !whole.isEmpty, whole.allSatisfy(\.isDigit), rest.allSatisfy(\.isDigit) else { return nil }
    return UInt64(String(decoding: whole, as: UTF8.self))
  }
}
