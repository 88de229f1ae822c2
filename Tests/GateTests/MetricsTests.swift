// Metrics as text: what stands in labels, how numbers are written, and that what is shown is bounded.

import Flow
import HTTPService
import Policy
import Testing
import Wire

@testable import Gate

@Suite struct ExpositionTests {
  @Test func noLabelBreaksALine() {
    let family = MetricFamily("sluice_x_total", .counter, by: ["a", "b"], "Back\\slash, \"quote\"\nand line.")
    var out = Exposition()
    out.begin(family)
    out.sample(family, of: ["\"} 1\nsluice_forged 1", "\\n\u{1b}[2J\u{202e}é"], .whole(UInt64.max))
    let text = String(decoding: out.bytes, as: UTF8.self)
    #expect(
      text == """
        # HELP sluice_x_total Back\\\\slash, "quote"\\nand line.
        # TYPE sluice_x_total counter
        sluice_x_total{a="\\"} 1\\nsluice_forged 1",b="\\\\n\u{1b}[2J\u{202e}é"} 18446744073709551615

        """)
  }

  @Test(arguments: [
    (MetricValue.milliseconds(0), "0"), (.milliseconds(1), "0.001"), (.milliseconds(1_500), "1.5"),
    (.milliseconds(1_795_624_804_014), "1795624804.014"), (.microseconds(64), "0.000064"),
    (.microseconds(67_108_864), "67.108864"), (.nanoseconds(1), "0.000000001"), (.nanoseconds(2_000_000_000), "2"),
    (.nanoseconds(10_010_000_000), "10.01"), (.flag(true), "1"), (.whole(-1), "0"),
  ])
  func timesAreSeconds(value: MetricValue, text: String) { #expect(value.text == text) }

  @Test func eachFamilyIsNamedOnceAndByTheConventions() {
    let names = GateMetrics.families.map(\.name)
    #expect(Set(names).count == names.count)
    for family in GateMetrics.families {
      #expect(family.name.hasSuffix("_total") == (family.type == .counter), "\(family.name)")
      #expect(!family.help.isEmpty && family.help.hasSuffix("."), "\(family.name)")
      #expect(!family.labels.contains("le"), "\(family.name)")
    }
  }
}

@Suite struct StepTimesTests {
  @Test(
    arguments: [
      (0, 0), (1, 0), (64_000, 0), (64_001, 1), (128_000, 1), (128_001, 2), (1_024_000, 4), (1_024_001, 5),
      (67_108_864_000, 20), (67_108_864_001, 21), (UInt64.max, 21),
    ] as [(UInt64, Int)])
  func aTimeIsCountedFromItsBoundOn(ns: UInt64, first: Int) {
    var times = StepTimes()
    times.note(.connect, ns: ns)
    let counts = times.cumulated(.connect)
    #expect(counts.count == StepTimes.boundsMicroseconds.count + 1)
    #expect(counts.indices.allSatisfy { counts[$0] == ($0 >= first ? 1 : 0) })
    #expect(times.sumNs(.connect) == ns)
    #expect(times.cumulated(.open).last == 0)
  }

  @Test func timesOfTwoLoopsAreAddedUp() {
    var (one, other) = (StepTimes(), StepTimes())
    one.note(.read, ns: 5)
    other.note(.read, ns: 70_000)
    other.note(.open, ns: 1)
    one += other
    #expect(one.cumulated(.read).prefix(2) == [1, 2] && one.sumNs(.read) == 70_005 && one.cumulated(.open).last == 1)
  }
}

@Suite struct LimitLevelsTests {
  private func policy(rules: Int, clients: Int = 0, change: (inout NetworkSpec) -> Void = { _ in }) throws -> Policy {
    let line = SourceLine(file: "p.yaml", line: 1)
    var network = NetworkSpec(line: line)
    network.allow = try (0..<rules).map {
      AllowSpec(
        line: SourceLine(file: "p.yaml", line: $0 + 2), pattern: .exact(.name(try HostName("h\($0).example"))),
        ports: PortSet([443...443]))
    }
    var limit = RateLimit(line: line, pattern: .any, ports: .all)
    limit.requestsPerMinute = 60
    limit.uploadBytesPerMinute = 1_000
    limit.concurrent = 2
    network.rateLimits = [limit]
    change(&network)
    return Policy(
      hash: "0", settings: Settings(), network: network,
      clients: (0..<clients).map { ClientSpec(name: "c\($0)", network: network) })
  }

  @Test func aRuleShowsWhatIsLeftOfEachOfItsLimits() throws {
    let policy = try policy(rules: 1)
    let rule = policy.fallback.network.allow[0]
    #expect(rule.requests?.take(nowNs: 1) == .taken)
    #expect(rule.uploadBytes?.reserve(upTo: 400, nowNs: 1).granted == 400)
    #expect(rule.concurrent?.enter() == .entered)
    let levels = LimitLevels(policy, nowNs: 1)
    #expect(levels.leftOut == 0 && levels.shown.map(\.client) == ["default"])
    let shown = levels.shown[0].levels
    #expect(shown.map(\.limit) == [.requests, .uploadBytes, .concurrent])
    #expect(shown.map(\.left) == [59, 600, 1] && shown.map(\.capacity) == [60, 1000, 2])
  }

  @Test func aRuleWithoutLimitsIsNotShownAndTheDefaultRuleIs() throws {
    #expect(LimitLevels(try policy(rules: 2) { $0.rateLimits = [] }, nowNs: 1).shown.isEmpty)
    let levels = LimitLevels(try policy(rules: 0) { $0.defaultAllows = true }, nowNs: 1)
    #expect(levels.shown.map(\.rule.text) == ["*:*"])
  }

  @Test func thoseThatAreTheEmptiestAreShownWhereThereAreTooMany() throws {
    let policy = try policy(rules: 100, clients: 3)
    let used = [policy.clients[2].network.allow[99], policy.clients[1].network.allow[50]]
    for rule in used { _ = rule.requests?.take(nowNs: 1) }
    let levels = LimitLevels(policy, nowNs: 1)
    #expect(levels.shown.count == LimitLevels.pairsMax && levels.leftOut == 400 - LimitLevels.pairsMax)
    for rule in used { #expect(levels.shown.contains { $0.rule === rule }) }
    #expect(levels.shown.prefix(100).allSatisfy { $0.client == "default" })
  }
}

@Suite struct MetricsRequestTests {
  private func parse(_ text: String) -> MetricsRequest? {
    var head = RequestHead()
    let bytes = Array(text.utf8)
    guard case .complete = head.parse(bytes.span, bytesMax: MetricsRequest.headBytesMax) else { return nil }
    return MetricsRequest(head, bytes.span)
  }

  @Test(arguments: [
    ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", MetricsRequest.metrics(isHead: false)),
    ("GET /metrics?name[]=x HTTP/1.0\r\nHost: a\r\n\r\n", .metrics(isHead: false)),
    ("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", .metrics(isHead: true)),
    ("GET /ready HTTP/1.1\r\nHost: a\r\n\r\n", .ready(isHead: false)),
    ("HEAD /ready HTTP/1.1\r\nHost: a\r\n\r\n", .ready(isHead: true)),
  ])
  func aRequestIsRead(text: String, request: MetricsRequest) { #expect(parse(text) == request) }

  @Test(arguments: [
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404), ("GET /metrics/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n", 404), ("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("PUT /ready HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 400),
  ])
  func anyOtherIsRefused(text: String, status: Int) {
    guard case .refused(let answer) = parse(text) else {
      Issue.record("\(text) is not refused")
      return
    }
    #expect(answer.status == status)
  }

  @Test func anAnswerSaysHowLongItIs() {
    let answer = MetricsRequest.answer(metrics: Array("a 1\n".utf8))
    let whole = String(decoding: answer.bytes(isHead: false), as: UTF8.self)
    #expect(
      whole.hasPrefix("HTTP/1.1 200 OK\r\n") && whole.hasSuffix("Content-Length: 4\r\nConnection: close\r\n\r\na 1\n"))
    #expect(whole.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"))
    #expect(String(decoding: answer.bytes(isHead: true), as: UTF8.self) + "a 1\n" == whole)
  }

  @Test func readinessSaysWhyNot() {
    #expect(MetricsRequest.answer(unready: nil).status == 200)
    let not = String(decoding: MetricsRequest.answer(unready: "the gate drains").bytes(isHead: false), as: UTF8.self)
    #expect(not.hasPrefix("HTTP/1.1 503 ") && not.hasSuffix("not ready: the gate drains\n"))
  }
}

@Suite struct CountersByViaTests {
  @Test func linesAreCountedByViaToo() {
    var (one, other) = (Counters(), Counters())
    one.count(.denied, .notAllowed, via: .connect)
    one.count(.denied, .notAllowed, via: .dns)
    one.count(.denied, .badRequest)
    one.count(.denied, .notAllowed, via: .http, wouldDeny: true)
    other.count(.denied, .loop, via: .dns)
    other.countTunnel(.socks)
    one += other
    #expect(CountedVia.allCases.map { one.lines(.denied, via: $0) } == [1, 1, 0, 0, 0, 2])
    #expect(one.lines(.denied) == 4 && one.lines(.denied, .notAllowed) == 2 && one.lines(.denied, nil) == 0)
    #expect(one.wouldDeny(.notAllowed) == 1 && one.wouldDeny == 1)
    #expect(one.tunnels == 1 && one.tunnels(.socks) == 1 && one.tunnels(.connect) == 0)
  }

  @Test func aTunnelIsOfOneKind() {
    #expect(TunnelKind(.connect, isSOCKS: true) == .socks && TunnelKind(.connect, isSOCKS: false) == .connect)
    #expect(TunnelKind(.tls, isSOCKS: false) == .tls && TunnelKind(.address, isSOCKS: false) == .address)
  }
}
