// The one spelling of a path: what it becomes, and which known tricks have none.

import Testing
import Wire

private func path(_ text: String) -> String {
  do throws(PathProblem) {
    return String(decoding: try RequestPath(target: Array(text.utf8).span).bytes, as: UTF8.self)
  } catch {
    return "\(error as PathProblem)"
  }
}

private func problem(_ text: String) -> PathProblem? {
  do throws(PathProblem) {
    _ = try RequestPath(target: Array(text.utf8).span)
    return nil
  } catch {
    return error
  }
}

@Suite struct RequestPathTests {
  @Test(arguments: [
    ("/", "/"), ("/a/b", "/a/b"), ("/a/b/", "/a/b/"), ("/a//b", "/a/b"), ("//a", "/a"), ("/a///", "/a/"),
    ("/./a", "/a"), ("/a/.", "/a/"), ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a/b/..", "/a/"), ("/a/b/../", "/a/"),
    ("/a/..", "/"), ("/a/%2e%2E/b", "/b"), ("/a/.%2e/b", "/b"), ("/a/%2e/b", "/a/b"), ("/%7euser", "/~user"),
    ("/%41%62", "/Ab"), ("/a%20b", "/a%20b"), ("/a%c3%a4", "/a%C3%A4"), ("/a%3f%23", "/a%3F%23"),
    ("/a!b", "/a!b"), ("/a%21b", "/a%21b"), ("/a[1]|{x}", "/a%5B1%5D%7C%7Bx%7D"), ("/100%25", "/100%25"),
    ("/a;v=1/b", "/a;v=1/b"), ("/a?b=/../c", "/a"), ("/..a/b..", "/..a/b.."), ("/a.b", "/a.b"), ("/a%25zz", "/a%25zz"),
  ])
  func onePathHasOneSpelling(text: String, expected: String) {
    #expect(path(text) == expected)
    #expect(path(expected) == expected, "and that is its own")
  }

  @Test(
    arguments: [
      ("", .notAbsolute), ("*", .notAbsolute), ("a/b", .notAbsolute), ("/..", .aboveRoot), ("/a/../..", .aboveRoot),
      ("/%2e%2e/etc", .aboveRoot), ("/a/%252e%252e/b", .encodedTwice), ("/a/%25%32%65/b", .encodedTwice),
      ("/a/%2525", .encodedTwice), ("/a/%25u002e", .encodedTwice), ("/a%2fb", .encodedSlash), ("/a%2Fb", .encodedSlash),
      ("/a/..%2f..%2fb", .encodedSlash), ("/a%5cb", .encodedSlash), ("/a\\..\\b", .badByte),
      ("/a%00.png", .encodedControl),
      ("/a%0d%0aX", .encodedControl), ("/a%7f", .encodedControl), ("/a%c2%85", .encodedControl),
      ("/%c0%ae%c0%ae/b", .notUTF8),
      ("/%e0%80%ae/b", .notUTF8), ("/%ff", .notUTF8), ("/%ed%a0%80", .notUTF8), ("/a/%u002e%u002e/b", .badPercent),
      ("/a%", .badPercent), ("/a%2", .badPercent), ("/a%zz", .badPercent), ("/a/..;/b", .dotsWithMore),
      ("/a/..;x=1/b", .dotsWithMore), ("/a/.;/b", .dotsWithMore), ("/a/..%3b/b", .dotsWithMore),
      ("/a/.../b", .dotsWithMore),
      ("/a/..%20/b", .dotsWithMore), ("/a/%20../b", .dotsWithMore), ("/a#b", .fragment), ("/a?b#c", .fragment),
      ("/ä", .badByte), ("/a b", .badByte), ("/a\tb", .badByte), ("/%ef%bc%8e%ef%bc%8e/b", .lookalike),
      ("/a%ef%bc%8fb", .lookalike), ("/%e2%80%a5/b", .lookalike), ("/a%ef%bc%bcb", .lookalike),
    ] as [(String, PathProblem)])
  func aTrickHasNone(text: String, expected: PathProblem) {
    #expect(problem(text) == expected)
  }

  @Test func theQueryIsFound() throws {
    let target = Array("/a/../b?c=d?e".utf8)
    let path = try RequestPath(target: target.span)
    #expect(path.queryStart == 7)
    #expect(try RequestPath(target: Array("/a".utf8).span).queryStart == 2)
  }
}
