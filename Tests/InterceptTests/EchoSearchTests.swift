// Echoes of a secret: taken out in each spelling, whatever the pieces that the text comes in, and nothing else is touched.

import Content
import Policy
import Testing
import Wire

@testable import Intercept

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

extension UInt8 {
  /// A letter or a digit.
  fileprivate var isPlain: Bool { isUnreserved && !"-._~".utf8.contains(self) }
}

private func value(_ text: String) -> CredentialValue {
  var text = bytes(text)
  return CredentialValue(secret: Secret(taking: &text))
}

@Suite struct EchoSearchTests {
  private let secret = "sk-live/Zk3+Qq\"9&<aB\\xY12"

  private func scrub(_ text: [UInt8], pieces: [Int], of secret: String) -> (text: [UInt8], count: Int) {
    var scrubber = EchoSearch(value(secret))
    var (out, start): ([UInt8], Int) = ([], 0)
    for end in pieces + [text.count] {
      var chunk = Array(text[start..<end])
      scrubber.scrub(&chunk, isLast: end == text.count)
      out += chunk
      start = end
    }
    return (out, scrubber.count)
  }

  /// Each echo with what is left of it: base64 leaves the letters that are not of the secret alone.
  private var echoes: [(name: String, text: [UInt8])] {
    var all = [("plain", bytes(secret))]
    for (name, prefix) in [
      ("base64", ""), ("base64 behind 1", "a"), ("base64 behind 2", "ab"), ("base64 behind 3", "abc"),
    ] {
      var text: [UInt8] = []
      Base64.append((prefix + secret).utf8, to: &text)
      all.append((name, text))
    }
    var percent: [UInt8] = []
    Percent.append(secret.utf8, to: &percent)
    all.append(("percent", percent))
    all.append(
      (
        "percent, lower",
        bytes(String(decoding: percent, as: UTF8.self).replacing(/%[0-9A-F]{2}/) { $0.output.lowercased() })
      ))
    var json: [UInt8] = []
    JSONText.appendString(secret, to: &json)
    all.append(("json", Array(json.dropFirst().dropLast())))
    all.append(
      ("json, slashes", bytes(String(decoding: json.dropFirst().dropLast(), as: UTF8.self).replacing("/", with: "\\/")))
    )
    all.append(("hex", Digest.hexadecimal(bytes(secret))))
    all.append(("hex, upper", bytes(String(decoding: Digest.hexadecimal(bytes(secret)), as: UTF8.self).uppercased())))
    all.append(("json, unicode", secret.utf8.flatMap { bytes("\\u00") + Digest.hexadecimal([$0]) }))
    return all + written
  }

  private func each(_ write: (UInt8) -> String) -> [UInt8] { secret.utf8.flatMap { bytes(write($0)) } }

  private func base64(_ text: [UInt8], lines: Int? = nil, end: String = "\r\n") -> [UInt8] {
    var encoded: [UInt8] = []
    Base64.append(text, to: &encoded)
    guard let lines else { return encoded }
    return encoded.enumerated().flatMap { $0.offset % lines == 5 ? bytes(end) + [$0.element] : [$0.element] }
  }

  /// What encoders write, and what no encoder writes all of but any reader takes.
  private var written: [(name: String, text: [UInt8])] {
    let signs = { (byte: UInt8, write: (UInt8) -> String) in
      byte.isPlain ? String(Unicode.Scalar(byte)) : write(byte)
    }
    func digits(_ byte: UInt8, _ radix: Int, _ count: Int) -> String {
      let text = String(byte, radix: radix)
      return String(repeating: "0", count: max(0, count - text.count)) + text
    }
    var all: [(String, [UInt8])] = [
      ("percent, partly", each { $0 % 3 == 0 ? "%\(digits($0, 16, 2))" : String(Unicode.Scalar($0)) }),
      ("percent, of signs", each { signs($0) { "%\(digits($0, 16, 2).uppercased())" } }),
      ("percent twice", each { signs($0) { "%25\(digits($0, 16, 2))" } }),
      ("percent three times", each { signs($0) { "%2525\(digits($0, 16, 2))" } }),
      ("percent u", each { signs($0) { "%u00\(digits($0, 16, 2))" } }),
      ("references, decimal", each { "&#\($0);" }),
      ("references, hexadecimal", each { "&#x\(digits($0, 16, 2));" }),
      ("references, long", each { "&#X0000\(digits($0, 16, 2));" }),
      ("references in JSON", each { signs($0) { "\\u0026#\($0);" } }),
      ("references twice", each { signs($0) { "&amp;#\($0);" } }),
      ("x", each { "\\x\(digits($0, 16, 2))" }), ("octal", each { "\\\(digits($0, 8, 3))" }),
      ("x in JSON", each { "\\\\x\(digits($0, 16, 2))" }), ("braces", each { "\\u{\(digits($0, 16, 1))}" }),
      ("long", each { "\\U\(digits($0, 16, 8))" }), ("css", each { signs($0) { "\\\(digits($0, 16, 1)) " } }),
      ("backslashes", each { signs($0) { "\\\(String(Unicode.Scalar($0)))" } }),
      ("json twice", each { signs($0) { "\\\\u00\(digits($0, 16, 2))" } }),
      ("quoted-printable", each { signs($0) { "=\(digits($0, 16, 2).uppercased())" } }),
      ("quoted-printable, lines", bytes(secret.prefix(9) + "=\r\n" + secret.dropFirst(9))),
      ("doubled", each { signs($0) { String(repeating: String(Unicode.Scalar($0)), count: 2) } }),
      ("line that goes on", bytes(secret.prefix(9) + "\\\n   " + secret.dropFirst(9))),
      ("wide, little", secret.utf8.flatMap { [$0, 0] }), ("wide, big", secret.utf8.flatMap { [0, $0] }),
      ("very wide", secret.utf8.flatMap { [0, 0, 0, $0] }),
      ("hex with colons", each { digits($0, 16, 2) + ":" }), ("hex of C", each { "0x\(digits($0, 16, 2)), " }),
      ("numbers", each { "\($0), " }), ("numbers, in lines", each { "\($0),\n  " }),
    ]
    for front in ["", "a", "ab"] {
      let inner = base64(bytes(front + secret))
      all.append(("base64 in lines \(front)", base64(bytes(front + secret), lines: 12)))
      all.append(("base64 in lines of JSON \(front)", base64(bytes(front + secret), lines: 20, end: "\\n")))
      all.append(("base64 of wide \(front)", base64(bytes(front) + secret.utf8.flatMap { [$0, 0] })))
      all.append(
        ("base64, percent \(front)", inner.flatMap { $0.isPlain ? [$0] : bytes("%\(digits($0, 16, 2))") }))
      for outer in ["", "x", "xy"] { all.append(("base64 twice \(front) \(outer)", base64(bytes(outer) + inner))) }
    }
    return all
  }

  @Test func anEchoIsScrubbedInEachEncodingWhereverItIsSplit() {
    for echo in echoes {
      let text = bytes("{\"you sent\": \"") + echo.text + bytes("\", \"s\": 1}")
      let whole = scrub(text, pieces: [], of: secret)
      #expect(whole.text.count == text.count, "no length changes: \(echo.name)")
      #expect(whole.count == 1, "\(echo.name)")
      let left = String(decoding: whole.text, as: UTF8.self)
      #expect(left.hasPrefix("{\"you sent\": \"") && left.hasSuffix("\", \"s\": 1}"), "\(echo.name): \(left)")
      // Of what is coded the first two bytes and what they share letters with stay, and wide characters stay wide.
      let kept = whole.text.count { $0 != UInt8(ascii: "*") && $0 != 0 && $0 != 0x0d && $0 != 0x0a }
      let isCoded = ["base64", "hex", "numbers"].contains { echo.name.hasPrefix($0) }
      #expect(kept - (text.count - echo.text.count) <= (isCoded ? 26 : 0), "\(echo.name): \(left)")
      for cut in 0...text.count {
        #expect(scrub(text, pieces: [cut], of: secret).text == whole.text, "\(echo.name) at \(cut)")
      }
      #expect(scrub(text, pieces: Array(0...text.count), of: secret).text == whole.text, "\(echo.name), byte by byte")
    }
  }

  @Test func whatIsNoEchoPassesAtOnce() {
    var scrubber = EchoSearch(value(secret))
    var event = bytes("data: {\"delta\": \"sk-li\"}\n\n")
    let sent = event
    scrubber.scrub(&event, isLast: false)
    #expect(event == sent, "an event of a stream is not held back")
    var beginning = bytes("data: sk-live/Zk3")
    scrubber.scrub(&beginning, isLast: false)
    #expect(beginning == bytes("data: "), "what may be one is")
    var rest = bytes("-no\n")
    scrubber.scrub(&rest, isLast: true)
    #expect(rest == bytes("sk-live/Zk3-no\n") && scrubber.count == 0)
  }

  @Test func echoesThatOverlapAreBothTakenOut() {
    let value = "abcabcabc"
    for text in ["abcabcabcabc", "xabcabcabcabcabcabcabcy", "abcabcababcabcabc"] {
      let whole = scrub(bytes(text), pieces: [], of: value).text
      #expect(!String(decoding: whole, as: UTF8.self).contains(value))
      for cut in 0...text.utf8.count {
        #expect(scrub(bytes(text), pieces: [cut], of: value).text == whole, "\(text) at \(cut)")
      }
    }
    #expect(scrub(bytes("abcabcabcabc"), pieces: [], of: value).text == bytes("************"))
  }

  @Test func randomTextsAndSplitsGiveTheSame() {
    var numbers = SystemRandomNumberGenerator()
    let seed = numbers.next() as UInt64
    var state = seed
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let value = "aabaabaaab"
    for _ in 0..<500 {
      let text = (0..<60).map { _ in UInt8(ascii: "a") + UInt8(next(5) / 4) }
      let whole = scrub(text, pieces: [], of: value).text
      #expect(whole.firstIndex(of: bytes(value)) == nil, "seed \(seed)")
      let pieces = (0..<4).map { _ in next(61) }.sorted()
      #expect(scrub(text, pieces: pieces, of: value).text == whole, "seed \(seed)")
    }
  }
}
