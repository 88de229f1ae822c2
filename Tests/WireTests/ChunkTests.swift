// Chunk framing: where a body ends, and that its extensions are held to their grammar and go no further.

import Testing
import Wire

private struct Scanned: Equatable {
  var passed: [UInt8] = []
  var data: [UInt8] = []
  var isDone = false
}

/// What goes on of a body, and what of it is data; nil where it is malformed.
private func scan(_ text: String, piece: Int) -> Scanned? {
  let bytes = Array(text.utf8)
  var passing = ChunkedScanner()
  var reading = ChunkedScanner()
  var scanned = Scanned()
  for start in stride(from: 0, to: bytes.count, by: piece) {
    let part = bytes.span.extracting(start..<min(start + piece, bytes.count))
    switch passing.scan(part) {
    case .needsMore: scanned.passed.append(part, leavingOut: passing.leftOut)
    case .done(let consumed):
      scanned.passed.append(part.extracting(first: consumed), leavingOut: passing.leftOut)
      scanned.isDone = true
    case .malformed: return nil
    }
    var index = 0
    reading: while true {
      switch reading.next(part, from: index) {
      case .data(let range):
        scanned.data.append(part.extracting(range))
        index = range.upperBound
      case .needsMore, .done: break reading
      case .malformed: return nil
      }
    }
    if scanned.isDone { break }
  }
  return scanned
}

@Suite struct ChunkTests {
  @Test(arguments: [
    "5\r\nhello\r\n0\r\n\r\n", "5;a\r\nhello\r\n0;b=c\r\n\r\n", "5 ;a=\"x\\\"; \\\\ y\"\t; b = c\r\nhello\r\n0\r\n\r\n",
    "5;a=\"\";b\r\nhello\r\n0;z\r\n\r\n", "5;a=\"\u{e9}\"\r\nhello\r\n0\r\n\r\n",
  ])
  func extensionsGoNoFurther(text: String) throws {
    for piece in 1...text.utf8.count {
      let scanned = try #require(scan(text, piece: piece), "in pieces of \(piece)")
      #expect(scanned.isDone && scanned.data == Array("hello".utf8))
      #expect(scanned.passed == Array("5\r\nhello\r\n0\r\n\r\n".utf8), "in pieces of \(piece)")
    }
  }

  @Test func trailersGoOn() throws {
    let text = "1;x=y\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"
    let scanned = try #require(scan(text, piece: 3))
    #expect(scanned.passed == Array("1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n".utf8))
  }

  @Test(arguments: [
    "5;\r\n", "5; \r\n", "5 \r\n", "5;=a\r\n", "5;a=\r\n", "5;a=b c\r\n", "5;a b\r\n", "5;a=\"b\r\n", "5;a=\"b\"c\r\n",
    "5;a=\"b\\\r\n", "5;a=b \r\n", "5;a\n", "5;a\0\r\n", "5;a=\"b\nc\"\r\n", "5;a,b\r\n", "5;;a\r\n", "5 a\r\n",
    "5;\"a\"\r\n",
    ";a\r\n", " 5\r\n", "5\n", "5;a\rx", "5;(\r\n",
  ])
  func aMalformedExtensionIsRefused(line: String) {
    for piece in [1, 2, 64] { #expect(scan(line + "hello\r\n0\r\n\r\n", piece: piece) == nil) }
  }

  @Test func extensionsHaveALimitPerBody() {
    let name = String(repeating: "a", count: 5000)
    let chunk = "1;\(name)\r\nx\r\n"
    #expect(scan(chunk + chunk + chunk + "0\r\n\r\n", piece: 4096) != nil)
    #expect(scan(chunk + chunk + chunk + chunk + "0\r\n\r\n", piece: 4096) == nil)
  }
}
