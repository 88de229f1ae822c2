import Policy
import Testing

@testable import Gate

@Suite struct LoggedPathTests {
  private func text(_ path: String, _ paths: Settings.LoggedPaths) -> String? {
    LoggedPath.text(Array(path.utf8), paths).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test(
    "A shape keeps words of an API and no value",
    arguments: [
      ("/", "/"), ("/repos/acme/issues", "/repos/acme/issues"), ("/v1/chat/completions", "/v1/chat/completions"),
      ("/v1beta2/models", "/v1beta2/models"), ("/oauth2/token", "/oauth2/token"), ("/a//b/", "/a//b/"),
      ("/items/42/comments", "/items/*/comments"), ("/users/me@example.com", "/users/*"),
      ("/bot123456:AAG-abc_DEF/sendMessage", "/*/sendMessage"), ("/services/T024BE91L/B02X/xyz", "/services/*/*/xyz"),
      ("/o/6f1e2d3c-0000-4000-8000-000000000000", "/o/*"), ("/q/abcdefghijklmnopqrstuvwxyz", "/q/*"),
      ("/a%2Fb/c", "/*/c"), ("/..;/x", "/*/x"), ("/sk-a1b2c3", "/*"), ("/caf\u{e9}/menu", "/*/menu"),
      ("/search?key=secret", "/search"), ("/x#frag", "/x"), ("/*", "/*"), ("*", "*"),
    ])
  func theShapeIs(path: String, shape: String) {
    #expect(text(path, .shape) == shape)
  }

  @Test func fullKeepsSegmentsAndNeverTheQuery() {
    #expect(text("/items/42?token=secret", .full) == "/items/42")
    #expect(text("/items/42", .none) == nil)
  }

  @Test func aLongPathIsCut() {
    let long = String(repeating: "/segment", count: 1000)
    for paths in [Settings.LoggedPaths.shape, .full] { #expect((text(long, paths) ?? "").utf8.count <= 512) }
  }
}
