// How a target is read of what was redirected, of SOCKS 5, and behind a PROXY header; and how a refusal is told there.

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
      - "web.example:[80, 8080]"
      - {host: "plain.example:443", protocol: auto}
      - {host: "noech.example:443", ech: refuse}
      - {host: "raw.example:22", protocol: tcp}
      - {host: "auto.example:8443", protocol: auto}
      - {host: "93.184.216.35:22"}
  """

private let attacker = IPAddress.v4(0x5DB8_D822)

private func redirected(_ port: UInt16, to address: IPAddress = attacker, name: String? = nil) throws -> Opening {
  .redirected(to: address, port: port, name: try name.map { try HostName(parsing: Array($0.utf8).span) })
}

private func alert(_ description: UInt8) -> [UInt8] { [0x15, 3, 1, 0, 2, 2, description] }

@Suite struct RedirectedTests {
  @Test func theSNIIsJudgedAndDialledAndNeverTheAddress() throws {
    var driver = try Driver(policyText, opening: try redirected(443))
    #expect(driver.tell(.accepted).name == "wait")
    let hello = Script.hello(name: "TLS.example")
    for byte in hello.dropLast() { #expect(driver.send([byte]).name == "wait") }
    guard case .resolve(let name) = driver.send([hello[hello.count - 1]]) else {
      Issue.record("an allowed SNI is resolved")
      return
    }
    #expect("\(name)" == "tls.example")
    #expect(driver.flow.via == .tls)
    guard case .relay(up: true, down: true) = try driver.reachUpstream("198.41.0.4") else {
      Issue.record("a judged hello opens the tunnel")
      return
    }
    #expect(driver.flow.takeToClient().isEmpty, "nothing is said to a client that asked nobody")
    #expect(driver.flow.takeAllForTunnel().input == hello)
  }

  @Test(arguments: [
    (Script.hello(name: "nowhere.example"), Reason.notAllowed, UInt8(49)),
    (Script.hello(name: "bad.example"), .deniedByRule, 49), (Script.hello(name: nil), .noSNI, 112),
    (Script.hello(name: "93.184.216.34"), .noSNI, 112), (Script.hello(name: "a\0.example"), .noSNI, 112),
    ([0x80, 0x2E, 1, 3, 1] as [UInt8], .notTLS, 70), ([0x16, 3, 1, 0, 0], .badRequest, 50),
    ([0x16, 2, 0, 0, 200, 1], .notTLS, 70), ([0x15, 3, 1, 0, 2, 1, 90], .notTLS, 70),
  ])
  func aRefusedHelloGetsAnAlert(bytes: [UInt8], reason: Reason, description: UInt8) throws {
    var driver = try Driver(policyText, opening: try redirected(443))
    _ = driver.tell(.accepted)
    #expect(driver.send(bytes).name == "close")
    #expect(driver.flow.takeToClient() == alert(description))
    let taken = driver.flow.takeOutcome()
    #expect(taken?.reason == reason)
    #expect(driver.flow.target?.port == 443)
    // What is no hello is known by where it went alone.
    #expect(driver.flow.via == (reason == .notTLS || reason == .badRequest ? .address : .tls))
  }

  @Test func anECHOfferIsRefusedWhereTheRuleSaysSo() throws {
    var hello = Script.hello(name: "noech.example")
    // Another extension behind the server name: encrypted_client_hello, empty.
    hello += [0xfe, 0x0d, 0, 0]
    for (index, bytes) in [(3, 2), (6, 3)] {
      let length = hello[index..<(index + bytes)].reduce(0) { $0 << 8 | Int($1) } + 4
      for place in 0..<bytes { hello[index + place] = UInt8(length >> (8 * (bytes - 1 - place)) & 0xff) }
    }
    let extensions = 9 + 2 + 32 + 1 + 4 + 2
    hello[extensions + 1] += 4
    var driver = try Driver(policyText, opening: try redirected(443))
    _ = driver.tell(.accepted)
    #expect(driver.send(hello).name == "close")
    #expect(driver.flow.takeOutcome()?.reason == .echRefused)
  }

  @Test(arguments: [
    ("web.example", UInt16(80)), ("web.example", 8080), ("web.example:8080", 8080), ("WEB.example.", 80),
  ])
  func theHostOfPlainHTTPIsJudgedAtThePortItWentTo(host: String, port: UInt16) throws {
    var driver = try Driver(policyText, opening: try redirected(port))
    _ = driver.tell(.accepted)
    #expect(driver.send("GET /a HTTP/1.1\r\nHost: \(host)\r\n\r\n").name == "resolve")
    #expect(driver.flow.target?.port == port)
    #expect(try driver.reachUpstream().name == "sendRequest")
    let head = String(decoding: driver.flow.takeToUpstream(), as: UTF8.self)
    #expect(head.hasPrefix("GET /a HTTP/1.1\r\nHost: web.example\(port == 80 ? "" : ":8080")\r\n"))
  }

  @Test(arguments: [
    ("GET / HTTP/1.1\r\nHost: nowhere.example\r\n\r\n", "403", Reason.notAllowed),
    ("GET / HTTP/1.1\r\nHost: web.example:81\r\n\r\n", "400", .badRequest),
    ("GET / HTTP/1.1\r\n\r\n", "400", .badRequest),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400", .badRequest),
    ("GET http://web.example/ HTTP/1.1\r\nHost: web.example\r\n\r\n", "400", .badRequest),
    ("CONNECT web.example:80 HTTP/1.1\r\nHost: web.example:80\r\n\r\n", "400", .badRequest),
    ("GET / HTTP/1.1\r\nHost: 93.184.216.34\r\n\r\n", "403", .notAllowed),
  ])
  func aRefusedRequestIsAnsweredInHTTP(text: String, status: String, reason: Reason) throws {
    var driver = try Driver(policyText, opening: try redirected(80))
    _ = driver.tell(.accepted)
    _ = driver.send(text)
    #expect(driver.replyText().hasPrefix("HTTP/1.1 \(status) "))
    #expect(driver.flow.takeOutcome()?.reason == reason)
  }

  /// All ports of a sandbox lead to the gate: what no rule could allow is refused before it has said anything.
  @Test func aSandboxesPortThatNoRuleNamesIsRefusedAtOnce() throws {
    let policy = "network_policy: {allow: [tls.example:8443]}"
    func outcome(_ policy: String, _ port: UInt16, sandbox: String?) throws -> Outcome? {
      var driver = try Driver(policy, sandbox: sandbox, opening: try redirected(port))
      #expect(driver.tell(.accepted).name == "wait")
      let outcome = driver.flow.takeOutcome()
      if outcome != nil {
        #expect(driver.flow.via == .address && driver.flow.target == Target(host: .address(attacker), port: port))
      }
      return outcome
    }
    #expect(try outcome(policy, 22, sandbox: "a")?.reason == .notAllowed)
    // A name may come, or is worth its line.
    for port: UInt16 in [80, 443, 8443] { #expect(try outcome(policy, port, sandbox: "a") == nil) }
    #expect(try outcome(policy, 22, sandbox: nil) == nil)
    for open in ["{default: allow}", "{mode: report}"] {
      #expect(try outcome("network_policy: \(open)", 22, sandbox: "a") == nil)
    }
  }

  @Test func whatNamesNoTargetIsLoggedWithWhereItWent() throws {
    for text in ["", "GET nonsense\r\n\r\n"] {
      var driver = try Driver(policyText, opening: try redirected(80))
      _ = driver.tell(.accepted)
      if text.isEmpty {
        driver.pass(ms: 60_000)
        _ = driver.tell(.deadlinePassed)
      } else {
        _ = driver.send(text)
      }
      #expect(driver.flow.takeOutcome()?.reason == (text.isEmpty ? .timeout : .badRequest))
      #expect(driver.flow.target == Target(host: .address(attacker), port: 80) && driver.flow.via == .address)
    }
  }

  @Test func plainHTTPIsNoTLS() throws {
    var driver = try Driver(policyText, opening: try redirected(443))
    _ = driver.tell(.accepted)
    _ = driver.send("GET / HTTP/1.1\r\nHost: tls.example\r\n\r\n")
    #expect(driver.replyText().hasPrefix("HTTP/1.1 403 "))
    #expect(driver.flow.takeOutcome()?.reason == .notTLS)
    var plain = try Driver(policyText, opening: try redirected(443))
    _ = plain.tell(.accepted)
    #expect(plain.send("GET / HTTP/1.1\r\nHost: plain.example\r\n\r\n").name == "resolve")
  }

  @Test func theGateItselfIsNeverReached() throws {
    var driver = try Driver(policyText, opening: .redirected(to: .v4(0x7F00_0001), port: 3128, name: nil))
    #expect(driver.tell(.accepted).name == "wait")
    #expect(driver.flow.takeOutcome()?.reason == .loop)
    #expect(driver.flow.via == .address)
    #expect(driver.send("GET / HTTP/1.1\r\n").name == "close")
    #expect(driver.replyText().hasPrefix("HTTP/1.1 403 "))
  }
}

@Suite struct MadeUpAddressTests {
  @Test func aServerMaySpeakFirst() throws {
    var driver = try Driver(policyText, opening: try redirected(22, to: .v4(0xC612_0001), name: "raw.example"))
    #expect(driver.tell(.accepted).name == "resolve")
    #expect(driver.flow.via == .address)
    guard case .relay(up: true, down: true) = try driver.reachUpstream() else {
      Issue.record("a tunnel of protocol tcp opens at once")
      return
    }
    #expect(driver.flow.takeToClient().isEmpty)
  }

  @Test func tlsToAMadeUpAddressNamesThatName() throws {
    for (name, opens) in [("auto.example", true), ("other.example", false)] {
      var driver = try Driver(policyText, opening: try redirected(8443, to: .v4(0xC612_0001), name: "auto.example"))
      _ = driver.tell(.accepted)
      guard case .relay(up: false, down: true) = try driver.reachUpstream() else {
        Issue.record("the first bytes are looked at")
        return
      }
      let action = driver.send(Script.hello(name: name))
      if opens, case .relay(up: true, down: true) = action { continue }
      #expect(!opens && action.name == "close")
      #expect(driver.flow.takeOutcome()?.reason == .sniMismatch)
      #expect(driver.flow.takeToClient() == alert(112))
    }
  }

  @Test(
    arguments: [
      (Script.hello(name: "raw.example"), UInt8(0x15)), (Array("POST / HTTP".utf8), 0x48),
      ([0, 0, 0, 8, 0, 9, 0, 0], 0),
    ] as [([UInt8], UInt8)])
  func aRefusalWaitsForTheClientsLanguage(bytes: [UInt8], first: UInt8) throws {
    var driver = try Driver(policyText, opening: try redirected(23, to: .v4(0xC612_0001), name: "raw.example"))
    #expect(driver.tell(.accepted).name == "wait")
    #expect(driver.flow.takeOutcome()?.reason == .notAllowed, "the line is written at once")
    #expect(driver.send(bytes).name == "close")
    #expect(driver.flow.takeToClient().first ?? 0 == first)
    #expect(driver.flow.takeOutcome() == nil)
  }

  @Test func aSilentClientIsCutOff() throws {
    var driver = try Driver(policyText, opening: try redirected(23, to: .v4(0xC612_0001), name: "raw.example"))
    _ = driver.tell(.accepted)
    driver.pass(ms: 2_000)
    guard case .close(.cut) = driver.tell(.deadlinePassed) else {
      Issue.record("a refused client that says nothing is reset")
      return
    }
  }

  @Test func anAddressIsDialledWhereARuleNamesIt() throws {
    let named = IPAddress.v4(0x5DB8_D823)
    var driver = try Driver(policyText, opening: try redirected(22, to: named))
    guard case .connect(named, port: 22) = driver.tell(.accepted) else {
      Issue.record("the rule's address is connected to")
      return
    }
  }

  @Test func denyListModeStillDialsNoAddress() throws {
    var driver = try Driver("network_policy: {default: allow}", opening: try redirected(22))
    #expect(driver.tell(.accepted).name == "wait")
    #expect(driver.flow.state.isReadingRedirected)
  }
}

@Suite struct SOCKSTests {
  private static func request(_ host: String, _ port: UInt16, command: UInt8 = 1) -> [UInt8] {
    [5, command, 0, 3, UInt8(host.utf8.count)] + Array(host.utf8) + [UInt8(port >> 8), UInt8(port & 0xff)]
  }

  private static func reply(_ code: UInt8) -> [UInt8] { [5, code, 0, 1, 0, 0, 0, 0, 0, 0] }

  @Test func anAllowedNameIsResolvedAndTheClientHearsWhenItStands() throws {
    var driver = try Driver(policyText)
    for byte in [UInt8]([5, 2, 0, 2]).dropLast() { #expect(driver.send([byte]).name == "wait") }
    #expect(driver.send([2]).name == "reply")
    #expect(driver.flow.takeToClient() == [5, 0])
    #expect(driver.send(Self.request("RAW.example", 22)).name == "resolve")
    guard case .relay(up: true, down: true) = try driver.reachUpstream() else {
      Issue.record("the tunnel opens")
      return
    }
    #expect(driver.flow.takeToClient() == Self.reply(0))
  }

  @Test(arguments: [
    (request("nowhere.example", 22), UInt8(2), Reason.notAllowed), (request("bad.example", 443), 2, .deniedByRule),
    (request("a\0b.example", 22), 2, .badRequest), (request("0x7f.1", 22), 2, .badRequest),
    (request("", 22), 2, .badRequest), (request("raw.example", 0), 2, .badRequest),
    (request("raw.example", 22, command: 2), 7, .badRequest), (request("raw.example", 0, command: 3), 7, .badRequest),
    ([5, 1, 0, 9] as [UInt8], 8, .badRequest), ([5, 1, 0, 1, 93, 184, 216, 34, 0, 22], 2, .notAllowed),
  ])
  func aRefusalHasItsCode(bytes: [UInt8], code: UInt8, reason: Reason) throws {
    var driver = try Driver(policyText)
    _ = driver.send([5, 1, 0])
    _ = driver.flow.takeToClient()
    #expect(driver.send(bytes).name == "close")
    #expect(driver.flow.takeToClient() == Self.reply(code))
    #expect(driver.flow.takeOutcome()?.reason == reason)
  }

  @Test func noMethodIsNoWayIn() throws {
    for greeting in [[5, 1, 1], [5, 1, 0xff]] as [[UInt8]] {
      var driver = try Driver(policyText)
      #expect(driver.send(greeting).name == "close")
      #expect(driver.flow.takeToClient() == [5, 0xff])
    }
  }

  @Test func tlsInsideIsHeldToTheTarget() throws {
    var driver = try Driver(policyText)
    _ = driver.send([5, 1, 0])
    _ = driver.send(Self.request("tls.example", 443))
    _ = try driver.reachUpstream()
    _ = driver.flow.takeToClient()
    #expect(driver.send(Script.hello(name: "other.example")).name == "close")
    #expect(driver.flow.takeOutcome()?.reason == .sniMismatch)
  }

  @Test func socksIsSpokenToAProxyOnly() throws {
    var driver = try Driver(policyText, opening: try redirected(80))
    _ = driver.tell(.accepted)
    #expect(driver.send([5, 1, 0]).name == "close")
    #expect(driver.flow.takeOutcome()?.reason == .notTLS)
  }
}

@Suite struct ProxyHeaderFlowTests {
  private static let clients =
    policyText + """

      clients: [{name: near, source: [10.2.0.0/16], network_policy: {allow: ["near.example:443"]}}]
      """

  private static func header(_ command: UInt8 = 0x21) -> [UInt8] {
    [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, command, 0x11, 0, 12]
      + [10, 2, 0, 1, 93, 184, 216, 36, 0x90, 0, 1, 187]
  }

  @Test func theHeaderSaysWhoTheClientIs() throws {
    var driver = try Driver(Self.clients, expectsProxyHeader: true)
    let request = Array("CONNECT near.example:443 HTTP/1.1\r\nHost: near.example:443\r\n\r\n".utf8)
    for byte in Self.header() { #expect(driver.send([byte]).name == "wait") }
    #expect(driver.send(request).name == "resolve")
    #expect(driver.flow.client.name == "near")
  }

  @Test func itSaysWhereARedirectedConnectionWent() throws {
    var driver = try Driver(Self.clients, opening: try redirected(3129), expectsProxyHeader: true)
    #expect(driver.tell(.accepted).name == "wait")
    #expect(driver.send(Self.header() + Script.hello(name: "near.example")).name == "resolve")
    #expect(driver.flow.target?.port == 443)
  }

  /// It may have gone to an address that was made up for a name; then that name is the target.
  @Test func itSaysWhichNameAConnectionWentTo() throws {
    var driver = try Driver(Self.clients, opening: try redirected(3129), expectsProxyHeader: true)
    driver.madeUp[.v4(0x5DB8_D824)] = try HostName(parsing: Array("near.example".utf8).span)
    #expect(driver.tell(.accepted).name == "wait")
    #expect(driver.send(Self.header()).name == "resolve", "no byte of the client is needed")
    #expect(driver.flow.via == .address && driver.flow.target?.host.description == "near.example")
  }

  @Test func withoutItNothingIsRead() throws {
    var driver = try Driver(Self.clients, expectsProxyHeader: true)
    #expect(driver.send("CONNECT tls.example:443 HTTP/1.1\r\nHost: tls.example:443\r\n\r\n").name == "close")
    #expect(driver.flow.takeOutcome()?.reason == .badRequest)
  }

  @Test func othersMayNotSendIt() throws {
    var driver = try Driver(Self.clients)
    _ = driver.send(Self.header())
    #expect(driver.flow.takeOutcome()?.reason == .badRequest)
  }
}
