// The promises of one connection, step by step: what is asked for, what is answered, what is written down.

import Flow
import FlowSimulation
import Policy
import Testing
import Wire

private let policyText = """
  network_policy:
    deny: ["bad.example:443"]
    allow:
      - "tls.example:443"
      - "bad.example:[443, 444]"
      - "web.example:80"
      - "other.example:80"
      - {host: "raw.example:22", protocol: tcp}
      - {host: "looked.example:443", methods: [GET]}
      - {host: "secure.example:80", protocol: tls}
      - {host: "auto.example:8443", protocol: auto}
      - "93.184.216.35:8080"
    rate_limits:
      - {host: "other.example:80", requests_per_minute: 1}
      - {host: "raw.example:22", requests_per_minute: 1, on_limit: pace}
  """

private func connect(_ target: String) -> String { "CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n\r\n" }
private func get(_ host: String) -> String { "GET http://\(host)/ HTTP/1.1\r\nHost: \(host)\r\n\r\n" }

extension Action {
  var name: String { String("\(self)".prefix { $0 != "(" }) }
}

@Suite struct VerdictTests {
  @Test(arguments: [
    ("nowhere.example:443", "403", "not_allowed"), ("bad.example:443", "403", "denied_by_rule"),
    ("tls.example:80", "403", "not_allowed"), ("127.0.0.1:3128", "403", "not_allowed"),
    ("0x7f.1:443", "400", "bad_request"),
  ])
  func aRefusedConnectAsksForNothing(target: String, status: String, reason: String) throws {
    var driver = try Driver(policyText)
    let action = driver.send(connect(target))
    #expect(action.name == "close")
    let reply = driver.replyText()
    #expect(reply.hasPrefix("HTTP/1.1 \(status) "))
    #expect(reply.split(separator: "\r\n").first?.hasSuffix(": \(reason)") == true)
    #expect(driver.flow.takeOutcome()?.reason?.rawValue == reason)
  }

  @Test func theNameIsAskedOnlyAfterTheVerdict() throws {
    var driver = try Driver(policyText)
    guard case .resolve(let name) = driver.send(connect("TLS.example.:443")) else {
      Issue.record("an allowed target is resolved")
      return
    }
    #expect("\(name)" == "tls.example")
  }

  @Test func aPrivateAddressIsRefusedAfterTheLookUp() throws {
    var driver = try Driver(policyText)
    _ = driver.send(connect("tls.example:443"))
    _ = driver.tell(.answered(NameAnswer(family: .v6, addresses: [])))
    let action = driver.tell(.answered(NameAnswer(family: .v4, addresses: [.v4(0xA9FE_A9FE)])))
    #expect(action.name == "close")
    let taken = driver.flow.takeOutcome()
    let outcome = try #require(taken)
    #expect(outcome.reason == .addressRefused)
    #expect(outcome.address == .v4(0xA9FE_A9FE))
  }

  @Test func anotherPeerThanTheScreenedOneIsRefused() throws {
    var driver = try Driver(policyText)
    _ = driver.send(connect("tls.example:443"))
    _ = driver.tell(.answered(NameAnswer(family: .v6, addresses: [])))
    _ = driver.tell(.answered(NameAnswer(family: .v4, addresses: [.v4(0x5DB8_D822)])))
    #expect(driver.tell(.connected(dialled: .v4(0x5DB8_D822), peer: .v4(0x0A00_0001))).name == "close")
    #expect(driver.flow.takeOutcome()?.reason == .addressRefused)
  }

  @Test func paceDelaysInsteadOfRefusing() throws {
    var first = try Driver(policyText)
    #expect(first.send(connect("raw.example:22")).name == "resolve")
    var second = try Driver(first.conditions.policy)
    #expect(second.send(connect("raw.example:22")).name == "wait")
    #expect(second.flow.state.isPacing)
    second.pass(ms: second.flow.deadlineMs - second.conditions.nowMs)
    #expect(second.tell(.deadlinePassed).name == "resolve")
  }

  /// Others take each token before it: what has waited for a minute is told so.
  @Test func nobodyIsPacedForEver() throws {
    let policy = try Driver(policyText).conditions.policy
    var first = try Driver(policy)
    _ = first.send(connect("raw.example:22"))
    var second = try Driver(policy)
    #expect(second.send(connect("raw.example:22")).name == "wait")
    let waitMs = second.flow.deadlineMs - second.conditions.nowMs
    var other = try Driver(policy)
    other.pass(ms: waitMs)
    #expect(other.send(connect("raw.example:22")).name == "resolve")
    second.pass(ms: waitMs)
    #expect(second.tell(.deadlinePassed).name == "close")
    #expect(second.flow.takeOutcome()?.reason == .rateLimited)
  }

  @Test func aDrainingOrUnwritableGateStartsNothing() throws {
    var draining = try Driver(policyText)
    draining.conditions.isDraining = true
    #expect(draining.send(connect("tls.example:443")).name == "close")
    #expect(draining.flow.takeOutcome()?.reason == .shutdown)
    var unwritable = try Driver(policyText)
    unwritable.conditions.isLogUnwritable = true
    #expect(unwritable.send(connect("tls.example:443")).name == "close")
    #expect(unwritable.flow.takeOutcome()?.reason == .logUnwritable)
  }
}

@Suite struct HelloTests {
  @Test func noByteGoesUpBeforeTheHelloIsRight() throws {
    var driver = try Driver(policyText)
    _ = driver.send(connect("tls.example:443"))
    guard case .relay(up: false, down: false) = try driver.reachUpstream() else {
      Issue.record("the tunnel opens before its hello")
      return
    }
    #expect(driver.replyText().hasPrefix("HTTP/1.1 200 "))
    let hello = Script.hello(name: "TLS.example")
    for byte in hello.dropLast() { #expect(driver.send([byte]).name == "wait") }
    guard case .relay(up: true, down: true) = driver.send([hello[hello.count - 1]]) else {
      Issue.record("a right hello opens the tunnel")
      return
    }
    #expect(driver.flow.takeAllForTunnel().input == hello)
  }

  @Test(arguments: [
    (Script.hello(name: "other.example"), Reason.sniMismatch), (Script.hello(name: nil), .noSNI),
    (Array("SSH-2.0-x\r\n".utf8), .notTLS), ([0x80, 0x2E, 1, 3, 1], .notTLS),
  ])
  func aWrongOpeningIsCut(bytes: [UInt8], reason: Reason) throws {
    var driver = try Driver(policyText)
    _ = driver.send(connect("tls.example:443"))
    _ = try driver.reachUpstream()
    _ = driver.flow.takeToClient()
    #expect(driver.send(bytes).name == "close")
    #expect(driver.flow.takeOutcome()?.reason == reason)
    #expect(driver.flow.takeToUpstream().isEmpty)
  }

  @Test func aWrongHelloInTheSameSegmentGetsAReadableAnswer() throws {
    var driver = try Driver(policyText)
    _ = driver.send(Array(connect("tls.example:443").utf8) + Script.hello(name: "other.example"))
    #expect(try driver.reachUpstream().name == "close")
    #expect(driver.replyText().hasPrefix("HTTP/1.1 403 Denied by egress policy: sni_mismatch"))
    #expect(driver.flow.takeOutcome()?.sni?.description == "other.example")
  }

  @Test func autoLetsTheServerSpeakFirst() throws {
    var driver = try Driver(policyText)
    _ = driver.send(connect("auto.example:8443"))
    guard case .relay(up: false, down: true) = try driver.reachUpstream() else {
      Issue.record("auto relays down at once")
      return
    }
    guard case .relay(up: true, down: true) = driver.send("QUIT\r\n") else {
      Issue.record("auto lets other protocols through")
      return
    }
  }

  /// Whatever some TLS server goes on from is TLS, in one piece or byte by byte.
  @Test(
    arguments: [
      ([], Reason.sniMismatch), ([0x15, 3, 1, 0, 2, 1, 90], .notTLS), ([0x14, 3, 3, 0, 1, 1], .notTLS),
      ([0x16, 3, 1, 0, 0], .badRequest), ([0x16, 3, 1, 0, 1, 2], .badRequest), ([0x15, 0, 9, 0, 2, 1, 90], .notTLS),
      ([0x80, 0x2E, 1, 3, 1], .notTLS),
    ] as [([UInt8], Reason)])
  func autoHoldsTLSToTheName(before: [UInt8], reason: Reason) throws {
    let bytes = before + Script.hello(name: "other.example")
    for pieceBytes in [bytes.count, 1] {
      var driver = try Driver(policyText)
      _ = driver.send(connect("auto.example:8443"))
      _ = try driver.reachUpstream()
      var start = 0
      while start < bytes.count, !driver.flow.state.isEnded {
        _ = driver.send(Array(bytes[start..<min(start + pieceBytes, bytes.count)]))
        start += pieceBytes
      }
      #expect(driver.flow.state.isEnded && driver.flow.takeOutcome()?.reason == reason)
      #expect(driver.flow.takeToUpstream().isEmpty && driver.flow.takeAllForTunnel().toUpstream.isEmpty)
    }
  }

  /// A record of version 2.0 in front of a hello is one that Go reads.
  @Test func autoHoldsAHelloOfAnyVersionToTheName() throws {
    var hello = Script.hello(name: "other.example")
    (hello[1], hello[2]) = (2, 0)
    var driver = try Driver(policyText)
    _ = driver.send(connect("auto.example:8443"))
    _ = try driver.reachUpstream()
    #expect(driver.send(hello).name == "close")
    #expect(driver.flow.takeOutcome()?.reason == .notTLS)
  }

  /// The 200 of the CONNECT is out by then, or is not: the client hears in HTTP what is wrong.
  @Test(arguments: ["looked.example:443", "tls.example:443"], [true, false])
  func plainHTTPInATunnelForTLSIsAnsweredInHTTP(target: String, isEarly: Bool) throws {
    let request = "GET / HTTP/1.1\r\nHost: \(target)\r\n\r\n"
    var driver = try Driver(policyText)
    _ = driver.send(connect(target) + (isEarly ? request : ""))
    var last = try driver.reachUpstream()
    if !isEarly {
      #expect(driver.replyText().hasPrefix("HTTP/1.1 200 "))
      last = driver.send("G")
    }
    #expect(last.name == "close")
    let reply = driver.replyText()
    #expect(
      reply.hasPrefix("HTTP/1.1 403 Denied by egress policy: not_tls\r\n") && reply.contains("https://"), "\(reply)")
    let outcome = driver.flow.takeOutcome()
    #expect(outcome?.reason == .notTLS && outcome?.detail?.contains("https://") == true)
    #expect(driver.flow.takeToUpstream().isEmpty)
  }
}

@Suite struct PlainRequestTests {
  @Test(arguments: ["tls.example:443", "looked.example:443", "secure.example"])
  func plainHTTPToATargetOfTLSIsRefused(host: String) throws {
    var driver = try Driver(policyText)
    #expect(driver.send("POST http://\(host)/ HTTP/1.1\r\nHost: \(host)\r\nContent-Length: 0\r\n\r\n").name == "close")
    #expect(driver.replyText().hasPrefix("HTTP/1.1 403 Denied by egress policy: not_tls\r\n"))
    #expect(driver.flow.takeOutcome()?.reason == .notTLS)
  }

  /// RFC 9112 section 3.2.2: undici 5 sends the name of its proxy.
  @Test func hostIsIgnoredWhereTheTargetNamesOne() throws {
    var driver = try Driver(policyText)
    #expect(driver.send("GET http://web.example/ HTTP/1.1\r\nHost: proxy.example:3128\r\n\r\n").name == "resolve")
    #expect(try driver.reachUpstream().name == "sendRequest")
    let head = String(decoding: driver.flow.takeToUpstream(), as: UTF8.self)
    #expect(head.hasPrefix("GET / HTTP/1.1\r\nHost: web.example\r\n"))
    var tunnel = try Driver(policyText)
    #expect(tunnel.send("CONNECT tls.example:443 HTTP/1.1\r\nHost: proxy.example:3128\r\n\r\n").name == "resolve")
  }

  @Test func whatIsMalformedIsToldToTheLog() throws {
    let tooLong = "GET http://web.example/ HTTP/1.1\r\nX: " + String(repeating: "a", count: 64 << 10)
    for (text, status, detail) in [
      ("GET http://web.example/ HTTP/1.1\r\nHost : a\r\n\r\n", "400", "space before the colon"),
      (tooLong, "431", "limits.head_bytes (65536 bytes)"),
      ("GET http://web.example/ HTTP/1.1\r\n" + String(repeating: "A: b\r\n", count: 129), "431", "128 fields"),
      ("GET / HTTP/1.1\r\nHost: web.example\r\n\r\n", "400", "This is a proxy"),
    ] {
      var driver = try Driver(policyText)
      #expect(driver.send(text).name == "close")
      let reply = driver.replyText()
      #expect(reply.hasPrefix("HTTP/1.1 \(status) ") && reply.contains(detail), "\(reply)")
      let outcome = driver.flow.takeOutcome()
      #expect(outcome?.reason == .badRequest && outcome?.detail?.contains(detail) == true)
    }
  }

  /// RFC 9112 section 2.2: some clients send an empty line behind a body. It begins no request.
  @Test func anEmptyLineBetweenTwoRequestsIsNone() throws {
    var driver = try Driver(policyText)
    _ = driver.send(get("web.example"))
    _ = try driver.reachUpstream()
    _ = driver.upstreamSends("HTTP/1.1 204 No Content\r\n\r\n")
    _ = driver.tell(.responseBodyEnded)
    _ = driver.flow.takeOutcome()
    #expect(driver.send("\r\n").name == "wait")
    var quiet = try Driver(driver.conditions.policy)
    _ = quiet.send(get("web.example"))
    _ = try quiet.reachUpstream()
    _ = quiet.upstreamSends("HTTP/1.1 204 No Content\r\n\r\n")
    _ = quiet.tell(.responseBodyEnded)
    _ = quiet.flow.takeOutcome()
    _ = quiet.send("\r\n")
    #expect(quiet.tell(.deadlinePassed).name == "close")
    #expect(quiet.flow.takeOutcome() == nil, "the client asked for nothing more")
    #expect(driver.send(get("web.example")).name == "sendRequest")
  }
}

@Suite struct BrokenMessageTests {
  private static let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

  @Test(arguments: [
    ("HTTP/1.1 200 OK\r\nA\r\n\r\n", "without a colon"), ("nonsense\r\n", "status line"),
    ("HTTP/1.1 200 OK\r\nA: " + String(repeating: "a", count: 64 << 10), "limits.head_bytes (65536 bytes)"),
    ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nA\r\n\r\n", "without a colon"),
    (head + "x\r\n", "chunks"), (head + "5;=a\r\nhello\r\n0\r\n\r\n", "chunks"),
  ])
  func aBrokenAnswerIsA502ThatSaysWhy(text: String, detail: String) throws {
    var driver = try Driver(policyText)
    _ = driver.send(get("web.example"))
    _ = try driver.reachUpstream()
    var action = driver.upstreamSends(text)
    while action.name == "sendInterim" {
      _ = driver.flow.takeToClient()
      action = driver.tell(.upstreamSent)
    }
    guard case .close(.graceful) = action else {
      Issue.record("the client hears why: \(action)")
      return
    }
    let reply = driver.replyText()
    #expect(reply.hasPrefix("HTTP/1.1 502 ") && reply.contains(detail), "\(reply)")
    let outcome = driver.flow.takeOutcome()
    #expect(outcome?.reason == .connectFailed && outcome?.detail?.contains(detail) == true)
  }

  @Test func aBrokenChunkOfARequestIsA400() throws {
    var driver = try Driver(policyText)
    _ = driver.send("POST http://web.example/ HTTP/1.1\r\nHost: web.example\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
    _ = try driver.reachUpstream()
    guard case .close(.graceful) = driver.tell(.bodyMalformed) else {
      Issue.record("the client hears why")
      return
    }
    #expect(driver.replyText().hasPrefix("HTTP/1.1 400 "))
    let outcome = driver.flow.takeOutcome()
    #expect(outcome?.reason == .badRequest && outcome?.detail?.contains("chunks") == true)
  }

  /// RFC 9112 section 9.2: whatever the request is, nothing of it has gone to the connection that is given up.
  @Test func aKeptUpstreamThatSpokeUnaskedIsReplaced() throws {
    var driver = try Driver(policyText)
    _ = driver.send(get("web.example"))
    _ = try driver.reachUpstream()
    _ = driver.flow.takeToUpstream()
    _ = driver.upstreamSends("HTTP/1.1 204 No Content\r\n\r\n")
    _ = driver.tell(.responseBodyEnded)
    let post = "POST http://web.example/ HTTP/1.1\r\nHost: web.example\r\nContent-Length: 0\r\n\r\n"
    #expect(driver.send(post).name == "sendRequest")
    var usesStanding = driver.flow.usesStandingUpstream
    #expect(usesStanding)
    guard case .connect(let address, _) = driver.flow.replaceStandingUpstream(driver.conditions) else {
      Issue.record("it is dialled anew")
      return
    }
    #expect(driver.tell(.connected(dialled: address, peer: address)).name == "sendRequest")
    usesStanding = driver.flow.usesStandingUpstream
    #expect(!usesStanding)
    let sent = String(decoding: driver.flow.takeToUpstream(), as: UTF8.self)
    #expect(
      sent.hasPrefix("POST / HTTP/1.1\r\n")
        && sent.split(separator: "POST", omittingEmptySubsequences: false).count == 2)
  }
}

@Suite struct ExchangeTests {
  @Test func eachRequestOfAConnectionIsJudged() throws {
    var driver = try Driver(policyText)
    #expect(driver.send(get("web.example")).name == "resolve")
    #expect(try driver.reachUpstream().name == "sendRequest")
    _ = driver.flow.takeToUpstream()
    #expect(driver.upstreamSends("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").name == "sendResponse")
    guard case .nextRequest(keepUpstream: true) = driver.tell(.responseBodyEnded) else {
      Issue.record("keep-alive")
      return
    }
    #expect(driver.flow.takeOutcome()?.event == .closed)
    #expect(driver.send(get("web.example")).name == "sendRequest", "the same target uses the standing upstream")
    _ = driver.upstreamSends("HTTP/1.1 204 No Content\r\n\r\n")
    _ = driver.tell(.responseBodyEnded)
    _ = driver.flow.takeOutcome()
    #expect(driver.send(get("nowhere.example")).name == "nextRequest", "a refused request keeps its connection")
    #expect(driver.replyText().hasPrefix("HTTP/1.1 403 "))
    #expect(driver.flow.takeOutcome()?.reason == .notAllowed)
    #expect(driver.send(get("other.example")).name == "resolve")
  }

  @Test func theSecondRequestOverTheRateIs429() throws {
    var driver = try Driver(policyText)
    _ = driver.send(get("other.example"))
    _ = try driver.reachUpstream()
    _ = driver.flow.takeToUpstream()
    _ = driver.upstreamSends("HTTP/1.1 204 No Content\r\n\r\n")
    _ = driver.tell(.responseBodyEnded)
    _ = driver.flow.takeOutcome()
    _ = driver.send(get("other.example"))
    let reply = driver.replyText()
    #expect(reply.hasPrefix("HTTP/1.1 429 "))
    #expect(reply.contains("\r\nRetry-After: "))
    let taken = driver.flow.takeOutcome()
    let outcome = try #require(taken)
    #expect(outcome.event == .limited)
    #expect(outcome.bucket?.capacity == 1)
  }

  @Test func aKeptUpstreamThatBrokeIsAskedOnceMore() throws {
    var driver = try Driver(policyText)
    _ = driver.send(get("web.example"))
    _ = try driver.reachUpstream()
    _ = driver.upstreamSends("HTTP/1.1 204 No Content\r\n\r\n")
    _ = driver.tell(.responseBodyEnded)
    _ = driver.send(get("web.example"))
    _ = driver.flow.takeToUpstream()
    guard case .connect(let address, _) = driver.tell(.upstreamEnded) else {
      Issue.record("a safe request goes out once more")
      return
    }
    #expect(driver.tell(.connected(dialled: address, peer: address)).name == "sendRequest")
    #expect(String(decoding: driver.flow.takeToUpstream(), as: UTF8.self).hasPrefix("GET / HTTP/1.1\r\n"))
    #expect(driver.tell(.upstreamEnded).name == "close", "but only once")
  }

  /// IPv4 was quick, and the answer of IPv6 comes when the connection is on to another target.
  @Test func aLateAddressOfOneNameIsNotDialledForAnotherTarget() throws {
    var driver = try Driver(policyText)
    _ = driver.send(get("web.example"))
    _ = driver.tell(.answered(NameAnswer(family: .v4, addresses: [.v4(0x5DB8_D822)])))
    driver.pass(ms: 50)
    #expect(driver.tell(.deadlinePassed).name == "connect")
    _ = driver.tell(.connected(dialled: .v4(0x5DB8_D822), peer: .v4(0x5DB8_D822)))
    _ = driver.upstreamSends("HTTP/1.1 204 No Content\r\n\r\n")
    _ = driver.tell(.responseBodyEnded)
    guard case .connect(.v4(0x5DB8_D823), port: 8080) = driver.send(get("93.184.216.35:8080")) else {
      Issue.record("a rule names this address")
      return
    }
    let late = IPAddress.v6(high: 0x2606_4700_0000_0000, low: 1)
    #expect(driver.tell(.answered(NameAnswer(family: .v6, addresses: [late]))).name == "wait")
    driver.pass(ms: 1_000)
    #expect(driver.tell(.deadlinePassed).name == "wait")
    #expect(driver.tell(.attemptFailed(code: 111)).name == "close")
  }

  @Test func aReloadCutsWhatTheNewPolicyRefuses() throws {
    var driver = try Driver(policyText)
    _ = driver.send(connect("raw.example:22"))
    _ = try driver.reachUpstream()
    driver.conditions.policy = try SimulationTests.policy("network_policy: {allow: [\"web.example:80\"]}")
    guard case .close(.cut) = driver.tell(.policyReplaced) else {
      Issue.record("a live tunnel that is refused now is cut")
      return
    }
    #expect(driver.flow.takeOutcome()?.event == .revoked)
  }
}
