// The dashboard's figures: what is counted, over which time, that it is bounded, and what is proposed.
import Policy
import PolicyFile
import Testing
import Wire

@testable import LogView

private let start: Int64 = 1_795_614_882_000

private func line(_ second: Int64, _ event: String, _ rest: String) throws -> LogLine {
  var text: [UInt8] = Array(#"{"v":1,"time":""#.utf8)
  Timestamp.append(unixMilliseconds: start + second * 1000, to: &text)
  text += Array(#"","event":"\#(event)",\#(rest)}"#.utf8)
  var line = LogLine()
  let isRead = line.read(text.span)
  try #require(isRead)
  return line
}

private let api = #""client":"agent","via":"connect","host":"api.example.com","port":443,"rule":"p.yaml:3""#
private let evil = #""client":"agent","via":"connect","host":"evil.example","port":443,"reason":"not_allowed""#

private func snapshot(
  _ figures: Figures, client: String? = nil, span: TimeSpan = .whole, nowMs: Int64? = nil
) -> JSONValue {
  .object(Snapshot(figures, client: client, span: span, nowMs: nowMs ?? figures.lastMs).members)
}

extension JSONValue {
  fileprivate func course(_ name: String) -> [Int] {
    let all = self["timeline"]?["courses"]?.asList ?? []
    return all.first { $0["name"]?.asText == name }?["values"]?.asList.compactMap(\.asNumber) ?? []
  }

  fileprivate func shown(_ name: String) -> [JSONValue] { self[name]?["shown"]?.asList ?? [] }
}

@Suite struct FiguresTests {
  @Test func countsAsTheGateDoes() throws {
    var figures = Figures()
    for second in 0..<10 {
      figures.add(try line(Int64(second), "closed", api + #","bytes_up":10,"bytes_down":100,"duration_ms":5"#))
    }
    figures.add(try line(11, "closed", #""client":"b","via":"http","host":"a.example","port":80,"bytes_up":1"#))
    figures.add(try line(12, "denied", evil + #","bytes_up":0,"bytes_down":7"#))
    figures.add(try line(12, "denied", evil + #","would_deny":true"#))
    figures.add(
      try line(13, "limited", api + #","reason":"rate_limited","tokens":0,"capacity":60,"per_minute":60"#))
    figures.add(try line(14, "failed", api + #","reason":"connect_failed""#))
    figures.add(try line(15, "revoked", api + #","reason":"shutdown","bytes_up":1000"#))
    figures.add(try line(16, "flagged", evil.replacing("not_allowed", with: "secret_refused")))
    figures.add(try line(17, "policy", #""policy":"00ff""#))
    let json = snapshot(figures)
    let totals = try #require(json["totals"])
    #expect(totals["closed"]?["all"] == .number(11) && totals["denied"]?["not_allowed"] == .number(1))
    #expect(totals["would_deny"]?["all"] == .number(1) && totals["limited"]?["rate_limited"] == .number(1))
    #expect(totals["failed"]?["connect_failed"] == .number(1) && totals["revoked"]?["shutdown"] == .number(1))
    #expect(totals["flagged"]?["secret_refused"] == .number(1) && totals["policy"]?["all"] == .number(1))
    #expect(totals["bytes_up"] == .number(1101) && totals["bytes_down"] == .number(1007))
    #expect(totals["tunnels"] == .number(11) && totals["requests"] == .number(1))
    #expect(json["policy"] == .text("00ff") && json["clients"] == .list([.text("agent"), .text("b")]))
    #expect(json.course("ended").reduce(0, +) == 11 && json.course("would_deny").reduce(0, +) == 1)
    let only = snapshot(figures, client: "b")
    #expect(only["totals"]?["lines"] == .number(1) && only.shown("rows").count == 1 && only.shown("refused").isEmpty)
    #expect(snapshot(figures, client: "nobody")["totals"]?["lines"] == .number(0))
  }

  @Test func proposesWhatWouldLetItOut() throws {
    var figures = Figures()
    for _ in 0..<3 { figures.add(try line(0, "denied", evil)) }
    figures.add(try line(1, "denied", evil.replacing("evil.example", with: "githib.com")))
    figures.add(
      try line(2, "denied", #""client":"agent","via":"dns","host":"name.example","reason":"not_allowed""#))
    figures.add(
      try line(3, "denied", evil.replacing("not_allowed", with: "denied_by_rule").replacing("evil", with: "bad")))
    figures.add(
      try line(4, "limited", api + #","reason":"rate_limited","tokens":0,"capacity":6,"per_minute":6"#))
    for _ in 0..<9 { figures.add(try line(5, "closed", api)) }
    let shown = snapshot(figures).shown("refused")
    func entry(_ target: String) throws -> JSONValue { try #require(shown.first { $0["target"]?.asText == target }) }
    let plain = try entry("evil.example:443")
    #expect(plain["count"] == .number(3) && plain["warnings"] == .list([]))
    #expect(
      plain["yaml"]?.asText
        == "allow:\n  - evil.example:443\nrate_limits:\n  - {host: evil.example:443, requests_per_minute: 60, burst: 20}\n"
    )
    #expect(try entry("githib.com:443")["warnings"]?.asList == [.text("one letter away from github.com")])
    #expect(try entry("name.example")["notes"]?.asList.first?.asText?.contains("DNS alone") == true)
    #expect(try entry("bad.example:443")["yaml"] == .text(""))
    #expect(try entry("bad.example:443")["notes"]?.asList.first?.asText?.hasPrefix("a deny rule names it") == true)
    // What was let out beside it counts for the rate; the rule is there already.
    #expect(
      try entry("api.example.com:443")["yaml"]?.asText
        == "rate_limits:\n  - {host: api.example.com:443, requests_per_minute: 50}\n")
    #expect(plain["clients"] == .list([.text("agent")]))
  }

  /// What is pasted below `network_policy` lets the target out.
  @Test func aProposalIsAPolicy() throws {
    var figures = Figures()
    figures.add(try line(0, "denied", evil))
    let yaml = try #require(snapshot(figures).shown("refused").first?["yaml"]?.asText)
    let indented = yaml.split(separator: "\n").map { "  \($0)\n" }.joined()
    let policy = try #require(PolicyFile.parse(bytes: Array("network_policy:\n\(indented)".utf8), name: "p").policy)
    let target = Target(host: try Host(parsing: Array("evil.example".utf8).span), port: 443)
    guard case .allow = policy.fallback.network.judge(target, nowUnix: 0) else {
      Issue.record("refused: \(yaml)")
      return
    }
  }

  @Test func wrongPasswordsAndGatesAreListedApart() throws {
    var figures = Figures()
    for (second, gate) in ["one", "two", "one"].enumerated() {
      figures.add(
        try line(
          Int64(second), "denied", evil.replacing("not_allowed", with: "not_authenticated") + #","gate":"\#(gate)""#))
    }
    figures.add(try line(4, "closed", api + #","gate":"two""#))
    let json = snapshot(figures)
    #expect(json.shown("refused").isEmpty && json.shown("passwords").first?["count"] == .number(3))
    #expect(
      json.shown("gate_lines").map { [$0["gate"], $0["lines"], $0["refused"]] } == [
        [.text("one"), .number(2), .number(2)], [.text("two"), .number(2), .number(1)],
      ])
  }

  @Test func withAPolicyOnlyWhatItDoesNotLetOut() throws {
    let text = "network_policy: {allow: [api.example.com:443], rate_limits: [{host: \"*\", requests_per_minute: 6}]}"
    var figures = Figures(policy: PolicyFile.parse(bytes: Array(text.utf8), name: "p").policy)
    for _ in 0..<2 { figures.add(try line(0, "closed", api + #","duration_ms":0"#)) }
    figures.add(try line(1, "limited", api + #","reason":"rate_limited","tokens":0,"capacity":6,"per_minute":6"#))
    let json = snapshot(figures)
    #expect(
      json.shown("refused")[0]["yaml"]?.asText
        == "rate_limits:\n  - {host: api.example.com:443, requests_per_minute: 35}\n")
    #expect(json.shown("refused")[0]["notes"] == .list([.text("its limit is 6 a minute, burst 6: p:1:62")]))
    let bucket = try #require(json.shown("buckets").first)
    #expect(bucket["capacity"] == .number(6) && bucket["last_minute"] == .number(3) && bucket["tokens"] == .number(0))
    #expect(bucket["values"]?.asList.compactMap(\.asNumber).reduce(0, +) == 3)
  }

  @Test func usesAndFindings() throws {
    var figures = Figures()
    for _ in 0..<2 {
      figures.add(try line(0, "credential", api + #","credential":"github","place":"header Authorization""#))
    }
    figures.add(try line(1, "credential", api + #","credential":"github","scrubbed":true"#))
    figures.add(try line(2, "flagged", api + #","finding":"instructions","what":"a","count":9"#))
    figures.add(try line(3, "limited", #""client":"agent","policy":"00","limit":"memory.max""#))
    let json = snapshot(figures)
    let uses = json.shown("credentials")
    #expect(uses.count == 2 && uses[0]["scrubbed"] == .bool(true) && uses[1]["count"] == .number(2))
    #expect(json.shown("flagged")[0]["finding"] == .text("instructions, what: a"))
    #expect(json.shown("limits")[0]["limit"] == .text("memory.max") && json.shown("refused").isEmpty)
    #expect(json["totals"]?["closed"]?["all"] == .number(0))
  }

  @Test func spansOfTime() throws {
    var figures = Figures()
    // A line each ten minutes over two days.
    for number in 0..<288 { figures.add(try line(Int64(number) * 600, "closed", api)) }
    let whole = snapshot(figures)
    #expect(whole.course("ended").reduce(0, +) == 288 && whole.course("ended").count <= 120)
    #expect(whole["timeline"]?["step_ms"] == .number(1_800_000))
    let recent = snapshot(figures, span: .twoHours)
    #expect(recent.course("ended").count == 120 && recent.course("ended").reduce(0, +) == 12)
    #expect(snapshot(figures, span: .tenMinutes).course("ended").reduce(0, +) == 1)
    #expect(snapshot(figures, span: .tenMinutes, nowMs: figures.lastMs + 700_000).course("ended") == [])
  }

  @Test func anyTimesAreCounted() {
    var chance = SystemRandomNumberGenerator()
    var whole = WholeCounts()
    var recent = RecentCounts(.tenMinutes)
    let range: ClosedRange<Int64> = -62_167_219_200_000...253_402_300_799_999
    var all: [Int64] = []
    for turn in 0..<3000 {
      let near = start + Int64.random(in: -10_000_000...10_000_000, using: &chance)
      let time = turn % 500 == 499 ? Int64.random(in: range, using: &chance) : near
      all.append(time)
      whole.add(time)
      recent.add(time)
      guard turn % 100 == 0, let first = all.min(), let last = all.max() else { continue }
      let axis = WholeCounts.Axis(fromMs: first, toMs: last)
      #expect(axis.count <= WholeCounts.stepsMax)
      #expect(whole.values(on: axis).reduce(0, +) == all.count)
      let wanted = all.count { $0 / 5000 > last / 5000 - 120 && $0 / 5000 <= last / 5000 }
      #expect(recent.values(nowMs: last).reduce(0, +) == wanted && recent.count(nowMs: last) == wanted)
    }
  }

  @Test func boundedWhateverTheLogHolds() throws {
    var figures = Figures(policy: nil)
    for number in 0..<12_000 {
      let text =
        #""client":"c\#(number)","via":"connect","host":"h\#(number).example","port":443,"reason":"r\#(number)","rule":"f:\#(number)""#
      figures.add(try line(Int64(number), "limited", text + #","tokens":1,"capacity":9,"per_minute":9"#))
      figures.add(try line(Int64(number), "credential", text + #","credential":"k\#(number)""#))
      figures.add(try line(Int64(number), "flagged", text + #","finding":"f\#(number)""#))
    }
    let json = snapshot(figures)
    #expect(figures.clientNames.count == Figures.clientsMax && figures.bucketCourses.count == Figures.coursesMax)
    #expect(figures.tally.rows.count == Tally.rowsMax && figures.refused.forgotten > 0)
    #expect(figures.all.events.count <= 2 * Figures.eventsMax)
    for name in ["rows", "refused", "credentials", "flagged", "buckets"] {
      #expect(json.shown(name).count <= 50 && (json[name]?["more"]?.asNumber ?? 0) > 0)
    }
    #expect(json["totals"]?["limited"]?["all"] == .number(12_000))
    // A client keeps its figures when its hosts have no rows any more.
    for number in 0..<100 {
      figures.add(try line(0, "denied", evil.replacing("evil", with: "x\(number)").replacing("agent", with: "c0")))
    }
    #expect(snapshot(figures, client: "c0")["totals"]?["denied"]?["all"] == .number(100))
    #expect(json.line.count < 300_000)
  }

  /// The one that is refused most stays, whatever else is refused once.
  @Test func theMostRefusedAreKept() throws {
    var figures = Figures()
    for number in 0..<10_000 {
      let host = number % 100 == 0 ? "often.example" : "h\(number).example"
      figures.add(try line(Int64(number), "denied", evil.replacing("evil.example", with: host)))
    }
    let first = try #require(snapshot(figures).shown("refused").first)
    #expect(first["target"] == .text("often.example:443") && first["count"] == .number(100))
  }

  @Test func hugeNumbersAreNoOverflow() throws {
    var figures = Figures()
    let huge = "18446744073709551615"
    for _ in 0..<3 {
      figures.add(
        try line(
          0, "limited",
          api
            + #","reason":"all","tokens":\#(huge),"capacity":\#(huge),"per_minute":\#(huge),"bytes_up":\#(huge),"duration_ms":\#(huge)"#
        ))
    }
    figures.add(try line(1, "limited", api + #","rule":"q","tokens":1,"capacity":\#(huge),"per_minute":1"#))
    #expect(snapshot(figures).line.count > 100)
  }
}
