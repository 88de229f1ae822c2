// What a browser may ask of the dashboard, and what the page is made of.
import LogView
import Policy
import Testing
import Wire

@testable import Dashboard

private func ask(_ text: String, at address: String = "127.0.0.1", port: UInt16 = 9797) throws -> PageAnswer {
  let bytes = Array(text.replacing("\n", with: "\r\n").utf8)
  var head = RequestHead()
  guard case .complete = head.parse(bytes.span, bytesMax: PageRules.headBytesMax) else {
    return .problem(status: 400, "malformed")
  }
  return PageRules(address: try #require(IPAddress(address)), port: port).answer(head, bytes.span)
}

private func get(_ path: String, host: String = "127.0.0.1:9797", more: String = "") -> String {
  "GET \(path) HTTP/1.1\nHost: \(host)\n\(more)\n"
}

extension PageAnswer {
  fileprivate var status: Int { if case .problem(let status, _) = self { status } else { 200 } }
}

@Suite struct PageRulesTests {
  @Test(arguments: [("/", PageFile.html), ("/page.css", .css), ("/page.js", .js), ("/icon.svg", .icon)])
  func files(_ path: String, _ file: PageFile) throws {
    #expect(try ask(get(path)) == .file(file))
    #expect(try ask(get(path).replacing("GET", with: "HEAD")) == .file(file))
    #expect(!file.bytes.isEmpty)
  }

  @Test func figures() throws {
    #expect(try ask(get("/figures")) == .figures(FiguresChoice()))
    #expect(try ask(get("/events?span=all")) == .events(FiguresChoice(client: nil, span: .whole)))
    #expect(
      try ask(get("/events?client=a%20b%26c&span=2h")) == .events(FiguresChoice(client: "a b&c", span: .twoHours)))
  }

  private static let hosts: [(String, String, Int)] = [
    ("127.0.0.1", "127.0.0.1:9797", 200), ("127.0.0.1", "localhost:9797", 200), ("127.0.0.1", "localhost:1234", 200),
    ("127.0.0.1", "LOCALHOST", 200), ("127.0.0.1", "127.0.0.1", 200), ("127.0.0.1", "[::1]:9797", 200),
    ("::1", "[::1]:9797", 200),
    // A name is whatever its owner's DNS says.
    ("127.0.0.1", "evil.example:9797", 421), ("127.0.0.1", "localhost.evil.example", 421),
    ("127.0.0.1", "127.0.0.1.evil.example", 421), ("127.0.0.1", "10.0.0.1:9797", 421),
    ("10.0.0.1", "10.0.0.1:9797", 200), ("10.0.0.1", "localhost:9797", 421), ("10.0.0.1", "10.0.0.2:9797", 421),
    ("0.0.0.0", "10.0.0.2:9797", 200), ("0.0.0.0", "evil.example:9797", 421),
    // Another spelling of loopback is no host at all.
    ("127.0.0.1", "0x7f.1:9797", 400), ("127.0.0.1", "2130706433", 400), ("127.0.0.1", "", 400),
  ]

  @Test(arguments: hosts)
  func onlyItsOwnAddress(_ address: String, _ host: String, _ status: Int) throws {
    #expect(try ask(get("/figures", host: host), at: address).status == status)
  }

  private static let requests: [(String, Int)] = [
    (get("/nothing"), 404), (get("/page.css/.."), 404), (get("//"), 404), (get("/figures?span=1h"), 400),
    (get("/figures?client=%zz"), 400), (get("/figures?client=%0a"), 400), (get("/figures?client=%ff"), 400),
    (get("/figures?other=1"), 400), (get("/figures?"), 200), (get("/figures?client="), 200),
    (get("/").replacing("GET", with: "POST"), 405), (get("/").replacing("GET", with: "get"), 405),
    (get("/", more: "Content-Length: 3\n"), 400), (get("/", more: "Transfer-Encoding: chunked\n"), 400),
    (get("http://127.0.0.1:9797/"), 400), ("CONNECT 127.0.0.1:9797 HTTP/1.1\nHost: 127.0.0.1:9797\n\n", 400),
    ("OPTIONS * HTTP/1.1\nHost: 127.0.0.1:9797\n\n", 400), ("GET / HTTP/1.1\n\n", 400),
    // From the page itself, or typed; a link on another site may lead to the page, and to nothing else.
    (get("/figures", more: "Sec-Fetch-Site: same-origin\n"), 200),
    (get("/figures", more: "Sec-Fetch-Site: none\n"), 200),
    (get("/figures", more: "Sec-Fetch-Site: cross-site\n"), 403),
    (get("/events", more: "sec-fetch-site: same-site\n"), 403),
    (get("/page.js", more: "Sec-Fetch-Site: cross-site\n"), 403), (get("/", more: "Sec-Fetch-Site: cross-site\n"), 200),
  ]

  @Test(arguments: requests)
  func refuses(_ request: String, _ status: Int) throws {
    #expect(try ask(request).status == status)
  }

  @Test func everyReplyHoldsTheBrowser() {
    for reply in [
      PageReply.whole(200, type: "text/html", [], isHEAD: false), PageReply.problem(421, "no", isHEAD: true),
      PageReply.stream(),
    ] {
      let text = String(decoding: reply, as: UTF8.self)
      for wanted in [
        "default-src 'none'; script-src 'self'; style-src 'self';", "frame-ancestors 'none'", "X-Frame-Options: DENY",
        "X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer", "Cache-Control: no-store",
      ] { #expect(text.contains(wanted)) }
      #expect(!text.contains("unsafe-"))
    }
  }

  @Test func thePageHasNothingInline() {
    let html = String(decoding: PageFile.html.bytes, as: UTF8.self)
    #expect(!html.contains("<style") && !html.contains(" style=") && !html.contains("javascript:"))
    #expect(html.firstMatch(of: /\son\w+=/) == nil && html.firstMatch(of: /https?:/) == nil)
    let script = String(decoding: PageFile.js.bytes, as: UTF8.self)
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "DOMParser"] {
      #expect(!script.contains(sink), "\(sink) makes markup out of text")
    }
  }

  @Test func aReportEndsNoElementEarly() {
    let hostile = "</script><script>alert(1)</script><!--"
    let bytes = Report.html([JSONMember("x", .text(hostile))], madeMs: 5) { _ in [1, 2, 3] }
    let html = String(decoding: bytes, as: UTF8.self)
    #expect(!html.contains("alert(1)</script>") && html.contains(#"\u003c/script>\u003cscript>alert(1)"#))
    #expect(html.contains("script-src 'sha256-AQID'") && html.contains(#""now_ms":5,"x":"#))
    #expect(html.matches(of: /<script/).count == 2 && html.matches(of: /<\/script>/).count == 2)
    // Asked for by nobody: no other file, no address.
    #expect(!html.contains("page.js\"") && !html.contains("page.css\"") && !html.contains("icon.svg"))
  }
}
