// The path of a request: the spelling that is sent, and the ways in which servers may read that spelling.
// Relies on RFC 3986 section 6.2.2 for the spelling and on PathReadings for the ways: nothing else of a path changes.

/// Servers differ on `%2F`, `//`, `\` and `;x`. A path goes out as it came, and a policy is compared with every
/// reading.
package struct RequestPath: Hashable, Sendable {
  /// The path that is sent. Case of escapes, escapes of unreserved characters and dot segments are normalised, and
  /// bytes above ASCII are escaped (RFC 3986 section 2.1); all else stays as it came.
  package let bytes: [UInt8]
  /// Where the query begins in the request target that was read, with its `?`; the target's length when there is none.
  package let queryStart: Int
  /// The first one takes every byte for itself. No reading has a dot segment.
  package let readings: [[UInt8]]

  /// Reads a path, and maybe a query, which is not looked at.
  package init(target: Span<UInt8>) throws(PathProblem) {
    guard target.count > 0, target[0] == UInt8(ascii: "/") else { throw .notAbsolute }
    var end = 0
    while end < target.count, target[end] != UInt8(ascii: "?") { end += 1 }
    for index in end..<target.count where target[index] == UInt8(ascii: "#") { throw .fragment }
    queryStart = end
    bytes = try PathSpelling.normal(target.extracting(0..<end))
    readings = try PathReadings.all(of: bytes)
  }

  /// A request target with its raw bytes above ASCII percent-encoded, as RFC 3987 section 3.1 maps an IRI: clients send
  /// UTF-8 in paths and queries all the time. Nil where there are none. Throws where they are not UTF-8.
  package static func escapingRawUTF8(_ target: Span<UInt8>) throws(PathProblem) -> [UInt8]? {
    var escaped: [UInt8] = []
    var plain: [UInt8] = []
    var isChanged = false
    for index in 0..<target.count {
      plain.append(target[index])
      if target[index] < 0x80 {
        escaped.append(target[index])
      } else {
        Percent.escape(target[index], to: &escaped)
        isChanged = true
      }
    }
    guard isChanged else { return nil }
    guard String(validating: plain, as: UTF8.self) != nil else { throw .notUTF8 }
    return escaped
  }
}

package enum PathProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case notAbsolute, fragment, badByte, badPercent, encodedControl, encodedTwice, notUTF8
  case lookalike, aboveRoot, dotsWithMore, tooManyReadings

  package var description: String {
    switch self {
    case .notAbsolute: "the path does not begin with /"
    case .fragment: "the path has a fragment (#)"
    case .badByte: "the path holds a space or a control byte, which is percent-encoded in a path"
    case .badPercent: "a % in the path is not followed by two hexadecimal digits"
    case .encodedControl: "the path holds an encoded NUL or control byte"
    case .encodedTwice: "the path is percent-encoded several times, or in the form %uXXXX"
    case .notUTF8: "the bytes of the path that are not ASCII are not UTF-8"
    case .lookalike: "the path holds a character that some servers turn into a dot, a slash or a backslash"
    case .aboveRoot: "the path, or one way to read it, climbs above its root"
    case .dotsWithMore: "a segment of the path is dots with spaces or more dots, which servers read differently"
    case .tooManyReadings: "the path is long and mixes %2F, //, \\ or ; so that servers read it in too many ways"
    }
  }
}

/// RFC 3986 section 6.2.2: the one spelling of all those that mean the same to every server.
enum PathSpelling {
  static func normal(_ path: Span<UInt8>) throws(PathProblem) -> [UInt8] {
    let escaped = try escapes(path)
    guard let normal = withoutDotSegments(escaped) else { throw .aboveRoot }
    return normal
  }

  private static func escapes(_ path: Span<UInt8>) throws(PathProblem) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(path.count)
    var index = 0
    while index < path.count {
      let byte = path[index]
      if byte == UInt8(ascii: "#") { throw .fragment }
      if byte <= 0x20 || byte == 0x7f { throw .badByte }
      if byte == UInt8(ascii: "%") {
        guard index + 2 < path.count, let high = path[index + 1].hexValue, let low = path[index + 2].hexValue else {
          throw .badPercent
        }
        let value = high << 4 | low
        if value.isUnreserved { out.append(value) } else { Percent.escape(value, to: &out) }
        index += 3
        continue
      }
      if byte < 0x80 { out.append(byte) } else { Percent.escape(byte, to: &out) }
      index += 1
    }
    return out
  }

  /// RFC 3986 section 5.2.4; nil where the path climbs above its root, which servers answer differently.
  static func withoutDotSegments(_ path: [UInt8]) -> [UInt8]? {
    // Most paths have none.
    if !path.containsDotSegment { return path }
    var out: [UInt8] = []
    out.reserveCapacity(path.count)
    var start = 1
    for index in 1...path.count where index == path.count || path[index] == UInt8(ascii: "/") {
      let segment = path[start..<index]
      start = index + 1
      let isLast = index == path.count
      switch segment {
      case [0x2e]: if isLast { out.append(UInt8(ascii: "/")) }
      case [0x2e, 0x2e]:
        guard let slash = out.lastIndex(of: UInt8(ascii: "/")) else { return nil }
        out.removeSubrange(slash...)
        if isLast { out.append(UInt8(ascii: "/")) }
      default:
        out.append(UInt8(ascii: "/"))
        out += segment
      }
    }
    return out
  }
}

extension [UInt8] {
  /// Of a path that begins with a slash: some segment is `.` or `..`.
  fileprivate var containsDotSegment: Bool {
    var start = 1
    for index in 1...count where index == count || self[index] == UInt8(ascii: "/") {
      let length = index - start
      if length == 1 && self[start] == 0x2e { return true }
      if length == 2 && self[start] == 0x2e && self[start + 1] == 0x2e { return true }
      start = index + 1
    }
    return false
  }
}

package enum Percent {
  /// Upper case, as RFC 3986 section 2.1 wants it.
  @inline(__always)
  package static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 + value : 0x41 + value - 10 }

  package static func escape(_ byte: UInt8, to out: inout [UInt8]) {
    out.append(UInt8(ascii: "%"))
    out.append(digit(byte >> 4))
    out.append(digit(byte & 0xf))
  }

  /// Appends bytes with all but the unreserved ones encoded.
  package static func append(_ bytes: some Sequence<UInt8>, to out: inout [UInt8]) {
    for byte in bytes { if byte.isUnreserved { out.append(byte) } else { escape(byte, to: &out) } }
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
}
