// What is tolerated in a message head, and the one form in which it goes on.

import Testing
import Wire

private func upstream(_ text: String, _ defaultPort: UInt16 = 80) -> String? {
  let bytes = Array(text.utf8)
  var head = RequestHead(defaultPort: defaultPort)
  guard case .complete = head.parse(bytes.span, bytesMax: 65_536) else { return nil }
  let target: Target
  switch head.form {
  case .absolute(let named): target = named
  case .origin, .asterisk:
    guard let named = head.originHost else { return nil }
    target = named
  case .connect: return nil
  }
  var out: [UInt8] = []
  head.writeUpstream(from: bytes.span, to: target, into: &out)
  return String(decoding: out, as: UTF8.self)
}

@Suite struct TolerantRequestTests {
  /// RFC 9112 section 3.2.2.
  @Test(arguments: ["proxy.example:3128", "b.example", "a.example:81", "", "user@nowhere", "127.1"])
  func aProxyIgnoresHostAndSendsTheJudgedOne(host: String) throws {
    let text = try #require(upstream("GET http://a.example/x HTTP/1.1\r\nHost: \(host)\r\n\r\n"))
    #expect(text.hasPrefix("GET /x HTTP/1.1\r\nHost: a.example\r\n") && !text.dropFirst(40).contains("Host"))
    var head = RequestHead()
    let connect = Array("CONNECT a.example:443 HTTP/1.1\r\nHost: \(host)\r\n\r\n".utf8)
    #expect(head.parse(connect.span, bytesMax: 4096) == .complete(length: connect.count))
    #expect(head.form == .connect(Target(host: .name(try HostName("a.example")), port: 443)))
  }

  @Test func aWebSocketSchemeIsHTTP() throws {
    let more = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    for (url, host, path) in [
      ("ws://a.example", "a.example", "/"), ("WS://a.example:81/chat?x", "a.example:81", "/chat?x"),
    ] {
      let text = try #require(upstream("GET \(url) HTTP/1.1\r\n\(more)"))
      #expect(text.hasPrefix("GET \(path) HTTP/1.1\r\nHost: \(host)\r\n") && text.contains("Upgrade: websocket\r\n"))
    }
    for scheme in ["wss", "https", "ftp"] { #expect(upstream("GET \(scheme)://a.example/ HTTP/1.1\r\n\(more)") == nil) }
  }

  @Test func bytesBeyondASCIIGoPercentEncoded() throws {
    let head = "Host: a.example\r\n\r\n"
    for (target, sent) in [
      ("http://a.example/search?q=café", "/search?q=caf%C3%A9"), ("http://a.example/日?%e6=é", "/%E6%97%A5?%e6=%C3%A9"),
      ("/é/../x", "/%C3%A9/../x"), ("http://a.example?ü", "/?%C3%BC"),
    ] {
      let text = try #require(upstream("GET \(target) HTTP/1.1\r\n\(head)"))
      #expect(text.hasPrefix("GET \(sent) HTTP/1.1\r\n"), "\(text)")
    }
    for target in ["http://bücher.example/", "/a b", "/\u{7f}", "/a\tb"] {
      #expect(upstream("GET \(target) HTTP/1.1\r\n\(head)") == nil)
    }
    var parsed = RequestHead()
    let bytes = Array("GET /é?ü HTTP/1.1\r\n\(head)".utf8)
    _ = parsed.parse(bytes.span, bytesMax: 4096)
    #expect(parsed.pathAndQuery(in: bytes.span) == Array("/%C3%A9?%C3%BC".utf8), "it is judged as it is sent")
  }

  /// RFC 9112 section 2.2.
  @Test func emptyLinesBeforeARequestAreSkipped() throws {
    let request = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"
    let expected = try #require(upstream(request))
    for empty in ["\r\n", "\r\n\r\n\r\n"] {
      #expect(upstream(empty + request) == expected)
      let bytes = Array((empty + request).utf8)
      var head = RequestHead()
      for count in 0..<bytes.count {
        #expect(head.parse(bytes.span.extracting(0..<count), bytesMax: 4096) == .incomplete)
        #expect(head.hasBegun == (count > empty.utf8.count))
      }
      #expect(head.parse(bytes.span, bytesMax: 4096) == .complete(length: bytes.count))
    }
    for empty in ["\n", " \r\n", "\r\r\n"] { #expect(upstream(empty + request) == nil) }
    var head = RequestHead()
    let many = Array(String(repeating: "\r\n", count: 600).utf8)
    guard case .malformed(.tooLarge) = head.parse(many.span, bytesMax: 1024) else {
      Issue.record("empty lines count as the head does")
      return
    }
  }

  @Test func aHeadThatIsTooLargeNamesTheLimit() {
    var head = RequestHead()
    let long = Array(("GET /" + String(repeating: "a", count: 4096)).utf8)
    guard case .malformed(let problem) = head.parse(long.span, bytesMax: 4096) else {
      Issue.record("it is too large")
      return
    }
    #expect(problem.isTooLarge && "\(problem)".contains("limits.head_bytes (4096 bytes)"))
    let many = Array(("GET / HTTP/1.1\r\n" + String(repeating: "a: b\r\n", count: 129)).utf8)
    guard case .malformed(let other) = head.parse(many.span, bytesMax: 65_536) else {
      Issue.record("128 fields are the most")
      return
    }
    #expect(other.isTooLarge && "\(other)".contains("128 fields"))
  }
}

private struct Written: Equatable {
  var text: String
  var body: BodyLength
  var keepAlive: Bool
}

private func downstream(_ text: String, toHEAD: Bool = false) -> Written? {
  let bytes = Array(text.utf8)
  var head = ResponseHead()
  var cut: Written?
  for step in [bytes.count, 1] {
    head.reset()
    for count in stride(from: step, through: bytes.count, by: step) {
      switch head.parse(bytes.span.extracting(0..<count), bytesMax: 65_536) {
      case .incomplete where count < bytes.count: continue
      case .complete(bytes.count): break
      default: return nil
      }
    }
    var out: [UInt8] = []
    head.writeDownstream(from: bytes.span, keepAlive: true, toMinorVersion: 1, toHEAD: toHEAD, into: &out)
    let written = Written(
      text: String(decoding: out, as: UTF8.self), body: head.body(toHEAD: toHEAD), keepAlive: head.keepAlive)
    guard cut == nil || cut == written else {
      Issue.record("cut in bytes it says something else: \(written) and \(String(describing: cut))")
      return nil
    }
    cut = written
  }
  return cut
}

@Suite struct TolerantResponseTests {
  private static let ok = "HTTP/1.1 200 OK\r\n"
  private static let length = "Content-Length: 5\r\nVia: 1.1 sluice\r\n\r\n"

  @Test(arguments: [
    ("X-A : b\r\n", "X-A: b\r\n"), ("X-A \t: b \r\n", "X-A: b\r\n"), ("X-A: a\r\n b\r\n", "X-A: a b\r\n"),
    ("X-A: a \r\n\t  b\r\n c\r\n", "X-A: a b c\r\n"), ("X-A:\r\n b\r\n", "X-A: b\r\n"),
    ("X-A: a\r\n \r\n", "X-A: a\r\n"),
    ("X-A: a\r\n \r\n b\r\n", "X-A: a b\r\n"), ("X-A: b\n", "X-A: b\r\n"), ("X-A: b\n c\n", "X-A: b c\r\n"),
    ("X-A: b\r\nX-B : c\r\nX-D: e\r\n", "X-A: b\r\nX-B: c\r\nX-D: e\r\n"), ("Content-Length: 5\r\n", ""),
    ("Content-Length: 5, 5\r\n", ""), ("Content-Length\t: 5\r\n", ""), ("Content-Length:\r\n 5\r\n", ""),
    ("Connection: X-B,\r\n X-D\r\nX-B: 1\r\nX-D : 2\r\n", ""),
  ])
  func aSloppyFieldIsWrittenAnew(sent: String, written: String) throws {
    let head = try #require(downstream("\(Self.ok)\(sent)Content-Length: 5\r\n\r\n"))
    #expect(head.text == "\(Self.ok)\(written)\(Self.length)")
    #expect(head.body == .length(5))
  }

  @Test func aHeadOfBareLineFeedsIsWrittenAnew() throws {
    let head = try #require(downstream("HTTP/1.1 200 OK\nA: b\nContent-Length: 5\n\n"))
    #expect(head.text == "\(Self.ok)A: b\r\n\(Self.length)")
  }

  @Test func identityIsNoCodingAndEndsWithTheConnection() throws {
    let plain = try #require(downstream("\(Self.ok)Transfer-Encoding: identity\r\n\r\n"))
    #expect(plain.body == .untilClose && !plain.text.contains("Transfer-Encoding"))
    let framedTwice = try #require(downstream("\(Self.ok)Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n"))
    #expect(framedTwice.body == .untilClose && !framedTwice.keepAlive && !framedTwice.text.contains("Content-Length"))
  }

  /// RFC 9112 section 6.3: the chunks count, the length is removed, and the connection serves no further request.
  @Test func chunksOverrideALength() throws {
    for order in [
      "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
      let head = try #require(downstream("\(Self.ok)\(order)\r\n"))
      #expect(head.body == .chunked && !head.keepAlive && !head.text.contains("Content-Length"))
    }
  }

  @Test(arguments: [
    "Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: 5, 6\r\n", "Content-Length: 5,,5\r\n",
    "Content-Length: 1\r\n 2\r\n", "Content-Length: +5\r\n", " A: b\r\n", "A\r\n", ": a\r\n", " : a\r\n", "A b: c\r\n",
    "A: b\rc\r\n", "A: b\r\r\n", "A: b\0\r\n", "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chun\r\n ked\r\n",
    "Transfer-Encoding: \u{b}chunked\r\n",
  ])
  func whatHasNoSafeReadingIsRefused(fields: String) { #expect(downstream("\(Self.ok)\(fields)\r\n") == nil) }

  @Test(arguments: ["\r\n\(ok)\r\n", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n"])
  func aWrongFirstLineIsRefused(text: String) { #expect(downstream(text) == nil) }

  @Test func http2GetsTheSameValues() {
    let bytes = Array("HTTP/1.1 200 OK\r\nX-A : a\r\n b\r\n\r\n".utf8)
    var head = ResponseHead()
    _ = head.parse(bytes.span, bytesMax: 4096)
    var fields: [String] = []
    head.forEachField(bytes.span) { name, value in
      var text: [UInt8] = []
      text.append(name)
      text.append(UInt8(ascii: "="))
      text.append(value)
      fields.append(String(decoding: text, as: UTF8.self))
    }
    #expect(fields == ["X-A=a b"])
  }
}

/// Every request that the parser takes is written in one reading: parsed again, it is the same request.
@Suite struct OneReadingTests {
  private struct Random: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9e37_79b9_7f4a_7c15
      var value = state
      value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
      value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
      return value ^ (value >> 31)
    }
  }

  private static let methods = ["GET", "HEAD", "POST", "OPTIONS", "PATCH", "get", "X-Y", "CONNECT"]
  private static let targets = [
    "http://a.example", "http://A.example.:81/x", "ws://a.example/é?é", "http://[2001:db8::1]/", "/x?y", "*", "/é",
    "http://a.example?q", "HTTP://192.0.2.1:80/a/../b", "a.example:443", "http://a.example:080/",
  ]
  private static let fields = [
    "Host: a.example", "Host: other.example:82", "Host: a.example:81", "Content-Length: 5", "Content-Length: 0",
    "Transfer-Encoding: chunked", "Connection: close", "Connection: X-A, keep-alive", "Connection: Content-Length",
    "Connection: Host, Transfer-Encoding", "X-A: b", "x-a:\tc ", "Upgrade: websocket", "Connection: Upgrade",
    "Expect: 100-continue", "Proxy-Authorization: Basic eDp5", "Proxy-Connection: close", "TE: trailers",
    "Keep-Alive: 5",
    "HTTP2-Settings: x", "X-Sluice-Reason: x", "Content-Length : 5", "X: \u{e9}", "Via: 1.0 a",
  ]

  private static func request(_ random: inout Random) -> [UInt8] {
    func pick(_ list: [String]) -> String { list.randomElement(using: &random) ?? "" }
    var text = Int.random(in: 0..<8, using: &random) == 0 ? "\r\n" : ""
    text += "\(pick(methods)) \(pick(targets)) HTTP/1.\(Int.random(in: 0..<8, using: &random) == 0 ? 0 : 1)\r\n"
    if Bool.random(using: &random) { text += "Host: a.example\r\n" }
    for _ in 0..<Int.random(in: 0..<6, using: &random) { text += pick(fields) + "\r\n" }
    var bytes = Array((text + "\r\n").utf8)
    if Int.random(in: 0..<3, using: &random) == 0 {
      let index = Int.random(in: 0..<bytes.count, using: &random)
      bytes[index] = [0, 9, 10, 13, 32, 35, 58, 64, 0x80, 0xff].randomElement(using: &random) ?? 0
    }
    return bytes
  }

  @Test func whatIsAcceptedIsWrittenInOneReading() {
    var random = Random(state: 1)
    var accepted = 0
    for _ in 0..<30_000 {
      let bytes = Self.request(&random)
      var head = RequestHead()
      guard case .complete(bytes.count) = head.parse(bytes.span, bytesMax: 4096) else { continue }
      let target: Target
      switch head.form {
      case .absolute(let named): target = named
      case .origin, .asterisk:
        guard let named = head.originHost else { continue }
        target = named
      case .connect: continue
      }
      accepted += 1
      var out: [UInt8] = []
      head.writeUpstream(from: bytes.span, to: target, into: &out)
      let said =
        "\(String(decoding: bytes, as: UTF8.self).debugDescription) became \(String(decoding: out, as: UTF8.self).debugDescription)"
      var again = RequestHead()
      guard case .complete(out.count) = again.parse(out.span, bytesMax: 8192) else {
        Issue.record("no request is written: \(said)")
        return
      }
      let isSame =
        out[again.method].elementsEqual(bytes[head.method]) && again.originHost == target && again.body == head.body
        && again.pathAndQuery(in: out.span) == head.pathAndQuery(in: bytes.span) && again.minorVersion == 1
        && again.upgradesToWebSocket == head.upgradesToWebSocket && !again.hasProxyAuthorization
        && again.requestTarget.allSatisfy { out[$0] > 0x20 && out[$0] < 0x7f }
      #expect(isSame, "\(said)")
      if !isSame { return }
    }
    #expect(accepted > 3_000, "the generator makes requests that are taken: \(accepted)")
  }
}
