// The path of a request in the one spelling that a policy's globs are compared with, or why it has none.
// It relies on RFC 3986: what two servers could read as two paths is resolved where that is sure, and else refused.

/// Begins with a slash; no empty, `.` or `..` segment; unreserved characters plain, all others but the reserved ones of a
/// path percent-encoded in upper case; no encoded slash, backslash or control. Whoever judged it sends it on, and not
/// the text that the client wrote.
package struct RequestPath: Hashable, Sendable {
  package let bytes: [UInt8]
  /// Where the query begins in the request target that was read, with its `?`; the target's length when there is none.
  package let queryStart: Int

  /// Reads a request target in origin form: a path, and maybe a query, which is not looked at.
  package init(target: Span<UInt8>) throws(PathProblem) {
    guard target.count > 0, target[0] == UInt8(ascii: "/") else { throw .notAbsolute }
    var end = 0
    while end < target.count, target[end] != UInt8(ascii: "?") { end += 1 }
    for index in end..<target.count where target[index] == UInt8(ascii: "#") { throw .fragment }
    queryStart = end
    var builder = PathBuilder()
    var start = 1
    for index in 1...end where index == end || target[index] == UInt8(ascii: "/") {
      try builder.add(target.extracting(start..<index), isLast: index == end)
      start = index + 1
    }
    bytes = builder.path
  }
}

package enum PathProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case notAbsolute, fragment, badByte, badPercent, encodedSlash, encodedControl, encodedTwice, notUTF8
  case lookalike, aboveRoot, dotsWithMore

  package var description: String {
    switch self {
    case .notAbsolute: "the path does not begin with /"
    case .fragment: "the path has a fragment (#)"
    case .badByte: "the path holds a backslash, a space, a control byte or a byte that is not ASCII"
    case .badPercent: "a % in the path is not followed by two hexadecimal digits"
    case .encodedSlash: "the path holds an encoded slash or backslash"
    case .encodedControl: "the path holds an encoded NUL or control byte"
    case .encodedTwice: "the path is percent-encoded twice"
    case .notUTF8: "the encoded bytes of the path are not UTF-8"
    case .lookalike: "the path holds a character that some servers turn into a dot, a slash or a backslash"
    case .aboveRoot: "the path climbs above its root"
    case .dotsWithMore:
      "a segment of the path is dots with spaces, more dots or parameters, which servers read differently"
    }
  }
}

/// Takes segments in order and holds the path up to here.
private struct PathBuilder {
  private(set) var path: [UInt8] = []
  private var decoded: [UInt8] = []

  mutating func add(_ raw: Span<UInt8>, isLast: Bool) throws(PathProblem) {
    try decode(raw)
    try checkDecoded()
    switch try kind() {
    case .plain:
      path.append(UInt8(ascii: "/"))
      try appendEncoded(raw)
    case .same:
      if isLast { path.append(UInt8(ascii: "/")) }
    case .parent:
      guard let slash = path.lastIndex(of: UInt8(ascii: "/")) else { throw .aboveRoot }
      path.removeSubrange(slash...)
      if isLast { path.append(UInt8(ascii: "/")) }
    }
  }

  private mutating func decode(_ raw: Span<UInt8>) throws(PathProblem) {
    decoded.removeAll(keepingCapacity: true)
    var index = 0
    while index < raw.count {
      let byte = raw[index]
      guard byte.isVisible, byte != UInt8(ascii: "\\"), byte != UInt8(ascii: "#") else {
        throw byte == UInt8(ascii: "#") ? .fragment : .badByte
      }
      guard byte == UInt8(ascii: "%") else {
        decoded.append(byte)
        index += 1
        continue
      }
      guard index + 2 < raw.count, let high = raw[index + 1].hexValue, let low = raw[index + 2].hexValue else {
        throw .badPercent
      }
      decoded.append(high << 4 | low)
      index += 3
    }
  }

  private func checkDecoded() throws(PathProblem) {
    for (index, byte) in decoded.enumerated() {
      if byte == UInt8(ascii: "/") || byte == UInt8(ascii: "\\") { throw .encodedSlash }
      if byte < 0x20 || byte == 0x7f { throw .encodedControl }
      if byte == UInt8(ascii: "%"), isEscape(behind: index) { throw .encodedTwice }
    }
    guard decoded.contains(where: { $0 >= 0x80 }) else { return }
    guard let text = String(validating: decoded, as: UTF8.self) else { throw .notUTF8 }
    for scalar in text.unicodeScalars where Self.lookalikes.contains(scalar.value) { throw .lookalike }
    // C1 controls have no business in a path.
    for scalar in text.unicodeScalars where (0x80..<0xa0).contains(scalar.value) { throw .encodedControl }
  }

  /// `%2e` or, for servers that know it, `%u002e`.
  private func isEscape(behind percent: Int) -> Bool {
    let rest = decoded[(percent + 1)...].prefix(5)
    if rest.count >= 2, rest.prefix(2).allSatisfy({ $0.hexValue != nil }) { return true }
    guard rest.count == 5, rest[percent + 1] | 0x20 == UInt8(ascii: "u") else { return false }
    return rest.dropFirst().allSatisfy { $0.hexValue != nil }
  }

  /// One and two dot leader, small full stop, small and fullwidth reverse solidus, fullwidth full stop and solidus:
  /// what Unicode's compatibility forms and the best-fit tables of Windows turn into `.`, `\` and `/`.
  private static let lookalikes: [UInt32] = [0x2024, 0x2025, 0xfe52, 0xfe68, 0xff0e, 0xff0f, 0xff3c]

  private enum Kind { case plain, same, parent }

  private func kind() throws(PathProblem) -> Kind {
    if decoded.isEmpty || decoded == [0x2e] { return .same }
    if decoded == [0x2e, 0x2e] { return .parent }
    // `..;x` is `..` to a servlet container, and `.. ` or `...` may be to Windows.
    let name = decoded.prefix { $0 != UInt8(ascii: ";") }
    let isOfDots = name.contains(0x2e) && name.allSatisfy { $0 == 0x2e || $0 == 0x20 }
    if isOfDots { throw .dotsWithMore }
    return .plain
  }

  private mutating func appendEncoded(_ raw: Span<UInt8>) throws(PathProblem) {
    var index = 0
    for byte in decoded {
      let wasEncoded = raw[index] == UInt8(ascii: "%")
      index += wasEncoded ? 3 : 1
      // A reserved character and its encoding are two things (RFC 3986 section 2.2): each stays what it was.
      if byte.isUnreserved || (byte.isReservedInPath && !wasEncoded) {
        path.append(byte)
      } else {
        path.append(contentsOf: [UInt8(ascii: "%"), Percent.digit(byte >> 4), Percent.digit(byte & 0xf)])
      }
    }
  }
}

package enum Percent {
  /// Upper case, as RFC 3986 section 2.1 wants it.
  @inline(__always)
  package static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x41 + value - 10 }

  /// Appends bytes with all but the unreserved ones encoded.
  package static func append(_ bytes: some Sequence<UInt8>, to out: inout [UInt8]) {
    for byte in bytes {
      if byte.isUnreserved {
        out.append(byte)
      } else {
        out.append(contentsOf: [UInt8(ascii: "%"), digit(byte >> 4), digit(byte & 0xf)])
      }
    }
  }

  /// Nil where a `%` has not two hexadecimal digits behind it.
  package static func decode(_ text: Span<UInt8>) -> [UInt8]? {
    var decoded: [UInt8] = []
    var index = 0
    while index < text.count {
      guard text[index] == UInt8(ascii: "%") else {
        decoded.append(text[index])
        index += 1
        continue
      }
      guard index + 2 < text.count, let high = text[index + 1].hexValue, let low = text[index + 2].hexValue else {
        return nil
      }
      decoded.append(high << 4 | low)
      index += 3
    }
    return decoded
  }
}

extension UInt8 {
  /// RFC 3986 section 2.3.
  package var isUnreserved: Bool {
    isDigit || (self | 0x20) &- 0x61 < 26 || self == 0x2d || self == 0x2e || self == 0x5f || self == 0x7e
  }

  /// `sub-delims`, `:` and `@` of `pchar` (RFC 3986 section 3.3).
  fileprivate var isReservedInPath: Bool {
    switch self {
    case UInt8(ascii: "!"), UInt8(ascii: "$"), UInt8(ascii: "&")...UInt8(ascii: ","), UInt8(ascii: ":"),
      UInt8(ascii: ";"), UInt8(ascii: "="), UInt8(ascii: "@"):
      true
    default: false
    }
  }
}
