// The one judge: the order of its checks, what each costs, and what a request that waited is held to.

import Policy
import Testing
import Wire

@testable import Flow

@Suite struct JudgeTests {
  // A literal that is a name.
  // swift-format-ignore: NeverUseForceTry
  private static let target = Target(host: .name(try! HostName("api.example")), port: 80)
  private static let line = SourceLine(file: "test", line: 7)

  private static func rule(
    expiresAt: Int64? = nil, methods: [String] = ["GET"], _ limit: (inout RateLimit) -> Void = { _ in }
  ) -> AllowRule {
    var spec = AllowSpec(line: line, pattern: .exact(target.host), ports: .all)
    spec.expiresAt = expiresAt
    var inspection = Inspection()
    inspection.methods = methods.map { Array($0.utf8) }
    spec.inspection = inspection
    var limits = RateLimit(line: line, pattern: .any, ports: .all)
    limit(&limits)
    return AllowRule(spec, limit: limits, usage: RuleUsage())
  }

  private static func moment(_ nowMs: UInt64 = 1000) -> Moment {
    Moment(nowMs: nowMs, nowNs: nowMs * 1_000_000, unixSeconds: Int64(nowMs / 1000))
  }

  private static func ask(
    _ kind: JudgedRequest.Kind, _ method: String, _ rule: AllowRule?, _ moment: Moment = moment(),
    isReportOnly: Bool = false, _ change: (inout JudgedRequest) -> Void = { _ in }
  ) -> Judgement {
    var request = JudgedRequest(kind, target: target, rules: .rule(rule), isReportOnly: isReportOnly)
    request.named = target
    change(&request)
    var line = RequestLine()
    line.keep(method: Array(method.utf8).span, path: Array("/".utf8).span)
    return Judge.judge(request, line, moment)
  }

  private static func reason(_ judgement: Judgement) -> Reason? {
    if case .refuse(let finding) = judgement.verdict { finding.reason } else { nil }
  }

  /// Each pair of checks that fail together is answered by the one that comes first.
  @Test(arguments: [JudgedRequest.Kind.plain, .inspected])
  func theFirstCheckThatFailsIsTheReason(_ kind: JudgedRequest.Kind) {
    var moment = Self.moment()
    let rule = Self.rule(expiresAt: 1)
    #expect(Self.reason(Self.ask(kind, "POST", rule, moment)) == .expired)
    moment.isLogUnwritable = true
    #expect(Self.reason(Self.ask(kind, "POST", rule, moment)) == .logUnwritable)
    moment.isDraining = true
    #expect(Self.reason(Self.ask(kind, "POST", rule, moment)) == .shutdown)
    let other = Self.ask(kind, "POST", rule, moment) { $0.named = nil }
    #expect(Self.reason(other) == (kind == .inspected ? .authorityMismatch : .shutdown))
    #expect(Self.reason(Self.ask(kind, "POST", nil)) == .notAllowed)
    #expect(Self.reason(Self.ask(kind, "POST", Self.rule())) == .methodRefused)
  }

  @Test func aPlainRequestWithAPlaceholderLeavesInNoMode() {
    for isReportOnly in [false, true] {
      let judgement = Self.ask(.plain, "GET", Self.rule(), isReportOnly: isReportOnly) { $0.carriesPlaceholder = true }
      #expect(Self.reason(judgement) == .secretRefused)
    }
  }

  @Test func aRefusalCostsNeitherTokenNorSlot() {
    let rule = Self.rule { ($0.requestsPerMinute, $0.burst, $0.concurrent) = (60, 1, 1) }
    #expect(Self.reason(Self.ask(.plain, "POST", rule)) == .methodRefused)
    let first = Self.ask(.plain, "GET", rule)
    #expect(Self.reason(first) == nil && rule.concurrent?.live == 1)
    #expect(Self.reason(Self.ask(.plain, "GET", rule)) == .tooMany)
    first.slot?.leave()
    let second = Self.ask(.plain, "GET", rule)
    #expect(Self.reason(second) == .rateLimited && rule.concurrent?.live == 0)
    guard case .refuse(let finding) = second.verdict else { return }
    #expect(finding.bucket == BucketLevel(tokens: 0, capacity: 1, perMinute: 60) && finding.retryAfterSeconds == 2)
  }

  /// An inspected tunnel takes its slot; its requests take the tokens.
  @Test func aTokenIsTakenOncePerRequest() {
    let rule = Self.rule { ($0.requestsPerMinute, $0.burst, $0.concurrent) = (60, 1, 1) }
    let tunnel = Self.ask(.tunnel, "", rule)
    #expect(Self.reason(tunnel) == nil && rule.concurrent?.live == 1)
    #expect(Self.reason(Self.ask(.inspected, "GET", rule)) == nil)
    #expect(Self.reason(Self.ask(.inspected, "GET", rule)) == .rateLimited)
    #expect(rule.concurrent?.live == 1)
  }

  @Test(arguments: [JudgedRequest.Kind.plain, .inspected])
  func aWholeMinuteIsTheLongestWait(_ kind: JudgedRequest.Kind) {
    let rule = Self.rule { ($0.requestsPerMinute, $0.burst, $0.onLimit) = (1, 1, .pace) }
    #expect(Self.reason(Self.ask(kind, "GET", rule)) == nil)
    guard case .pace(_, let untilMs) = Self.ask(kind, "GET", rule).verdict else {
      Issue.record("it does not wait")
      return
    }
    #expect(untilMs == 61_001)
    #expect(Self.reason(Self.ask(kind, "GET", rule) { $0.pacedSinceMs = 999 }) == .rateLimited)
  }

  @Test func whatWasPaidIsHeldToTheMomentAndTakesNothing() {
    let rule = Self.rule(expiresAt: 5) { ($0.requestsPerMinute, $0.burst) = (60, 1) }
    #expect(Self.reason(Self.ask(.plain, "GET", rule)) == nil)
    #expect(Self.reason(Self.ask(.plain, "GET", rule, Self.moment(4999)) { $0.payment = .paid }) == nil)
    #expect(Self.reason(Self.ask(.plain, "GET", rule, Self.moment(5000)) { $0.payment = .paid }) == .expired)
    var draining = Self.moment()
    draining.isDraining = true
    #expect(Self.reason(Self.ask(.plain, "GET", rule, draining) { $0.payment = .paid }) == .shutdown)
  }

  @Test func reportModeTellsTheFirstFindingAndLetsOut() {
    let rule = Self.rule { ($0.requestsPerMinute, $0.burst) = (60, 1) }
    for _ in 0..<3 {
      let judgement = Self.ask(.inspected, "POST", rule, isReportOnly: true)
      #expect(Self.reason(judgement) == nil && judgement.note?.reason == .methodRefused)
    }
    _ = Self.ask(.inspected, "GET", rule, isReportOnly: true)
    #expect(Self.ask(.inspected, "GET", rule, isReportOnly: true).note?.reason == .rateLimited)
  }

  @Test func aFieldThatAsksForAnotherMethodIsHeldToTheRule() {
    var line = RequestLine()
    let head = Array("POST /a HTTP/1.1\r\nHost: api.example\r\nX-HTTP-Method-Override: DELETE\r\n\r\n".utf8)
    var request = RequestHead()
    guard case .complete = request.parse(head.span, bytesMax: 1000) else {
      Issue.record("no head")
      return
    }
    line.keep(request, in: head.span)
    let question = JudgedRequest(
      .plain, target: Self.target, rules: .rule(Self.rule(methods: ["POST"])), isReportOnly: false)
    #expect(Self.reason(Judge.judge(question, line, Self.moment())) == .methodRefused)
  }

  /// The row of a refusal by policy keeps the connection, whichever protocol it came by; broken framing never does.
  @Test func whatEndsAConnectionStandsInOneTable() {
    let keeps = Reason.allCases.filter(\.keepsConnection)
    #expect(
      Set(keeps) == [
        .notAllowed, .notAuthenticated, .deniedByRule, .expired, .rateLimited, .tooMany,
        .methodRefused, .pathRefused, .contentRefused, .secretRefused, .credentialFailed, .notApproved,
      ])
    for reason in Reason.allCases { #expect((400...504).contains(reason.row.status), "\(reason)") }
  }
}
