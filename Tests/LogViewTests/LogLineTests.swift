// Lines of the log as values: the gate's own, broken ones, and what somebody hostile may have got into one.
import LogView
import Testing
import Wire

func read(_ text: String) -> LogLine? { read(Array(text.utf8)) }

func read(_ bytes: [UInt8]) -> LogLine? {
  var line = LogLine()
  return line.read(bytes.span) ? line : nil
}

@Suite struct LogLineTests {
  static let closed =
    #"{"v":1,"time":"2026-11-25T13:54:42.123Z","seq":7,"event":"closed","id":"1f-2","client":"agent","via":"connect","host":"api.example.com","port":443,"rule":"agent.yaml:4","policy":"00ff","address":"192.0.2.7","bytes_up":517,"bytes_down":18446744073709551615,"duration_ms":1500,"inspected":false}"#

  @Test func theGatesOwnLine() throws {
    let line = try #require(read(Self.closed))
    #expect(line.event == .closed && line.text(.client) == "agent" && line.port == 443)
    #expect(line.number(.seq) == 7 && line.number(.bytesDown) == .max && line.number(.version) == 1)
    #expect(line.host == .name(try HostName("api.example.com")))
    #expect(line.has(.inspected) && !line.flag(.inspected) && !line.has(.sni) && line.others.isEmpty)
    #expect(line.timeMs == 1_795_614_882_123 && line.startMs == 1_795_614_880_623)
  }

  @Test func everyFieldIsReadUnderItsName() throws {
    for field in LogField.allCases {
      let line = try #require(read(#"{"event":"x","\#(field.name)":"y"}"#), "\(field)")
      #expect(line.text(field) == "y")
    }
  }

  @Test func aLineCutAnywhereIsNoLine() {
    let bytes = Array(Self.closed.utf8)
    for count in 0..<bytes.count { #expect(read(Array(bytes[..<count])) == nil, "\(count)") }
  }

  /// Whatever one byte becomes, the line is read or refused, and what is read never holds more than stood there.
  @Test func anyByteAnywhere() {
    let bytes = Array(Self.closed.utf8)
    var readable = 0
    for place in bytes.indices {
      for byte: UInt8 in [0, 0x0a, 0x1b, 0x22, 0x2c, 0x5c, 0x7b, 0x7d, 0x80, 0xe2, 0xff] {
        var changed = bytes
        changed[place] = byte
        guard let line = read(changed) else { continue }
        readable += 1
        #expect((line.bytes(.host)?.count ?? 0) <= bytes.count)
      }
    }
    #expect(readable > 100)
  }

  @Test(arguments: [
    "", "{", "{}", "[]", "null", #"{"event":1}"#, #"{"event":"x"} x"#, #"{"event":"x",}"#, #"{"event":"x" "seq":1}"#,
    #"{"event":"x","seq":01}"#, #"{"event":"x","seq":1.}"#, #"{"event":"x","seq":+1}"#, #"{"event":"x","more":tru}"#,
    #"{"event":"\x"}"#, #"{"event":"\u12"}"#, "{\"event\":\"a\u{1b}[31m\"}", #"{"more":{"event":"x"}}"#,
  ])
  func broken(_ text: String) { #expect(read(text) == nil) }

  @Test func nestingIsBounded() {
    func nested(_ depth: Int) -> String {
      #"{"event":"x","more":\#(String(repeating: "[", count: depth))\#(String(repeating: "]", count: depth))}"#
    }
    #expect(read(nested(16)) != nil)
    #expect(read(nested(17)) == nil && read(nested(100_000)) == nil)
  }

  @Test func unknownFieldsAreKeptAside() throws {
    let line = try #require(
      read(#"{ "event" : "flagged", "later":{"a":[1,-2.5e3,null]}, "seq":-1, "host":["x"], "n":"q\n" }"#))
    #expect(line.event == .flagged && line.text(.event) == "flagged")
    #expect(line.others.map { String(decoding: $0.name, as: UTF8.self) } == ["later", "n"])
    #expect(String(decoding: line.others[0].json, as: UTF8.self) == #"{"a":[1,-2.5e3,null]}"#)
    #expect(!line.has(.seq) && !line.has(.host))
  }

  @Test func escapes() throws {
    let line = try #require(
      read(#"{"event":"x","client":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800\u0041","sni":"\udc00"}"#))
    #expect(line.text(.client) == "\"\\/\u{8}\u{c}\n\r\t\u{e9}\u{1f600}\u{fffd}A" && line.text(.sni) == "\u{fffd}")
  }

  /// What the gate writes for any bytes reads back as the text that they were.
  @Test func whatTheGateEscapesReadsBack() throws {
    var random = SystemRandomNumberGenerator()
    for _ in 0..<500 {
      let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      var text = Array(#"{"event":"x","client":"#.utf8)
      JSONText.appendString(bytes, to: &text)
      text.append(UInt8(ascii: "}"))
      let line = try #require(read(text), "\(bytes)")
      #expect(line.text(.client) == String(decoding: bytes, as: UTF8.self), "\(bytes)")
    }
  }

  @Test func valuesOfTheLineBeforeAreGone() throws {
    var line = LogLine()
    func take(_ text: String) -> Bool {
      let bytes = Array(text.utf8)
      return line.read(bytes.span)
    }
    #expect(take(Self.closed))
    #expect(take(#"{"event":"policy","other":1}"#))
    #expect(!line.has(.host) && line.timeMs == nil && line.others.count == 1)
    #expect(!take("nonsense"))
    #expect(take(Self.closed))
    #expect(line.others.isEmpty && line.timeMs != nil)
  }

  @Test func aHostThatNoGateWritesIsNone() {
    for host in ["", "A B", "a..b", "\\u001b[31m", String(repeating: "a", count: 65_536), "127.1", "[::1"] {
      #expect(read(#"{"event":"x","host":"\#(host)"}"#)?.host == nil, "\(host.prefix(20))")
    }
    #expect(read(#"{"event":"x","host":"[::1]"}"#)?.host == .address(.v6(high: 0, low: 1)))
  }

  @Test func times() {
    func ms(_ text: String) -> Int64? { read(#"{"event":"x","time":"\#(text)"}"#)?.timeMs }
    #expect(ms("1970-01-01T00:00:01.234Z") == 1234 && ms("1970-01-01T00:00:01Z") == 1000)
    #expect(ms("1970-01-01T01:00:01+01:00") == 1000 && ms("yesterday") == nil && ms("1970-01-01T00:00:01.2x4Z") == nil)
  }
}

@Suite struct TerminalTextTests {
  static let hostile: [[UInt8]] = [
    Array("\u{1b}[2J\u{1b}]0;title\u{7}".utf8), Array("\u{202e}gro.elpmaxe\u{202c}\u{2066}\u{200f}".utf8),
    [0x9b, 0x33, 0x31, 0x6d, 0xc2, 0x9b], Array("\r\n\t\u{8}\u{7f}\u{0}".utf8),
    [0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80],
    Array("<script>alert(1)</script>\u{feff}\u{200b}\u{2028}".utf8),
    Array(repeating: 0x1b, count: 65_536), Array("gíthub.com\\u{41}".utf8),
  ]

  @Test(arguments: hostile) func nothingButPrintableASCII(_ bytes: [UInt8]) {
    #expect(TerminalText.safe(bytes).utf8.allSatisfy { (0x20..<0x7f).contains($0) })
    var line: [UInt8] = Array(#"{"event":"x","client":"#.utf8)
    JSONText.appendString(bytes, to: &line)
    line += Array("}".utf8)
    var out: [UInt8] = []
    TerminalText.appendJSON(line.span, to: &out)
    #expect(out.allSatisfy { (0x20..<0x7f).contains($0) })
    #expect(read(out)?.text(.client) == read(line)?.text(.client))
    var columns: [UInt8] = []
    if let parsed = read(line) { LineText(isColoured: false).append(parsed, to: &columns) }
    #expect(
      columns.last == 0x0a && columns.dropLast().allSatisfy { (0x20..<0x7f).contains($0) } && columns.count < 2000)
  }

  @Test func blanksBetweenValuesStayBlanks() {
    var out: [UInt8] = []
    TerminalText.appendJSON(Array("{\t\"event\":\r\"x\"}\r".utf8).span, to: &out)
    #expect(String(decoding: out, as: UTF8.self) == "{ \"event\": \"x\"} ")
  }

  @Test func columnsAreCut() {
    #expect(TerminalText.column("abcdef", 4) == "abc~" && TerminalText.column("abcdef", 4, cutsFront: true) == "~def")
    #expect(TerminalText.column("ab", 4) == "ab  " && TerminalText.column("ab", 4, alignsRight: true) == "  ab")
    #expect(TerminalText.safe(Array("a\\u{41}".utf8)) == "a\\\\u{41}")
  }

  @Test func amounts() {
    #expect(Amount.bytes(0) == "0B" && Amount.bytes(1023) == "1023B" && Amount.bytes(1536) == "1.5KiB")
    #expect(Amount.bytes(10 << 20) == "10MiB" && Amount.bytes(.max) == "15EiB")
    #expect(Amount.milliseconds(999) == "999ms" && Amount.milliseconds(61_000) == "1m1s")
  }
}
