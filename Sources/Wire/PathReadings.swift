// The ways in which servers read one path: each is a path that a policy must allow before the path is sent.
// Relies on PathSpelling.normal having been there first, so that only what servers really disagree on is left.

/// A server is one choice along each of these dimensions, and the same choice for the whole path:
/// - `%2F` and `\` (raw or `%5C`) are text, or separators (nginx and IIS take them for separators);
/// - `//` is kept, merged before or behind the removal of dot segments, or a leading one begins an authority;
/// - path parameters (`;x`) are text, or dropped before or behind the decoding (servlet containers);
/// - `%3F` and `%23` are text, or end the path (a proxy that decodes and passes on);
/// - escapes are undone once, or as often as there are any.
/// Dot segments are removed at the end of each. The number of choices bounds the readings; `workMax` bounds their
/// bytes.
enum PathReadings {
  /// Bytes of all readings of one path together: beyond it a client could buy milliseconds of a loop with one request.
  private static let workMax = 1 << 19
  /// How often escapes may be nested.
  private static let depthMax = 3

  static func all(of path: [UInt8]) throws(PathProblem) -> [[UInt8]] {
    var found = Found()
    var text = path
    for depth in 0... {
      let plain = try PathText.checked(text)
      try found.add(readingsOf: plain)
      guard let decoded = try PathText.decodedOnceMore(text) else { break }
      guard depth < depthMax else { throw .encodedTwice }
      text = try PathSpelling.normal(decoded.span)
    }
    return found.readings
  }

  private struct Found {
    private(set) var readings: [[UInt8]] = []
    private var work = 0

    mutating func add(readingsOf path: [UInt8]) throws(PathProblem) {
      for ended in PathText.ends(path) {
        for stripped in PathText.parameters(ended, escaped: false) {
          for split in PathText.separators(stripped) {
            for plain in PathText.parameters(split, escaped: true) { try add(slashesOf: plain) }
          }
        }
      }
    }

    private mutating func add(slashesOf path: [UInt8]) throws(PathProblem) {
      try add(path)
      guard PathText.hasDoubleSlash(path) else { return }
      try add(PathText.merged(path))
      if let resolved = PathSpelling.withoutDotSegments(path) { try add(PathText.merged(resolved)) }
      if let rest = PathText.behindAuthority(path) { try add(rest) }
    }

    private mutating func add(_ path: [UInt8]) throws(PathProblem) {
      work += path.count
      guard work <= PathReadings.workMax else { throw .tooManyReadings }
      guard let reading = PathSpelling.withoutDotSegments(path) else { throw .aboveRoot }
      if !readings.contains(reading) { readings.append(reading) }
    }
  }
}

/// One step of a server on the text of a path.
private enum PathText {
  private static let slash = Array("%2F".utf8)
  private static let backslash = Array("%5C".utf8)
  private static let semicolon = Array("%3B".utf8)
  private static let question = Array("%3F".utf8)
  private static let hash = Array("%23".utf8)
  private static let percent = Array("%25".utf8)

  /// Refuses what is no text on any server, and brings characters that have no place in a path (`[`, `|`, `\`) into the
  /// escaped form: all servers take the two forms for the same.
  static func checked(_ path: [UInt8]) throws(PathProblem) -> [UInt8] {
    var text: [UInt8] = []
    text.reserveCapacity(path.count)
    for byte in path {
      if byte.isPathText { text.append(byte) } else { Percent.escape(byte, to: &text) }
    }
    // The usual path has no escapes, and nothing to look for in them.
    guard let decoded = Percent.decode(text.span) else { throw .badPercent }
    if decoded.count != text.count { try check(decoded) }
    for segment in decoded.split(whereSeparator: { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") }) {
      // `.. ` and `...` may be `..` to Windows; `..;x` is a matter of the readings.
      let name = segment.prefix { $0 != UInt8(ascii: ";") }
      let isOfDots = name.contains(0x2e) && name.allSatisfy { $0 == 0x2e || $0 == 0x20 }
      if isOfDots && name != [0x2e] && name != [0x2e, 0x2e] { throw .dotsWithMore }
    }
    return text
  }

  private static func check(_ decoded: [UInt8]) throws(PathProblem) {
    for byte in decoded where byte < 0x20 || byte == 0x7f { throw .encodedControl }
    guard decoded.contains(where: { $0 >= 0x80 }) else { return }
    guard let text = String(validating: decoded, as: UTF8.self) else { throw .notUTF8 }
    for scalar in text.unicodeScalars {
      // C1 controls have no business in a path.
      if (0x80..<0xa0).contains(scalar.value) { throw .encodedControl }
      if PathLookalikes.all.contains(scalar.value) { throw .lookalike }
    }
  }

  /// The path that a server sees which undoes escapes once more; nil where none are left. `100%25` has none.
  static func decodedOnceMore(_ path: [UInt8]) throws(PathProblem) -> [UInt8]? {
    var decoded: [UInt8] = []
    var isChanged = false
    var index = 0
    while index < path.count {
      decoded.append(path[index])
      let rest = path.dropFirst(index + percent.count).prefix(5)
      guard path.has(percent, at: index), let next = rest.first else {
        index += 1
        continue
      }
      if next | 0x20 == UInt8(ascii: "u"), rest.count == 5, rest.dropFirst().allSatisfy({ $0.hexValue != nil }) {
        throw .encodedTwice
      }
      let isEscape = rest.count >= 2 && rest.prefix(2).allSatisfy { $0.hexValue != nil }
      isChanged = isChanged || isEscape
      index += isEscape ? percent.count : 1
    }
    return isChanged ? decoded : nil
  }

  static func ends(_ path: [UInt8]) -> [[UInt8]] {
    for index in path.indices where path.has(question, at: index) || path.has(hash, at: index) {
      return [path, Array(path[..<index])]
    }
    return [path]
  }

  /// With and without path parameters.
  static func parameters(_ path: [UInt8], escaped: Bool) -> [[UInt8]] {
    var stripped: [UInt8] = []
    var isParameter = false
    for index in path.indices {
      if path[index] == UInt8(ascii: "/") { isParameter = false }
      if path[index] == UInt8(ascii: ";") || (escaped && path.has(semicolon, at: index)) { isParameter = true }
      if !isParameter { stripped.append(path[index]) }
    }
    return stripped.count == path.count ? [path] : [path, stripped]
  }

  /// With escaped slashes and backslashes as text and as separators, each for itself.
  static func separators(_ path: [UInt8]) -> [[UInt8]] {
    var readings = [path]
    for escape in [slash, backslash] where path.indices.contains(where: { path.has(escape, at: $0) }) {
      readings += readings.map { $0.replacing(escape, with: UInt8(ascii: "/")) }
    }
    return readings
  }

  static func hasDoubleSlash(_ path: [UInt8]) -> Bool {
    zip(path, path.dropFirst()).contains { $0 == UInt8(ascii: "/") && $1 == UInt8(ascii: "/") }
  }

  static func merged(_ path: [UInt8]) -> [UInt8] {
    var merged: [UInt8] = []
    for byte in path where byte != UInt8(ascii: "/") || merged.last != byte { merged.append(byte) }
    return merged
  }

  /// `//host/path` is a reference to another host for a parser of URLs (RFC 3986 section 4.2).
  static func behindAuthority(_ path: [UInt8]) -> [UInt8]? {
    guard path.count >= 2, path[0] == UInt8(ascii: "/"), path[1] == UInt8(ascii: "/") else { return nil }
    guard let slash = path[2...].firstIndex(of: UInt8(ascii: "/")) else { return [UInt8(ascii: "/")] }
    return Array(path[slash...])
  }
}

extension [UInt8] {
  fileprivate func has(_ text: [UInt8], at index: Int) -> Bool {
    guard index + text.count <= count else { return false }
    for offset in text.indices where self[index + offset] != text[offset] { return false }
    return true
  }

  fileprivate func replacing(_ escape: [UInt8], with byte: UInt8) -> [UInt8] {
    var out: [UInt8] = []
    var index = 0
    while index < count {
      let isEscape = has(escape, at: index)
      out.append(isEscape ? byte : self[index])
      index += isEscape ? escape.count : 1
    }
    return out
  }
}

extension UInt8 {
  /// `pchar` of RFC 3986 section 3.3, the `%` of an escape, and the slash between segments.
  fileprivate var isPathText: Bool {
    switch self {
    case UInt8(ascii: "!"), UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: "&")...UInt8(ascii: ","),
      UInt8(ascii: "/"), UInt8(ascii: ":"), UInt8(ascii: ";"), UInt8(ascii: "="), UInt8(ascii: "@"):
      true
    default: isUnreserved
    }
  }
}
