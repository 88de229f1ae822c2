// Text comes out without terminal escapes, control characters and broken UTF-8; limits cut it and say so; bodies are decoded.

import Content
import Testing

@Suite struct PlainTextTests {
  static let texts: [(String, String)] = [
    ("a\u{1b}[31mb\u{1b}[0mc", "abc"), ("a\u{1b}]0;title\u{07}b", "ab"), ("a\u{1b}]8;;http://x\u{1b}\\b", "ab"),
    ("a\u{1b}Pq\u{1b}\\b", "ab"),
    ("a\u{1b}(Bb", "ab"), ("a\u{00}\u{08}\u{7f}b", "ab"), ("a\r\nb", "a\nb"), ("safe\revil", "safe\nevil"),
    ("a\tb\n", "a\tb\n"),
    ("a\u{9b}31mb", "a31mb"), ("é😀", "é😀"), ("a\u{1b}", "a"), ("a\r", "a\n"),
  ]

  @Test(arguments: texts) func whatATerminalActsOnIsGone(text: String, expected: String) {
    #expect(check(text).text == expected)
  }

  @Test func brokenUTF8IsReplaced() {
    for bytes: [UInt8] in [
      [0xff], [0xc3], [0xe2, 0x82], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80],
    ] {
      let checked = check([[0x61] + bytes, [0x62]], ContentRules(settings()))
      #expect(checked.text.hasPrefix("a\u{fffd}") && checked.text.hasSuffix("b"), "\(bytes)")
    }
  }

  @Test func aLongTextIsCutAndSaysSo() {
    var settings = settings()
    settings.bytesMax = 10
    #expect(check("0123456789", settings).findings == [])
    let checked = check("0123456789x", settings)
    #expect(checked.text.hasPrefix("0123456789\n[sluice: cut here") && checked.findings.map(\.id) == ["max-bytes"])
  }

  @Test func aLimitCutsOrRefuses() {
    var cut = ResponseLimit(bytesMax: 10, mode: .cut)
    #expect([cut.take(6), cut.take(6), cut.take(1)] == [6, 4, 0] && cut.isExceeded)
    var refuse = ResponseLimit(bytesMax: 10, mode: .refuse)
    #expect([refuse.take(10), refuse.take(1)] == [10, 0] && refuse.isExceeded)
  }

  private static let body = String(repeating: "The gate lets out what the policy names. ", count: 40)
  static let bodies: [(ContentCoding, String)] = [
    (.gzip, "H4sIAAAAAAACAwvJSFVITyxJVchJLSlWyC8tUSjPSCxRKAEKF+TnZCZXKuQl5qYW6ymEjCocVTiqcFThqMJRhaQrBACQo4yzaAYAAA=="),
    (
      .gzip,
      "H4sIAAAAAAACAwvJSFVITyxJVchJLSlWyC8tUSjPSCxRKAEKF+TnZCZXKuQl5qYW6ymEjCocVTiqEKQQAMA8gg40AwAAH4sIAAAAAAACAwvJSFVITyxJVchJLSlWyC8tUSjPSCxRKAEKF+TnZCZXKuQl5qYW6ymEjCocVTiqEKQQAMA8gg40AwAA"
    ),
    (.deflate, "C8lIVUhPLElVyEktKVbILy1RKM9ILFEoAQoX5OdkJlcq5CXmphbrKYSMKhxVOKpwVOGowlGFpCsEAA=="),
    (.deflate, "eJwLyUhVSE8sSVXISS0pVsgvLVEoz0gsUSgBChfk52QmVyrkJeamFusphIwqHFU4qnBU4ajCUYWkKwQAUJRIBw=="),
    (.brotli, "G2cGAAQccqRXCLQtSwoccuDQLgmGCSVOgcfw+eTQyilRDAQGndIPy/2+yD6LUqBgX58Y"),
    (.zstd, "KLUv/WBoBZUBAJQCVGhlIGdhdGUgbGV0cyBvdXQgd2hhdCB0aGUgcG9saWN5IG5hbWVzLiABAOGR/aoM"),
  ]

  @Test(arguments: bodies) func aCodedBodyIsDecoded(coding: ContentCoding, encoded: String) throws {
    let bytes = Base64.decode(encoded)
    for step in [bytes.count, 7, 1] {
      let decoder = try Decompressor(coding, bytesMax: 10_000)
      var output: [UInt8] = []
      for start in stride(from: 0, to: bytes.count, by: step) {
        output += try decoder.append(Array(bytes[start..<min(start + step, bytes.count)]))
      }
      try decoder.finish()
      #expect(String(decoding: output, as: UTF8.self) == Self.body, "\(coding) by \(step)")
    }
  }

  @Test(arguments: bodies) func aCutOrBrokenBodyIsRefused(coding: ContentCoding, encoded: String) throws {
    let bytes = Base64.decode(encoded)
    #expect(throws: DecompressProblem.malformed) {
      let decoder = try Decompressor(coding, bytesMax: 10_000)
      _ = try decoder.append(Array(bytes.dropLast(12)))
      try decoder.finish()
    }
    #expect(throws: DecompressProblem.malformed) {
      let decoder = try Decompressor(coding, bytesMax: 10_000)
      _ = try decoder.append([0x07, 0xff, 0xff, 0xff] + bytes)
      try decoder.finish()
    }
    #expect(throws: DecompressProblem.tooLarge) { _ = try Decompressor(coding, bytesMax: 1639).append(bytes) }
  }

  /// Eight mebibytes of zeros.
  @Test(arguments: [(ContentCoding.brotli, "m///fwAkAOKxQHLv/wA=")])
  func aBombIsRefused(coding: ContentCoding, encoded: String) throws {
    #expect(throws: DecompressProblem.tooLarge) {
      _ = try Decompressor(coding, bytesMax: 64 << 20).append(Base64.decode(encoded))
    }
  }

  @Test func codingsAreReadByName() {
    #expect(ContentCoding(field: "GZIP") == .gzip && ContentCoding(field: "x-gzip") == .gzip)
    #expect(ContentCoding(field: "br") == .brotli && ContentCoding(field: "compress") == nil)
  }
}
