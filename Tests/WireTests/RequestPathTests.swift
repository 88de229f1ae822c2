// The spelling of a path that is sent, the ways to read it, and which known tricks have none.

import Foundation
import Testing
import Wire

private func parse(_ text: String) throws(PathProblem) -> RequestPath {
  try RequestPath(target: Array(text.utf8).span)
}

private func sent(_ text: String) -> String {
  do throws(PathProblem) { return String(decoding: try parse(text).bytes, as: UTF8.self) } catch { return "\(error)" }
}

private func readings(_ text: String) -> Set<String> {
  do throws(PathProblem) { return Set(try parse(text).readings.map { String(decoding: $0, as: UTF8.self) }) } catch {
    return ["\(error)"]
  }
}

private func problem(_ text: String) -> PathProblem? {
  do throws(PathProblem) {
    _ = try parse(text)
    return nil
  } catch {
    return error
  }
}

@Suite struct RequestPathTests {
  /// RFC 3986 section 6.2.2, and nothing beyond it.
  @Test(arguments: [
    ("/", "/"), ("/a/b", "/a/b"), ("/a/b/", "/a/b/"), ("/a//b", "/a//b"), ("//a", "//a"), ("/a///", "/a///"),
    ("/./a", "/a"), ("/a/.", "/a/"), ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a/b/..", "/a/"), ("/a/b/../", "/a/"),
    ("/a/..", "/"), ("/a/%2e%2E/b", "/b"), ("/a/.%2e/b", "/b"), ("/a/%2e/b", "/a/b"), ("/%7euser", "/~user"),
    ("/a//../b", "/a/b"), ("/a//..", "/a/"), ("/a//.", "/a//"),
    ("/%41%62", "/Ab"), ("/a%20b", "/a%20b"), ("/a%c3%a4", "/a%C3%A4"), ("/a%3f%23", "/a%3F%23"),
    ("/a!b", "/a!b"), ("/a%21b", "/a%21b"), ("/a[1]|{x}", "/a[1]|{x}"), ("/a%5b1%5d", "/a%5B1%5D"),
    ("/100%25", "/100%25"),
    ("/a;v=1/b", "/a;v=1/b"), ("/a?b=/../c", "/a"), ("/..a/b..", "/..a/b.."), ("/a.b", "/a.b"), ("/a%25zz", "/a%25zz"),
    ("/@scope%2fx", "/@scope%2Fx"), ("/a%5cb", "/a%5Cb"), ("/a\\b", "/a\\b"), ("/a/..;x/b", "/a/..;x/b"),
    ("/caf\u{e9}", "/caf%C3%A9"), ("/\u{65e5}/..", "/"), ("/a%2520b", "/a%2520b"), ("/bucket//key", "/bucket//key"),
    ("/a/%252e%252e/b", "/a/%252e%252e/b"),
  ])
  func onlyWhatMeansTheSameIsRespelled(text: String, expected: String) {
    #expect(sent(text) == expected)
    #expect(sent(expected) == expected, "and that is its own spelling")
  }

  @Test(
    arguments: [
      ("/a/b", ["/a/b"]), ("/a.b/c%20d", ["/a.b/c%20d"]), ("/a[1]", ["/a%5B1%5D"]), ("/100%25", ["/100%25"]),
      ("/@scope%2Fx", ["/@scope%2Fx", "/@scope/x"]),
      ("/repos/x%2F..%2Fadmin", ["/repos/x%2F..%2Fadmin", "/repos/admin"]),
      ("/repos/x%2F..%2F..%2Fadmin", ["/repos/x%2F..%2F..%2Fadmin", "/admin"]),
      ("/a//b", ["/a//b", "/a/b"]), ("/a//%2E%2E%2Fb", ["/a//..%2Fb", "/a/..%2Fb", "/a/b", "/b"]),
      ("//host/b", ["//host/b", "/host/b", "/b"]), ("//host", ["//host", "/host", "/"]),
      ("/a\\..\\b", ["/a%5C..%5Cb", "/b"]), ("/a%5Cb", ["/a%5Cb", "/a/b"]),
      ("/a%5c%2f/b", ["/a%5C%2F/b", "/a%5C//b", "/a%5C/b", "/a/%2F/b", "/a///b", "/a/b"]),
      ("/a;v=1/b", ["/a;v=1/b", "/a/b"]), ("/a/..;x/b", ["/a/..;x/b", "/b"]), ("/a/.;/b", ["/a/.;/b", "/a/b"]),
      ("/a/..%3b/b", ["/a/..%3B/b", "/b"]), ("/a;x%2Fy/b", ["/a;x%2Fy/b", "/a/b", "/a;x/y/b", "/a/y/b"]),
      ("/a%3Fb", ["/a%3Fb", "/a"]), ("/a%23", ["/a%23", "/a"]),
      ("/a%2520b", ["/a%2520b", "/a%20b"]), ("/a/%252e%252e/b", ["/a/%252e%252e/b", "/b"]),
      ("/a%252Fb", ["/a%252Fb", "/a%2Fb", "/a/b"]), ("/a/%25%32%65%2e/b", ["/a/%252e./b", "/b"]),
      ("/a%25252541", ["/a%25252541", "/a%252541", "/a%2541", "/aA"]),
    ] as [(String, [String])])
  func aPathIsReadAsServersReadIt(text: String, expected: [String]) {
    #expect(readings(text) == Set(expected))
  }

  @Test(
    arguments: [
      ("", .notAbsolute), ("*", .notAbsolute), ("a/b", .notAbsolute), ("/..", .aboveRoot), ("/a/../..", .aboveRoot),
      ("/%2e%2e/etc", .aboveRoot), ("/a/..%2f..%2fb", .aboveRoot), ("/..;/a", .aboveRoot),
      ("/%252e%252e/a", .aboveRoot),
      ("/\\..\\a", .aboveRoot), ("/a%00.png", .encodedControl), ("/a%2500", .encodedControl),
      ("/a%0d%0aX", .encodedControl), ("/a%7f", .encodedControl), ("/a%c2%85", .encodedControl),
      ("/%c0%ae%c0%ae/b", .notUTF8), ("/%e0%80%ae/b", .notUTF8), ("/%ff", .notUTF8), ("/%ed%a0%80", .notUTF8),
      ("/%25c0%25ae", .notUTF8), ("/a/%u002e%u002e/b", .badPercent), ("/a/%25u002e", .encodedTwice),
      ("/a%", .badPercent), ("/a%2", .badPercent), ("/a%zz", .badPercent), ("/a%2525252541", .encodedTwice),
      ("/a/.../b", .dotsWithMore), ("/a/..%20/b", .dotsWithMore), ("/a/%20../b", .dotsWithMore),
      ("/a/x%2F...%2F/b", .dotsWithMore), ("/a\\.. \\b", .badByte), ("/a\\..%20\\b", .dotsWithMore),
      ("/a/..%20;x/b", .dotsWithMore), ("/a#b", .fragment), ("/a?b#c", .fragment),
      ("/a b", .badByte), ("/a\tb", .badByte), ("/%ef%bc%8e%ef%bc%8e/b", .lookalike),
      ("/\u{ff0e}\u{ff0e}/b", .lookalike),
      ("/a%ef%bc%8fb", .lookalike), ("/%e2%80%a5/b", .lookalike), ("/a%ef%bc%bcb", .lookalike),
      ("/a%25ef%25bc%258fb", .lookalike),
    ] as [(String, PathProblem)])
  func aTrickHasNone(text: String, expected: PathProblem) {
    #expect(problem(text) == expected)
  }

  /// Every character whose compatibility form holds a dot or a slash, escaped and raw; and its neighbours pass.
  @Test func lettersThatBecomeSeparatorsAreRefused() throws {
    let bestFit: Set<UInt32> = [0xa5, 0xb4, 0x2044, 0x20a9, 0x2215, 0x2216]
    var refused = 0
    for value: UInt32 in 0xa0..<0x20000 {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let folded = String(scalar).precomposedStringWithCompatibilityMapping
      let isLookalike = bestFit.contains(value) || folded.contains { "./\\".contains($0) }
      if isLookalike { refused += 1 }
      let escaped = String(scalar).utf8.map { "%" + String($0, radix: 16) }.joined()
      #expect((problem("/a/\(escaped)") == .lookalike) == isLookalike, "U+\(String(value, radix: 16))")
      if isLookalike { #expect(problem("/a/\(scalar)") == .lookalike, "U+\(String(value, radix: 16))") }
    }
    #expect(refused >= 44)
  }

  /// The choices of a server bound the readings, and their bytes are bounded too.
  @Test func noPathHasManyReadings() throws {
    for part in ["%2F", "%5C", "//", ";x", "%3B", "%2F%2F..;a", "\\;%2F//x", "%3F", "%25252F", "%252F;%5C//a%3F"] {
      for count in [1, 2, 40, 4000] {
        let path = try? parse("/aa/bb/cc/dd" + String(repeating: "/x" + part, count: count))
        guard let path else { continue }
        #expect(path.readings.count <= 500, "\(part)")
        #expect(path.readings.reduce(0) { $0 + $1.count } <= 1 << 19, "\(part)")
      }
    }
    #expect(problem("/" + String(repeating: "a%252F;%5C//b%3F", count: 4000)) == .tooManyReadings)
    #expect(readings("/" + String(repeating: "@scope%2F", count: 800)).count == 2, "a long path with one doubt is read")
  }

  @Test func theQueryIsFound() throws {
    let path = try parse("/a/../b?c=d?e")
    #expect(path.queryStart == 7)
    #expect(try parse("/a").queryStart == 2)
  }

  @Test(arguments: [
    ("/search?q=caf\u{e9}", "/search?q=caf%C3%A9"),
    ("/\u{65e5}\u{672c}?\u{1f600}=1", "/%E6%97%A5%E6%9C%AC?%F0%9F%98%80=1"),
    ("http://a.example/\u{e9}?%e9", "http://a.example/%C3%A9?%e9"),
  ])
  func rawUTF8IsEscaped(text: String, expected: String) throws {
    let escaped = try RequestPath.escapingRawUTF8(Array(text.utf8).span)
    #expect(escaped.map { String(decoding: $0, as: UTF8.self) } == expected)
    #expect(try RequestPath.escapingRawUTF8(Array(expected.utf8).span) == nil, "plain ASCII stays as it is")
  }

  @Test func rawBytesThatAreNoUTF8AreNot() {
    for bytes: [UInt8] in [[0x2f, 0xe9], [0x2f, 0xc3, 0x2f, 0xa9], [0x2f, 0xc0, 0xae]] {
      #expect(throws: PathProblem.notUTF8) { try RequestPath.escapingRawUTF8(bytes.span) }
    }
  }
}
