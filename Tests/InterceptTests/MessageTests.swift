// Heads as filters see them, the bounds of an HTTP/2 session, and the verdict on one request.

import CNGHTTP2
import Flow
import Policy
import Testing
import Wire

@testable import Intercept

@Suite struct MessageTests {
  private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test func aHeadOfHTTP1GoesThroughAFilterUnchanged() throws {
    let head = MessageHead(
      http1: Self.bytes("POST /a?b HTTP/1.1\r\nHost: x.test\r\nX-Empty:\r\nCookie: a=b; c\r\n\r\n"))
    #expect(head.method == Self.bytes("POST") && head.path == Self.bytes("/a?b"))
    #expect(head["cookie"] == Self.bytes("a=b; c") && head["x-empty"] == [])
    var out: [UInt8] = []
    #expect(head.appendHTTP1(to: &out))
    #expect(out == Self.bytes("POST /a?b HTTP/1.1\r\nHost: x.test\r\nX-Empty: \r\nCookie: a=b; c\r\n\r\n"))
  }

  @Test func aNameThatAFilterChangesHasNoOtherSpelling() {
    var head = MessageHead(http1: Self.bytes("HTTP/1.1 404 Not  There\r\nX-Key: a\r\nX-Other: b\r\n\r\n"))
    head.fields[0].name = Self.bytes("x-***")
    var out: [UInt8] = []
    #expect(head.appendHTTP1(to: &out))
    #expect(out == Self.bytes("HTTP/1.1 404 Not  There\r\nx-***: a\r\nX-Other: b\r\n\r\n"))
    head.reason = Self.bytes("a\r\nX: y")
    #expect(!head.appendHTTP1(to: &out))
  }

  @Test func fieldsBehindABodyAreRead() {
    var scanner = ChunkedScanner()
    let body = Self.bytes("1;x=y\r\na\r\n0\r\nX-Sum: 1\r\nX-Two:  b \r\n\r\nGET")
    var (index, isDone) = (0, false)
    while !isDone {
      switch scanner.next(body.span, from: index) {
      case .data(let range): index = range.upperBound
      case .done(let consumed): (index, isDone) = (consumed, true)
      case .needsMore, .malformed: return #expect(Bool(false), "the body is whole")
      }
    }
    let fields = MessageHead(trailers: scanner.trailers)
    #expect(fields["x-sum"] == Self.bytes("1") && fields["x-two"] == Self.bytes("b") && fields.fields.count == 2)
    var out: [UInt8] = []
    #expect(fields.appendTrailers(to: &out) && out == Self.bytes("X-Sum: 1\r\nX-Two: b\r\n\r\n"))
    #expect(index == body.count - 3)
  }

  @Test func anAnswersStatusIsRead() {
    #expect(MessageHead(http1: Self.bytes("HTTP/1.1 204 No Content\r\nVia: 1.1 sluice\r\n\r\n")).status == 204)
  }

  @Test(arguments: [
    ("x", "a\r\nY: b"), ("x", "a\u{0}"), ("x y", "a"), ("", "a"), ("x:", "a"), ("x", "a\n"),
  ])
  func noFieldOfAFilterMakesASecondOne(_ name: String, _ value: String) {
    var head = MessageHead(http1: Self.bytes("GET / HTTP/1.1\r\n\r\n"))
    head.fields.append(MessageHead.Field(name: Self.bytes(name), value: Self.bytes(value)))
    var out: [UInt8] = []
    #expect(!head.appendHTTP1(to: &out) && out.isEmpty)
    var block = FieldBlock()
    let isTaken = block.take(head)
    #expect(!isTaken)
  }

  @Test func aBlockKeepsItsOrderAndItsSecrets() {
    var block = FieldBlock()
    block.append(":method", Self.bytes("GET"))
    block.append(":path", Self.bytes("/"))
    block.append(Self.bytes("authorization"), Self.bytes("secret"), isSensitive: true)
    block.append(Self.bytes("proxy-authorization"), Self.bytes("never"), isSensitive: false)
    block.set(.path, Self.bytes("/judged"))
    block.append(":authority", Self.bytes("x.test"), isFirst: true)
    let head = block.head
    #expect(head.path == Self.bytes("/judged"))
    #expect(head.fields == [.init(name: Self.bytes("authorization"), value: Self.bytes("secret"), isSensitive: true)])
    #expect(block.withFields { _, count in count } == 4)
  }

  private static func frame(_ type: nghttp2_frame_type, length: Int = 0, flags: UInt8 = 0) -> nghttp2_frame_hd {
    nghttp2_frame_hd(length: length, stream_id: 1, type: UInt8(type.rawValue), flags: flags, reserved: 0)
  }

  private static func allowed(
    _ bounds: inout HTTP2Bounds, _ type: nghttp2_frame_type, nowMs: UInt64, atMost: Int = 100_000
  ) -> Int {
    var count = 0
    while count < atMost, bounds.allow(Self.frame(type), nowMs: nowMs) { count += 1 }
    return count
  }

  @Test(arguments: [
    (NGHTTP2_PING, 1_000, 100), (NGHTTP2_SETTINGS, 200, 5), (NGHTTP2_PRIORITY, 1_000, 50), (NGHTTP2_DATA, 1_000, 50),
    (NGHTTP2_WINDOW_UPDATE, 10_000, 1_000),
  ])
  func framesThatCarryNothingHaveARate(_ type: nghttp2_frame_type, burst: Int, perSecond: Int) {
    var bounds = HTTP2Bounds()
    #expect(Self.allowed(&bounds, type, nowMs: 5_000_000) == burst)
    #expect(Self.allowed(&bounds, type, nowMs: 5_001_000) == perSecond)
    #expect(Self.allowed(&bounds, type, nowMs: 5_001_000) == 0)
    // A day of silence is worth no more than the beginning was.
    #expect(Self.allowed(&bounds, type, nowMs: 91_400_000) == burst)
    #expect(Self.allowed(&bounds, type, nowMs: .max) == burst)
  }

  /// Below the rate a session lives for ever.
  @Test func noTotalEndsASession() {
    var bounds = HTTP2Bounds()
    for tick in 0..<100_000 as Range<UInt64> {
      let nowMs = tick * 25
      let ping = bounds.allow(Self.frame(NGHTTP2_PING), nowMs: nowMs)
      let priority = bounds.allow(Self.frame(NGHTTP2_PRIORITY), nowMs: nowMs)
      let reset = bounds.allowReset(isAnswered: false, nowMs: nowMs)
      guard ping, priority, reset else {
        Issue.record("ended at \(nowMs) ms")
        return
      }
    }
  }

  /// A client that measures its bandwidth pings for each piece that it gets, however fast these come.
  @Test func whatIsSentEarnsPingsAndWindows() {
    var bounds = HTTP2Bounds()
    for _ in 0..<100_000 {
      bounds.sent(dataBytes: 16_384)
      let ping = bounds.allow(Self.frame(NGHTTP2_PING), nowMs: 1)
      let windows = Self.allowed(&bounds, NGHTTP2_WINDOW_UPDATE, nowMs: 1, atMost: 64)
      guard ping, windows == 64 else {
        Issue.record("ended")
        return
      }
    }
    for _ in 0..<100_000 {
      bounds.sent(dataBytes: 1)
      let windows = Self.allowed(&bounds, NGHTTP2_WINDOW_UPDATE, nowMs: 1, atMost: 2)
      guard windows == 2 else {
        Issue.record("ended")
        return
      }
    }
  }

  @Test func aSessionThatWorksIsNotBounded() {
    var bounds = HTTP2Bounds()
    for _ in 0..<10_000 {
      let head = bounds.allow(Self.frame(NGHTTP2_HEADERS), nowMs: 1)
      let body = bounds.allow(Self.frame(NGHTTP2_DATA, length: 100), nowMs: 1)
      let ping = bounds.allow(Self.frame(NGHTTP2_PING), nowMs: 1)
      let reset = bounds.allowReset(isAnswered: true, nowMs: 1)
      #expect(head && body && ping && reset)
    }
  }

  /// Neither heads nor bytes of bodies pay for requests that are given up.
  @Test func abandonedRequestsHaveARate() {
    var bounds = HTTP2Bounds()
    var allowed = 0
    while allowed < 10_000, bounds.allow(Self.frame(NGHTTP2_HEADERS), nowMs: 1),
      bounds.allow(Self.frame(NGHTTP2_DATA, length: 1), nowMs: 1), bounds.allowReset(isAnswered: false, nowMs: 1)
    { allowed += 1 }
    #expect(allowed == 200)
  }
}

@Suite struct JudgeTests {
  // A literal that is a name.
  // swift-format-ignore: NeverUseForceTry
  private static let target = Target(host: .name(try! HostName("api.example")), port: 443)

  private static func rule(
    _ limit: (inout RateLimit) -> Void = { _ in }
  ) throws -> AllowRule {
    let line = SourceLine(file: "test", line: 1)
    var spec = AllowSpec(line: line, pattern: .exact(target.host), ports: .all)
    var inspection = Inspection()
    inspection.methods = [Array("GET".utf8)]
    spec.inspection = inspection
    var limits = RateLimit(line: line, pattern: .any, ports: .all)
    limit(&limits)
    return AllowRule(spec, limit: limits, usage: RuleUsage())
  }

  private static func judge(
    _ method: String, named: Target? = target, _ judge: inout TunnelRequests, _ tick: Tick, pacedSinceMs: UInt64? = nil
  ) -> RequestVerdict {
    let (method, path) = (Array(method.utf8), Array("/".utf8))
    var line = RequestLine()
    line.keep(method: method.span, path: path.span)
    judge.beginRequest()
    return judge.judge(line, named: named, pacedSinceMs: pacedSinceMs, ordinal: judge.ordinal, tick)
  }

  private static func tick(_ rule: AllowRule?, nowMs: UInt64 = 1000) -> Tick {
    Tick(
      Moment(nowMs: nowMs, nowNs: nowMs * 1_000_000, unixSeconds: 0), rule: rule, headBytesMax: 16_384, headMs: 10_000)
  }

  private static func reason(_ verdict: RequestVerdict) -> Reason? {
    if case .refuse(let refused) = verdict { refused.refusal.reason } else { nil }
  }

  @Test func eachRefusalHasItsReasonAndItsLine() throws {
    var judge = TunnelRequests(target: Self.target, client: "a")
    let tick = Self.tick(try Self.rule())
    #expect(Self.reason(Self.judge("GET", &judge, tick)) == nil)
    #expect(Self.reason(Self.judge("POST", &judge, tick)) == .methodRefused)
    #expect(Self.reason(Self.judge("GET", named: nil, &judge, tick)) == .authorityMismatch)
    var draining = tick
    draining.moment.isDraining = true
    #expect(Self.reason(Self.judge("GET", &judge, draining)) == .shutdown)
    var unwritable = tick
    unwritable.moment.isLogUnwritable = true
    #expect(Self.reason(Self.judge("GET", &judge, unwritable)) == .logUnwritable)
    #expect(Self.reason(Self.judge("GET", &judge, Self.tick(nil))) == .notAllowed)
    let outcomes = judge.takeOutcomes()
    #expect(outcomes.map(\.reason) == [.methodRefused, .authorityMismatch, .shutdown, .logUnwritable, .notAllowed])
    #expect(outcomes.map(\.ordinal) == [2, 3, 4, 5, 6])
    #expect(judge.takeOutcomes().isEmpty)
  }

  @Test func reportModeNotesAndLetsOut() throws {
    var judge = TunnelRequests(target: Self.target, client: "a")
    var tick = Self.tick(try Self.rule())
    tick.isReportOnly = true
    #expect(Self.reason(Self.judge("POST", &judge, tick)) == nil)
    #expect(judge.takeOutcomes().map(\.wouldDeny) == [true])
  }

  @Test func aRequestCostsATokenAndARefusalNone() throws {
    var judge = TunnelRequests(target: Self.target, client: "a")
    let rule = try Self.rule { ($0.requestsPerMinute, $0.burst) = (60, 1) }
    let tick = Self.tick(rule)
    #expect(Self.reason(Self.judge("POST", &judge, tick)) == .methodRefused)
    #expect(Self.reason(Self.judge("GET", &judge, tick)) == nil)
    let verdict = Self.judge("GET", &judge, tick)
    guard case .refuse(let refused) = verdict else { return #expect(Bool(false), "it was let out") }
    #expect(refused.refusal.reason == .rateLimited && refused.refusal.retryAfterSeconds == 2)
    #expect(refused.outcome.bucket == BucketLevel(tokens: 0, capacity: 1, perMinute: 60))
  }

  @Test func paceWaitsForAMinuteAtMost() throws {
    var judge = TunnelRequests(target: Self.target, client: "a")
    let rule = try Self.rule { ($0.requestsPerMinute, $0.burst, $0.onLimit) = (60, 1, .pace) }
    #expect(Self.reason(Self.judge("GET", &judge, Self.tick(rule))) == nil)
    guard case .pace(let untilMs) = Self.judge("GET", &judge, Self.tick(rule)) else {
      return #expect(Bool(false), "it does not wait")
    }
    #expect(untilMs == 2001)
    let late = Self.judge("GET", &judge, Self.tick(rule, nowMs: 100_000), pacedSinceMs: nil)
    #expect(Self.reason(late) == nil)
    #expect(
      Self.reason(Self.judge("GET", &judge, Self.tick(rule, nowMs: 100_000), pacedSinceMs: 30_000)) == .rateLimited)
  }

  @Test func whatStandsRefusedIsRefusedInOneWay() {
    var judge = TunnelRequests(target: Self.target, client: "a")
    judge.standing = Refusal(.upstreamUntrusted, target: Self.target, client: "a")
    #expect(Self.reason(Self.judge("GET", &judge, Self.tick(nil))) == .upstreamUntrusted)
    #expect(judge.takeOutcomes().isEmpty)
  }
}
