// Bytes to values: tables of good and bad input, and every split of what arrives in pieces.

import Testing
import Wire

@Suite struct AuthorityTests {
  @Test(arguments: [
    ("a.example:443", "a.example:443"), ("A.Example.:443", "a.example:443"), ("a_b.example:1", "a_b.example:1"),
    ("192.0.2.1:80", "192.0.2.1:80"), ("[2001:DB8:0:0::1]:65535", "[2001:db8::1]:65535"),
    ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
  ])
  func aTargetHasOneSpelling(text: String, printed: String) throws {
    #expect("\(try Authority.parse(Array(text.utf8).span, defaultPort: nil))" == printed)
  }

  @Test(arguments: [
    "", ":443", "a.example", "a.example:", "a.example:0", "a.example:65536", "a.example:+1", "a.example:0443443",
    "a b:1",
    "user@a.example:1", "a%2eexample:1", "127.1:1", "0x7f.1:1", "2130706433:1", "010.0.0.1:1", "1.2.3.4.5:1",
    "1.2.3.256:1",
    "::1:443", "[::1]", "[::1%eth0]:1", "[v1.x]:1", "-a.example:1", "a-.example:1", "a..example:1", ".a.example:1",
    "bücher.example:1", "a.example:443\0", "a.example/x:1", String(repeating: "a", count: 64) + ".example:1",
  ])
  func whatCouldMeanTwoThingsIsRefused(text: String) {
    #expect(throws: AuthorityProblem.self) { try Authority.parse(Array(text.utf8).span, defaultPort: nil) }
  }

  @Test(arguments: [
    ("::", "::"), ("0:0:0:0:0:0:0:1", "::1"), ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
    ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
    ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("1:0:0:2::", "1:0:0:2::"),
    ("255.255.255.255", "255.255.255.255"),
  ])
  func anAddressPrintsAsRFC5952Says(text: String, printed: String) throws {
    #expect("\(try #require(IPAddress(text)))" == printed)
  }

  @Test(arguments: [
    "1.2.3", "1.2.3.4.", "01.2.3.4", ":::", "1::2::3", "12345::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1%lo",
    "1.2.3.4::",
  ])
  func halfAnAddressIsNone(text: String) { #expect(IPAddress(text) == nil) }

  @Test(arguments: [
    ("2027-01-01T00:00:00Z", 1_798_761_600), ("2024-02-29T23:59:59+01:00", 1_709_247_599),
    ("1970-01-01t00:00:00.5z", 0),
  ])
  func aTimeIsRead(text: String, seconds: Int64) { #expect(Timestamp.parse(text) == seconds) }

  @Test(arguments: [
    "2027-02-29T00:00:00Z", "2027-01-01", "2027-01-01T24:00:00Z", "2027-01-01T00:00:00", "2027-13-01T00:00:00Z",
  ])
  func aWrongTimeIsNot(text: String) { #expect(Timestamp.parse(text) == nil) }

  @Test func nothingBreaksALineOfTheLog() {
    var out: [UInt8] = []
    JSONText.appendString([0x61, 0x0a, 0x22, 0xff, 0xe2, 0x80, 0xa8, 0xe2, 0x80, 0xae, 0x1b, 0x7f], to: &out)
    let text = String(decoding: out, as: UTF8.self)
    #expect(text.hasPrefix(#""a\n\""#) && text.contains("\u{fffd}"))
    #expect(
      !text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x2028 || $0.value == 0x202e || $0.value == 0x7f })
  }
}

@Suite struct RequestHeadTests {
  private static let good = [
    "GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n",
    "CONNECT a.example:443 HTTP/1.1\r\nHost: A.example.:443\r\n\r\n",
    "CONNECT a.example:443 HTTP/1.0\r\n\r\n",
    "POST http://a.example:81/ HTTP/1.1\r\nHost: a.example:81\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\nHost:a.example\r\nContent-Length: 12\r\n\r\n",
    "GET http://a.example HTTP/1.1\r\nhOST: a.example:80 \r\n\r\n",
  ]

  @Test(arguments: good) func everySplitGivesTheSameHead(text: String) {
    let bytes = Array(text.utf8)
    for cut in 0..<bytes.count {
      var head = RequestHead()
      guard case .incomplete = head.parse(bytes.span.extracting(0..<cut), bytesMax: 4096) else {
        Issue.record("\(cut) bytes are no head")
        return
      }
      guard case .complete(bytes.count) = head.parse(bytes.span, bytesMax: 4096) else {
        Issue.record("cut at \(cut)")
        return
      }
    }
  }

  @Test(arguments: good) func everyByteAloneGivesTheSameHead(text: String) {
    let bytes = Array(text.utf8)
    var head = RequestHead()
    for count in 0..<bytes.count {
      guard case .incomplete = head.parse(bytes.span.extracting(0..<count), bytesMax: 4096) else {
        Issue.record("\(count)")
        return
      }
    }
    guard case .complete = head.parse(bytes.span, bytesMax: 4096) else {
      Issue.record("the whole")
      return
    }
  }

  private static let host = "Host: a.example\r\n"

  @Test(arguments: [
    "GET http://a.example/ HTTP/1.1\nHost: a.example\n\n",
    "GET http://a.example/ HTTP/1.1\r\n\(host)X: a\r\n b\r\n\r\n",
    "GET http://a.example/ HTTP/1.1\r\n\(host)X: a\0\r\n\r\n",
    "GET http://a.example/ HTTP/1.1\r\n\(host)X: a\rb\r\n\r\n",
    "GET http://a.example/ HTTP/1.1\r\n\(host)X : a\r\n\r\n",
    "GET http://a.example/ HTTP/1.1\r\n\(host): a\r\n\r\n",
    "GET http://a.example/ HTTP/1.1\r\n\(host)\(host)\r\n",
    "GET http://a.example/ HTTP/1.1\r\n\r\n",
    "GET http://u:p@a.example/ HTTP/1.1\r\n\(host)\r\n",
    "GET  http://a.example/ HTTP/1.1\r\n\(host)\r\n",
    "GET http://a.example/ HTTP/1.2\r\n\(host)\r\n",
    "GET http://a.example/ HTTP/2.0\r\n\(host)\r\n",
    "GET http://a.example/ http/1.1\r\n\(host)\r\n",
    "GET ftp://a.example/ HTTP/1.1\r\n\(host)\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT a.example HTTP/1.1\r\n\(host)\r\n",
    "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nContent-Length: 3\r\n\r\n",
    "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Content-Length: 1, 2\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Content-Length: +5\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Content-Length: 0x5\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Content-Length: 99999999999999999999\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Content-Length:\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Transfer-Encoding: gzip\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Transfer-Encoding: chunked, chunked\r\n\r\n",
    "POST http://a.example/ HTTP/1.1\r\n\(host)Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "POST http://a.example/ HTTP/1.0\r\n\(host)Transfer-Encoding: chunked\r\n\r\n",
  ])
  func whatTwoParsersCouldReadInTwoWaysIsRefused(text: String) {
    var head = RequestHead()
    let result = head.parse(Array(text.utf8).span, bytesMax: 4096)
    guard case .malformed = result else {
      Issue.record("\(result)")
      return
    }
  }

  @Test func aHeadHasALimit() {
    var head = RequestHead()
    let text = "GET http://a.example/ HTTP/1.1\r\nX: " + String(repeating: "a", count: 4096)
    guard case .malformed = head.parse(Array(text.utf8).span, bytesMax: 4096) else {
      Issue.record("a long head is refused before its end is seen")
      return
    }
  }

  @Test func whatIsForThisHopStaysHere() throws {
    let bytes = Array(
      ("GET http://A.example:8080/x HTTP/1.1\r\nHost: a.example:8080\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\n"
        + "Proxy-Authorization: Basic eDp5\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Kept: 2\r\n\r\n").utf8)
    var head = RequestHead()
    guard case .complete = head.parse(bytes.span, bytesMax: 4096), case .absolute(let target) = head.form else {
      Issue.record("the head is right")
      return
    }
    var out: [UInt8] = []
    head.writeUpstream(from: bytes.span, to: target, into: &out)
    let lines = String(decoding: out, as: UTF8.self).split(separator: "\r\n").map(String.init)
    #expect(lines.prefix(2) == ["GET /x HTTP/1.1", "Host: a.example:8080"])
    #expect(lines.contains("X-Kept: 2"))
    for name in ["X-Secret", "Proxy-Authorization", "Keep-Alive", "Upgrade", "TE"] {
      #expect(!lines.contains { $0.hasPrefix(name + ":") }, "\(name) left")
    }
  }
}

@Suite struct ClientHelloTests {
  static func bytes(_ hex: String) -> [UInt8] {
    let digits = Array(hex.utf8)
    return stride(from: 0, to: digits.count - 1, by: 2).compactMap {
      UInt8(String(decoding: digits[$0...($0 + 1)], as: UTF8.self), radix: 16)
    }
  }

  /// The same handshake message in records of `size` bytes.
  static func fragmented(_ hello: [UInt8], _ size: Int) -> [UInt8] {
    let message = Array(hello.dropFirst(5))
    return stride(from: 0, to: message.count, by: size).flatMap { start -> [UInt8] in
      let part = message[start..<min(start + size, message.count)]
      return [0x16, 3, 1, UInt8(part.count >> 8), UInt8(part.count & 0xff)] + part
    }
  }

  @Test(arguments: [RecordedHellos.tls13, RecordedHellos.tls12])
  func aRecordedHelloSaysItsNameWhereverItIsCut(hex: String) throws {
    let hello = Self.bytes(hex)
    let name = try HostName("api.example.com")
    for size in [1, 2, 3, 7, 64, 16_384] {
      let records = Self.fragmented(hello, size)
      for cut in stride(from: 0, to: records.count, by: 1) {
        guard case .incomplete(let needed) = ClientHello.parse(records.span.extracting(0..<cut), bytesMax: 65_536)
        else {
          Issue.record("\(cut) of \(records.count) in records of \(size)")
          return
        }
        #expect(needed > cut && needed <= records.count)
      }
      guard case .complete(let parsed) = ClientHello.parse(records.span, bytesMax: 65_536) else {
        Issue.record("records of \(size)")
        return
      }
      #expect(parsed.serverName == .name(name) && !parsed.offersECH && parsed.length == records.count)
    }
  }

  @Test func aHelloWithoutANameSaysSo() {
    let hello = Self.bytes(RecordedHellos.nameless)
    guard case .complete(let parsed) = ClientHello.parse(hello.span, bytesMax: 65_536) else {
      Issue.record("it is a hello")
      return
    }
    #expect(parsed.serverName == .none)
  }

  @Test func everyChangedByteIsReadWithoutHarm() {
    let hello = Self.bytes(RecordedHellos.tls13)
    var isName = 0
    for index in hello.indices {
      for value: UInt8 in [0, 1, 0x7f, 0xff] {
        var changed = hello
        changed[index] = value
        if case .complete(let parsed) = ClientHello.parse(changed.span, bytesMax: 65_536),
          case .name = parsed.serverName
        {
          isName += 1
        }
      }
    }
    #expect(isName > 0 && isName < hello.count * 4)
  }

  @Test func aHelloHasALimit() {
    let records = Self.fragmented(Self.bytes(RecordedHellos.tls13), 64)
    guard case .malformed(.tooLarge) = ClientHello.parse(records.span, bytesMax: 200) else {
      Issue.record("larger than its limit")
      return
    }
  }

  @Test(arguments: [
    Array("SSH-2.0-x".utf8), [0x16, 16], [0x14, 2], [0x19, 3], [0x80, 0x2e, 2], [0xff, 0xfd, 1], [0x80, 0x2e, 1, 4, 0],
    // Binary protocols that begin with a small number: the length and the first byte of a record are none.
    [0x16, 1, 0, 0, 1, 0], [0x15, 0, 0, 0, 3, 1], Array("GET / HTTP/1.1".utf8),
  ])
  func whatIsNotTLSIsToldAtOnce(bytes: [UInt8]) { #expect(ClientHello.parse(bytes.span, bytesMax: 65_536) == .notTLS) }

  /// Some server goes on to a handshake behind each of these.
  @Test(
    arguments: [
      ([0x15, 3, 1, 0, 2, 1, 90], ClientHelloProblem.firstRecordType), ([0x14, 3, 3, 0, 1, 1], .firstRecordType),
      ([0x17, 3, 3, 0, 0], .firstRecordType), ([0x18, 3, 1], .firstRecordType), ([0x16, 3, 1, 0, 0], .recordLength),
      ([0x16, 2, 0, 0, 200, 1], .recordVersion), ([0x16, 0, 0, 0, 1, 1], .recordVersion),
      ([0x16, 15, 255, 0, 9, 1], .recordVersion), ([0x15, 0, 0, 0, 2, 1], .recordVersion),
      ([0x80, 0x2e, 1, 3, 1], .version2), ([0x80, 0x2e, 1, 0, 2], .version2), ([0xc1, 0, 1, 3, 3], .version2),
    ] as [([UInt8], ClientHelloProblem)])
  func whatBeginsLikeTLSIsTLS(bytes: [UInt8], problem: ClientHelloProblem) {
    for hello in [[], Self.bytes(RecordedHellos.tls13)] {
      let all = bytes + hello
      #expect(ClientHello.parse(all.span, bytesMax: 65_536) == .malformed(problem))
      for count in 0..<bytes.count {
        switch ClientHello.parse(all.span.extracting(0..<count), bytesMax: 65_536) {
        case .incomplete(let needed): #expect(needed > count)
        case .malformed(problem): break
        default: Issue.record("\(count) bytes say something else")
        }
      }
    }
  }
}
