// The live table: what is counted, what fits a window, what keys do, and that nothing of the log gets through.
import LogView
import Policy
import PolicyFile
import Testing
import Wire

private func line(_ second: Int, _ text: String) throws -> LogLine {
  let time = "2026-11-25T13:\(10 + second / 60):\(second % 60 < 10 ? "0" : "")\(second % 60).000Z"
  return try #require(read(#"{"v":1,"time":"\#(time)",\#(text)}"#))
}

private let closed =
  #""event":"closed","client":"agent","host":"api.example.com","port":443,"rule":"p.yaml:3","bytes_up":100,"bytes_down":2048,"duration_ms":0"#
private let limited =
  #""event":"limited","client":"agent","host":"api.example.com","port":443,"rule":"p.yaml:3","reason":"rate_limited","tokens":0,"capacity":60,"per_minute":60"#

@Suite struct TopTests {
  @Test func aLossOfSharedLimitsShowsUntilTheyAreBack() throws {
    func top(_ tally: Tally) -> String { TopScreen(tally, TopState(), nowMs: 0).text(source: "log") }
    var tally = Tally()
    tally.add(try line(0, #""gate":"one","event":"limits","state":"shared","gates":2"#))
    #expect(!top(tally).contains("OUT OF REACH"))
    tally.add(try line(1, #""gate":"one","event":"limits","state":"lost","on_loss":"share","gates":2"#))
    #expect(top(tally).contains("SHARED LIMITS OUT OF REACH"))
    tally.add(try line(2, #""gate":"one","event":"limits","state":"shared","gates":2"#))
    #expect(!top(tally).contains("OUT OF REACH"))
  }

  @Test func counts() throws {
    var tally = Tally()
    for second in 0..<10 { tally.add(try line(second, closed)) }
    tally.add(try line(10, limited))
    tally.add(
      try line(11, #""event":"denied","client":"agent","host":"evil.example","port":443,"reason":"not_allowed""#))
    tally.add(
      try line(
        12,
        #""event":"denied","client":"agent","host":"evil.example","port":443,"reason":"not_allowed","would_deny":true"#)
    )
    tally.add(try line(13, #""event":"policy","policy":"00""#))
    let row = tally.rows[0]
    #expect((row.ended, row.refused, row.bytesUp, row.bytesDown) == (10, 1, 1000, 20480))
    #expect(tally.perMinute(row, nowMs: tally.lastMs) == 11 && tally.perMinute(row, nowMs: tally.lastMs + 52_000) == 5)
    #expect(tally.perMinute(row, nowMs: tally.lastMs + 120_000) == 0)
    #expect((tally.rows[1].refused, tally.rows[1].wouldDeny) == (1, 1) && tally.lines == 14)
    #expect(tally.reasons == ["rate_limited": 1, "not_allowed": 1, "would deny: not_allowed": 1])
    // A token a second comes back, and a request takes one.
    let bucket = try #require(tally.bucket(row, nowMs: tally.lastMs + 27_000))
    #expect(bucket == (30, 60, 60))
    tally.add(try line(40, closed))
    #expect(tally.bucket(tally.rows[0], nowMs: tally.lastMs)?.tokens == 29)
  }

  @Test func aLimitOfProcessesHasNoTarget() throws {
    var tally = Tally()
    tally.add(try line(0, #""event":"limited","client":"agent","policy":"00","limit":"memory.max""#))
    #expect(tally.reasons == ["memory.max": 1])
    #expect(TopScreen(tally, TopState(), nowMs: tally.lastMs).text(source: "log").contains("memory.max"))
  }

  @Test func aPolicyGivesLimitsFromTheStart() throws {
    let text = "network_policy: {allow: [api.example.com:443], rate_limits: [{host: \"*\", requests_per_minute: 6}]}"
    var tally = Tally(policy: PolicyFile.parse(bytes: Array(text.utf8), name: "p").policy)
    for _ in 0..<4 { tally.add(try line(0, closed)) }
    let bucket = try #require(tally.bucket(tally.rows[0], nowMs: tally.lastMs))
    #expect(bucket == (2, 6, 6))
    let shown = TopScreen(tally, TopState(), nowMs: tally.lastMs).text(source: "log")
    #expect(shown.contains("[####......] ~2/6") && shown.contains("4/6"))
  }

  @Test func rowsAreBounded() throws {
    var tally = Tally()
    for number in 0..<(Tally.rowsMax + 500) {
      tally.add(
        try line(0, #""event":"denied","client":"c","host":"h\#(number).example","port":443,"reason":"r\#(number)""#))
    }
    #expect(
      tally.rows.count == Tally.rowsMax && tally.rows.last?.refused == 501 && tally.latest.count == Tally.latestMax)
    #expect(tally.reasons.count <= 100)
  }

  @Test(arguments: [(24, 80), (5, 20), (1, 1), (60, 200), (50, 131)])
  func fitsTheWindow(_ rows: Int, _ columns: Int) throws {
    var tally = Tally()
    for number in 0..<100 { tally.add(try line(number, closed.replacing("api", with: "api\(number)"))) }
    tally.add(try line(3, limited))
    let (lines, _) = TopScreen(tally, TopState(), nowMs: tally.lastMs).lines(
      rows: rows, columns: columns, source: "/a/log")
    #expect(lines.count == rows && lines.allSatisfy { $0.utf8.count <= columns })
  }

  @Test func keys() {
    var state = TopState()
    func press(_ text: String) -> TopState.Answer { state.press(Array(text.utf8)) }
    #expect(press("s") == .goOn)
    #expect(state.sort == .refused)
    #expect(press("/evil") == .goOn)
    #expect(state.filter == "evil" && state.isTyping)
    #expect(press("q") == .goOn)
    #expect(state.filter == "evilq")
    #expect(press("\u{7f}\r") == .goOn)
    #expect(state.filter == "evil" && !state.isTyping)
    #expect(press("\u{1b}") == .goOn)
    #expect(state.filter.isEmpty)
    #expect(press("p") == .goOn)
    #expect(state.isPaused)
    #expect(press("\u{1b}[B") == .goOn)
    #expect(state.scroll == 1)
    #expect(press("kk") == .goOn)
    #expect(state.scroll == 0)
    #expect(press("\u{1a}") == .suspend)
    #expect(press("\u{3}") == .quit)
    #expect(press("q") == .quit)
    #expect(press("/") == .goOn)
    #expect(press("\u{3}") == .quit)
  }

  @Test func sortsAndFilters() throws {
    var tally = Tally()
    for _ in 0..<3 { tally.add(try line(0, closed)) }
    tally.add(try line(0, #""event":"denied","client":"x","host":"evil.example","port":443,"reason":"not_allowed""#))
    func first(_ change: (inout TopState) -> Void) -> String {
      var state = TopState()
      change(&state)
      return TopScreen(tally, state, nowMs: tally.lastMs).lines(rows: 30, columns: 120, source: "").lines[4]
    }
    #expect(first { _ in }.hasPrefix("agent") && first { $0.sort = .refused }.hasPrefix("x"))
    #expect(first { $0.filter = "evil" }.hasPrefix("x") && first { $0.filter = "nobody" }.isEmpty)
  }

  @Test(arguments: TerminalTextTests.hostile) func hostileTextsAreHarmless(_ bytes: [UInt8]) throws {
    var text: [UInt8] = []
    JSONText.appendString(bytes, to: &text)
    let name = String(decoding: text, as: UTF8.self)
    var tally = Tally()
    tally.add(
      try line(0, #""event":"denied","client":\#(name),"host":\#(name),"port":443,"reason":\#(name),"rule":\#(name)"#))
    let screen = TopScreen(tally, TopState(), nowMs: tally.lastMs)
    let (lines, _) = screen.lines(rows: 24, columns: 80, source: String(decoding: bytes, as: UTF8.self))
    for shown in lines + [screen.text(source: "log").replacing("\n", with: "")] {
      #expect(shown.utf8.allSatisfy { (0x20..<0x7f).contains($0) } && shown.utf8.count < 5000)
    }
  }
}
