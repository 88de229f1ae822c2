// Globs over paths: what they match, what they do not, and that no pattern costs more than its length.

import Policy
import Testing
import Wire

private func matches(_ pattern: String, _ path: String) throws -> Bool {
  try PathPattern(pattern).matches(try RequestPath(target: Array(path.utf8).span))
}

@Suite struct PathPatternTests {
  @Test(arguments: [
    ("/", "/"), ("/a", "/a"), ("/a/", "/a/"), ("/*", "/a"), ("/a*", "/a"), ("/a*", "/abc"), ("/*.json", "/x.json"),
    ("/a/*/c", "/a/b/c"), ("/a*c*e", "/abcde"), ("/**", "/"), ("/**", "/a/b/c"), ("/a/**", "/a"), ("/a/**", "/a/"),
    ("/a/**", "/a/b/c"), ("/a/**/z", "/a/z"), ("/a/**/z", "/a/b/c/z"), ("/**/z", "/a/z/z"),
    ("/a/**/m/*/z", "/a/m/x/m/q/z"),
    ("/%7eme", "/~me"), ("/~me", "/%7Eme"), ("/a%20b", "/a%20b"), ("/a/../b", "/b"),
    ("/v1/models/*:generate", "/v1/models/x:generate"), ("/**", "/@scope%2Fx"), ("/**", "/a//b"), ("/**", "//host/a"),
    ("/**", "/a\\..\\b"), ("/**", "/a/..;x/b"), ("/**", "/a%252Fb"), ("/bucket/**", "/bucket//key"),
    ("/a/**", "/a/b%2F..%2Fc"), ("/@scope%2Fx", "/@scope%2fx"), ("/a//b", "/a//b"), ("/a/b;v=1", "/a/b;v=1"),
    ("/r/*%2F*", "/r/g%2Fp"), ("/caf\u{e9}", "/caf%C3%A9"), ("/caf%c3%a9", "/caf\u{e9}"), ("/a[1]", "/a%5B1%5D"),
  ])
  func aPatternMatches(pattern: String, path: String) throws {
    #expect(try matches(pattern, path))
  }

  @Test(arguments: [
    ("/a", "/a/"), ("/a/", "/a"), ("/a", "/A"), ("/a", "/ab"), ("/*", "/"), ("/*", "/a/b"), ("/a/*", "/a/"),
    ("/a/*", "/a"),
    ("/a*", "/a/b"), ("/a/**", "/ab"), ("/a/**", "/b/a"), ("/a/**/z", "/a/b"), ("/*/c", "/a/b/c"),
    ("/*.json", "/x.jsonx"),
    ("/repos/acme/**", "/repos/acme/../other"), ("/a!b", "/a%21b"), ("/repos/*", "/repos/x%2F..%2F..%2Fadmin"),
    ("/repos/*", "/repos/x%2Fy"), ("/repos/**", "/repos/x%2F..%2F..%2Fadmin"), ("/repos/**", "/repos/..;x/admin"),
    ("/repos/**", "/repos/x\\..\\..\\admin"), ("/repos/**", "/repos/%252e%252e/admin"), ("/a/b", "/a//b"),
    ("/a/**", "//a/b"), ("/@scope%2Fx", "/@scope/x"), ("/@scope/x", "/@scope%2Fx"), ("/a/b;v=1", "/a/b"),
    ("/a//b", "/a/b"),
    ("/*/c", "/a%3F/c"), ("/x/a/**", "/x/a//..%2F..%2Fb"),
  ])
  func andNothingElse(pattern: String, path: String) throws {
    #expect(try !matches(pattern, path))
  }

  @Test func noPatternCostsMoreThanItsLength() throws {
    // Exponential backtracking would not end.
    let deep = "/" + String(repeating: "**/", count: 40) + "x"
    #expect(try !matches(deep, String(repeating: "/a", count: 2000)))
    let stars = "/" + String(repeating: "*a", count: 40) + "b"
    #expect(try !matches(stars, "/" + String(repeating: "a", count: 4000)))
  }
}
