// A reload in each state before a tunnel stands: what was decided under the old policy is not carried out against the new.

import Flow
import FlowSimulation
import Policy
import Testing
import Wire

private func policy(_ rule: String, _ more: String = "") throws -> Policy {
  try SimulationTests.policy("network_policy: {allow: [\(rule)]\(more)}")
}

private func connect(_ target: String) -> String { "CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n\r\n" }

@Suite struct ReloadTests {
  private static let first = IPAddress.v4(0x5DB8_D822)
  private static let second = IPAddress.v4(0x5DB8_D823)
  private static let narrow = #"{host: "tls.example:443", addresses: [198.41.0.4]}"#

  private static func dialling() throws -> Driver {
    var driver = try Driver(try policy(#""tls.example:443""#))
    _ = driver.send(connect("tls.example:443"))
    _ = driver.tell(.answered(NameAnswer(family: .v6, addresses: [])))
    guard case .connect(first, port: 443) = driver.tell(.answered(NameAnswer(family: .v4, addresses: [first, second])))
    else {
      Issue.record("the first address is tried")
      return driver
    }
    driver.conditions.policy = try policy(narrow)
    #expect(driver.tell(.policyReplaced).name == "wait")
    return driver
  }

  @Test func anAttemptUnderWayIsHeldToTheNewRule() throws {
    var driver = try Self.dialling()
    #expect(driver.tell(.connected(dialled: Self.first, peer: Self.first)).name == "close")
    #expect(driver.flow.takeOutcome()?.reason == .addressRefused)
  }

  @Test func anAddressThatTheNewRuleRefusesIsNotTried() throws {
    var driver = try Self.dialling()
    driver.pass(ms: 300)
    #expect(driver.tell(.deadlinePassed).name == "wait")
    #expect(driver.tell(.attemptFailed(code: 111)).name == "close")
  }

  @Test func aPlainRequestThatIsPacedIsHeldToTLS() throws {
    let limit = #", rate_limits: [{host: "*", requests_per_minute: 60, burst: 1, on_limit: pace}]"#
    let old = try policy(#""web.example:80""#, limit)
    let opening = Opening.redirected(to: Self.first, port: 80, name: nil)
    for isSecond in [false, true] {
      var driver = try Driver(old, opening: opening)
      _ = driver.tell(.accepted)
      let action = driver.send("GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
      guard isSecond else { continue }
      #expect(action.name == "wait" && driver.flow.state.isPacing)
      driver.conditions.policy = try policy(#"{host: "web.example:80", protocol: tls}"#)
      #expect(driver.tell(.policyReplaced).name == "close")
      #expect(driver.flow.takeOutcome()?.reason == .notTLS)
    }
  }

  @Test func aTunnelThatIsNotKnownToBeTLSIsCutByARuleThatWantsIt() throws {
    for (sent, name) in [(Array("SSH-2.0-x\r\n".utf8), "close"), (Script.hello(name: "any.example"), "wait")] {
      var driver = try Driver(try policy(#""any.example:8443""#))
      _ = driver.send(connect("any.example:8443"))
      #expect(try driver.reachUpstream().name == "relay")
      #expect(driver.send(sent).name == "relay")
      driver.conditions.policy = try policy(#"{host: "any.example:8443", protocol: tls}"#)
      #expect(driver.tell(.policyReplaced).name == name)
      let outcome = driver.flow.takeOutcome()
      #expect((outcome?.event == .revoked && outcome?.reason == .notTLS) == (name == "close"))
    }
  }

  @Test func aTunnelThatHasNotOpenedYetIsHeldToTheNewProtocol() throws {
    var driver = try Driver(try policy(#""any.example:8443""#))
    _ = driver.send(connect("any.example:8443"))
    _ = try driver.reachUpstream()
    driver.conditions.policy = try policy(#"{host: "any.example:8443", protocol: tls}"#)
    #expect(driver.tell(.policyReplaced).name == "wait" && driver.flow.state.isReadingHello)
    #expect(driver.send("SSH-2.0-x\r\n").name == "close")
    #expect(driver.flow.takeOutcome()?.reason == .notTLS)
  }

  @Test func anExchangeEndsWhenItsNewRuleExpires() throws {
    var driver = try Driver(try policy(#""web.example:80""#))
    _ = driver.send("GET http://web.example/ HTTP/1.1\r\nHost: web.example\r\n\r\n")
    #expect(try driver.reachUpstream().name == "sendRequest")
    driver.conditions.policy = try policy(#"{host: "web.example:80", expires: "2027-01-15T08:01:00Z"}"#)
    #expect(driver.tell(.policyReplaced).name == "wait")
    #expect(driver.flow.deadlineMs == driver.conditions.nowMs + 60_000)
    driver.pass(ms: 60_000)
    #expect(driver.tell(.deadlinePassed).name == "close")
    let outcome = driver.flow.takeOutcome()
    #expect(outcome?.event == .revoked && outcome?.reason == .expired)
  }
}

@Suite struct IdentityReloadTests {
  private static func policy(_ hash: String?) throws -> Policy {
    let target = try TestPolicy.target("raw.example:22")
    var spec = NetworkSpec(line: SourceLine(file: "t", line: 1))
    spec.allow = [
      AllowSpec(line: spec.line, pattern: .exact(target.host), ports: PortSet([target.port...target.port]))
    ]
    var client = ClientSpec(name: "agent", network: spec)
    client.proxyUser = Array("agent".utf8)
    client.passwordHash = hash.map { Array($0.utf8) }
    return Policy(hash: "t", settings: Settings(), network: spec, clients: hash == nil ? [] : [client])
  }

  private static let request: [UInt8] = [5, 1, 0, 3, 11] + Array("raw.example".utf8) + [0, 22]
  private static let password: [UInt8] = [1, 5] + Array("agent".utf8) + [1, 0x78]

  @Test func aClientWhosePasswordIsBeingVerifiedIsNotRefused() throws {
    var driver = try Driver(try Self.policy("$6$one"))
    _ = driver.send([5, 1, 2])
    #expect(driver.send(Self.password).name == "authenticate")
    driver.conditions.policy = try Self.policy("$6$one")
    #expect(driver.tell(.policyReplaced).name == "wait")
    #expect(driver.tell(.authenticated(true)).name == "reply")
    #expect(driver.send(Self.request).name == "resolve")
  }

  @Test func anOldPasswordDoesNotOutliveAReload() throws {
    var driver = try Driver(try Self.policy("$6$one"))
    let credentials = "Proxy-Authorization: Basic YWdlbnQ6eA==\r\n\r\n"
    #expect(
      driver.send(connect("raw.example:22").replacing("\r\n\r\n", with: "\r\n") + credentials).name == "authenticate")
    driver.conditions.policy = try Self.policy("$6$two")
    #expect(driver.tell(.policyReplaced).name == "close")
    let reply = driver.replyText()
    #expect(reply.hasPrefix("HTTP/1.1 407 Proxy Authentication Required: not_authenticated\r\n"))
    #expect(!reply.contains("policy_line"))
    #expect(driver.flow.takeOutcome()?.reason == .notAuthenticated)
    #expect(driver.tell(.authenticated(true)).name == "wait")
  }

  @Test func aPasswordThatIsWantedSinceTheGreetingIsWantedOfTheRequest() throws {
    var driver = try Driver(try Self.policy(nil))
    _ = driver.send([5, 1, 0])
    _ = driver.flow.takeToClient()
    driver.conditions.policy = try Self.policy("$6$one")
    #expect(driver.tell(.policyReplaced).name == "wait")
    #expect(driver.send(Self.request).name == "close")
    #expect(driver.flow.takeToClient() == [5, 2, 0, 1, 0, 0, 0, 0, 0, 0])
  }
}

@Suite struct OperatorTests {
  @Test func whatIsLetOutIsCutAndWhatIsNotYetIsRefused() throws {
    let rule = #"{host: "raw.example:22", protocol: tcp}"#
    var open = try Driver(try policy(rule))
    _ = open.send(connect("raw.example:22"))
    #expect(try open.reachUpstream().name == "relay")
    guard case .close(.cut) = open.tell(.operatorCloses) else {
      Issue.record("a tunnel is cut")
      return
    }
    let cut = open.flow.takeOutcome()
    #expect(cut?.event == .revoked && cut?.reason == .shutdown && cut?.line?.line == 1)
    var dialling = try Driver(try policy(rule))
    _ = dialling.send(connect("raw.example:22"))
    let isLetOut = dialling.flow.isLetOut
    #expect(isLetOut)
    #expect(dialling.tell(.operatorCloses).name == "close")
    #expect(dialling.replyText().hasPrefix("HTTP/1.1 503 "))
    let refused = dialling.flow.takeOutcome()
    #expect(refused?.event == .denied && refused?.reason == .shutdown)
  }

  @Test func whatHasNoTargetIsLeftAlone() throws {
    var driver = try Driver(try policy(#""a.example:80""#))
    #expect(driver.tell(.operatorCloses).name == "wait" && driver.flow.state.isReadingHead)
    _ = driver.send(connect("b.example:80"))
    #expect(driver.tell(.operatorCloses).name == "wait")
  }
}
