// What a session reads of a request of HTTP/2, and what becomes of its answer.

import Flow
import Kernel
import Policy
import PolicyFile
import Testing
import Wire

@testable import Intercept

@Suite struct FrontTests {
  private static func fields(_ list: [(String, String)]) -> [(name: [UInt8], value: [UInt8])] {
    list.map { (Array($0.0.utf8), Array($0.1.utf8)) }
  }

  private static func text(_ list: [(String, String)], endsStream: Bool = true) -> String? {
    InnerRequest.bytes(of: fields(list), endsStream: endsStream).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test func aConnectIsOne() {
    let text = Self.text([
      (":method", "CONNECT"), (":authority", "a.example:443"), ("proxy-authorization", "Basic eA=="),
      ("te", "trailers"),
    ])
    #expect(
      text == "CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\nproxy-authorization: Basic eA==\r\n\r\n")
  }

  @Test func aMessageIsInAbsoluteForm() {
    let head = [(":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", "/b?c")]
    #expect(
      Self.text(head + [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")], endsStream: false)
        == "POST http://a.example/b?c HTTP/1.1\r\nhost: a.example\r\nx: y\r\ncookie: a=1; b=2\r\n"
        + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    #expect(
      Self.text(head + [("content-length", "3"), ("host", "A.example")], endsStream: false)
        == "POST http://a.example/b?c HTTP/1.1\r\ncontent-length: 3\r\nhost: A.example\r\nConnection: close\r\n\r\n")
    #expect(
      Self.text([(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a.example"), (":path", "*")])?
        .hasPrefix("OPTIONS http://a.example HTTP/1.1\r\n") == true)
  }

  @Test(arguments: [
    ("CONNECT", "a.example:443 HTTP/1.1"), ("CONNECT", "a.example:443\r\nX: y"), ("CONNECT", ""),
    ("GET /", "a.example"),
    ("", "a.example"), ("CONNECT", "a\u{0}"), ("CONNECT", "a\u{7f}"), ("GET", "ä.example"),
    ("GET", "a/b"), ("CONNECT", "a?b"),
  ])
  func whatCannotStandInAHeadIsTurnedAway(_ method: String, _ authority: String) {
    #expect(Self.text([(":method", method), (":scheme", "http"), (":authority", authority), (":path", "/")]) == nil)
    for (scheme, path) in [
      ("http", "/ x"), ("/http", "/"), ("http://b/?", "/"), ("", "/"), ("http", "b/"), ("http", ""),
    ] {
      #expect(Self.text([(":method", "GET"), (":scheme", scheme), (":authority", "a"), (":path", path)]) == nil)
    }
  }

  /// Whatever the fields are: a session reads one head, for the method and the authority that were named, or refuses it.
  @Test func noFieldMakesASecondRequest() throws {
    let names = [
      "host", "x", "cookie", "content-length", "transfer-encoding", "connection", "upgrade", "te", "expect",
      "proxy-authorization", "proxy-connection", "keep-alive",
    ]
    let values = ["", "a", "a.example", "b.example:80", "5", "0", "chunked", "close", "keep-alive, x", "100-continue"]
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<2_000 {
      let method = ["GET", "POST", "CONNECT", "OPTIONS", "x"].randomElement(using: &generator) ?? ""
      let authority = ["a.example", "a.example:80", "[::1]:1", "a@b", "a/b"].randomElement(using: &generator) ?? ""
      var list = [(":method", method), (":authority", authority)]
      if method != "CONNECT" { list += [(":scheme", "http"), (":path", ["/", "*", "/a?b#c"].randomElement() ?? "")] }
      for _ in 0..<Int.random(in: 0..<5) { list.append((names.randomElement() ?? "", values.randomElement() ?? "")) }
      let endsStream = Bool.random()
      guard let bytes = InnerRequest.bytes(of: Self.fields(list), endsStream: endsStream) else { continue }
      var head = RequestHead()
      guard case .complete(let length) = head.parse(bytes.span, bytesMax: 1 << 16) else { continue }
      #expect(length == bytes.count, "\(list)")
      #expect(bytes[head.method].elementsEqual(method.utf8), "\(list)")
      switch head.form {
      case .connect(let target), .absolute(let target):
        let named = Array(authority.utf8)
        #expect(try Authority.parse(named.span, defaultPort: 80) == target)
      case .origin, .asterisk: Issue.record("\(list)")
      }
      if method != "CONNECT" { #expect(!head.keepAlive) }
    }
  }

  // MARK: - Answers

  /// The session's end of a leg, and what the front makes of what is said there.
  private static func hear(
    _ text: [UInt8], cut: Int, as kind: InnerRequest.Kind, room: Int
  ) throws -> (heads: [Int], body: [UInt8], isWhole: Bool) {
    let ends = try Socket.pair()
    let leg = StreamSocket(Descriptor(owning: ends.near), stream: 1)
    var far: Descriptor? = Descriptor(owning: ends.far)
    var answer = InnerAnswer()
    var heads: [Int] = []
    answer.hear(text.span.extracting(0..<cut))
    func readHeads() -> Bool {
      while true {
        switch answer.readHead(of: kind, bytesMax: 4096) {
        case .incomplete: return false
        case .interim(let block): heads.append(block.status)
        case .final(let block, let hasBody):
          heads.append(block.status)
          return hasBody
        case .broken:
          heads.append(0)
          return false
        }
      }
    }
    var hasBody = readHeads()
    let rest = text.span.extracting(cut..<text.count)
    if heads.last ?? 100 < 200 && heads.last != 0 {
      answer.hear(rest)
      hasBody = readHeads()
    } else {
      _ = Socket.send(ends.far, rest)
    }
    far = nil
    _ = consume far
    var body: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: room)
    while hasBody {
      switch buffer.withUnsafeMutableBytes({ answer.fill($0, from: leg) }) {
      case .bytes(let count, let isLast):
        body += buffer[..<count]
        if isLast { return (heads, body, true) }
      case .later, .broken: return (heads, body, false)
      }
    }
    return (heads, body, !heads.contains(0))
  }

  @Test(arguments: [
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", [200], "hello", true),
    (
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n4;x\r\nello\r\n0\r\nT: 1\r\n\r\n", [200], "hello",
      true
    ),
    ("HTTP/1.1 200 OK\r\n\r\nhello", [200], "hello", true),
    ("HTTP/1.1 100 \r\n\r\nHTTP/1.1 103 \r\nX: y\r\n\r\nHTTP/1.1 204 \r\n\r\n", [100, 103, 204], "", true),
    ("HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", [403], "", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", [200], "hello", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", [200], "hello", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno", [200], "", false),
    ("HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", [0], "", false),
  ])
  func everySplitOfAnAnswerIsTheSame(_ text: String, _ heads: [Int], _ body: String, _ isWhole: Bool) throws {
    let bytes = Array(text.utf8)
    for cut in 0...bytes.count {
      for room in [1, 3, 4096] {
        let heard = try Self.hear(bytes, cut: cut, as: .message(isChunked: false, isHEAD: false), room: room)
        #expect(heard.heads == heads && heard.body == Array(body.utf8), "cut at \(cut), room for \(room)")
        #expect(heard.isWhole == isWhole, "cut at \(cut), room for \(room)")
      }
    }
  }

  @Test func aTunnelIsBytes() throws {
    let bytes = Array("HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 5\r\n".utf8)
    let heard = try Self.hear(bytes, cut: 20, as: .tunnel, room: 4)
    #expect(heard.heads == [200] && heard.body == Array("HTTP/1.1 5\r\n".utf8) && heard.isWhole)
    let head = Array("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n".utf8)
    let toHEAD = try Self.hear(head, cut: 0, as: .message(isChunked: false, isHEAD: true), room: 4)
    #expect(toHEAD.isWhole && toHEAD.body.isEmpty)
  }
}
