// A request that no rule settles waits for a person: nothing is looked up, dialled or read before it is let out.

import Flow
import Policy
import PolicyFile
import Testing
import Wire

@Suite struct AwaitApprovalTests {
  private static let policy = """
    network_policy:
      allow: [{host: api.test:80, methods: [GET]}]
      deny: ["evil.test:443"]
    approvals: {wait_seconds: 5}

    """

  private static func approved(_ target: String) throws -> Policy {
    let asked = try TestPolicy.target(target)
    let rule = ApprovedRule(id: "abcde", scope: ApprovalSubject(asked).scope)
    let loaded = PolicyFile.parse(bytes: Array(policy.utf8), name: "policy.yaml")
    return try #require(loaded.policy).approving(["default": [rule]])
  }

  private static func question(_ action: Action) throws -> ApprovalQuestion {
    guard case .askApproval(let question) = action else { throw Unexpected(action: "\(action)") }
    return question
  }

  private struct Unexpected: Error { let action: String }

  private static let connect = "CONNECT x.test:443 HTTP/1.1\r\nHost: x.test:443\r\n\r\n"
  private static let waiting = Event.approval(.waiting(id: "abcde", untilMs: 1_005_000))

  @Test func aConnectWaitsAndGoesThroughOnTheSameConnection() throws {
    var driver = try Driver(Self.policy)
    let question = try Self.question(driver.send(Self.connect))
    #expect(question.key.client == "default" && "\(question.key.subject.target)" == "x.test:443")
    #expect(question.reason == .notAllowed)
    guard case .wait = driver.tell(Self.waiting) else { throw Unexpected(action: "") }
    #expect(
      driver.flow.state.isAwaiting && !driver.flow.state.wantsClientBytes && driver.flow.deadlineMs == 1_005_000)
    driver.conditions.policy = try Self.approved("x.test:443")
    guard case .resolve(let name) = driver.tell(.policyReplaced) else { throw Unexpected(action: "") }
    #expect("\(name)" == "x.test" && "\(driver.flow.rule?.line.description ?? "")" == "approval:abcde")
  }

  @Test func aReloadThatSettlesNothingAsksOn() throws {
    var driver = try Driver(Self.policy)
    _ = driver.send(Self.connect)
    _ = driver.tell(Self.waiting)
    driver.conditions.policy = try Self.approved("other.test:443")
    let question = try Self.question(driver.tell(.policyReplaced))
    #expect("\(question.key.subject.target)" == "x.test:443")
    guard case .wait = driver.tell(Self.waiting) else { throw Unexpected(action: "") }
  }

  @Test func aReloadThatDeniesSettlesIt() throws {
    var driver = try Driver(Self.policy)
    _ = driver.send(Self.connect)
    _ = driver.tell(Self.waiting)
    let denying = Self.policy.replacing("evil.test", with: "x.test")
    driver.conditions.policy = try #require(PolicyFile.parse(bytes: Array(denying.utf8), name: "p").policy)
    guard case .close = driver.tell(.policyReplaced) else { throw Unexpected(action: "") }
    let outcome = driver.flow.takeOutcome()
    #expect(outcome?.reason == .deniedByRule)
  }

  @Test(arguments: [
    (ApprovalAnswer.notApproved(id: "abcde"), Reason.notApproved), (.recorded(id: "abcde"), .notAllowed),
  ])
  func whatIsNotApprovedIsRefusedWithItsNumber(_ answer: ApprovalAnswer, _ reason: Reason) throws {
    var driver = try Driver(Self.policy)
    _ = driver.send(Self.connect)
    guard case .close = driver.tell(.approval(answer)) else { throw Unexpected(action: "") }
    let outcome = driver.flow.takeOutcome()
    #expect(outcome?.reason == reason)
    let reply = driver.replyText()
    #expect(reply.hasPrefix("HTTP/1.1 403 Denied by egress policy: \(reason.rawValue)\r\n"))
    #expect(reply.contains(#""request_id":"abcde""#))
  }

  @Test func theRegistryIsAskedAgainWhenTheTimeIsOver() throws {
    var driver = try Driver(Self.policy)
    _ = driver.send(Self.connect)
    _ = driver.tell(Self.waiting)
    driver.pass(ms: 5000)
    _ = try Self.question(driver.tell(.deadlinePassed))
  }

  @Test func aClientThatLeavesIsNotWaitedFor() throws {
    for event in [Event.clientLeft, .clientReset] {
      var driver = try Driver(Self.policy)
      _ = driver.send(Self.connect)
      _ = driver.tell(Self.waiting)
      guard case .close(.cut) = driver.tell(event) else { throw Unexpected(action: "") }
      #expect(driver.flow.state.isEnded)
    }
  }

  /// A person lifts nothing that a rule settles, or that no rule could.
  @Test(arguments: ["evil.test:443", "127.0.0.1:3128", "169.254.169.254:80", "0.0.0.0:80"])
  func whatIsSettledAsksNobody(_ target: String) throws {
    var driver = try Driver(Self.policy)
    guard case .close = driver.send("CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n\r\n") else {
      throw Unexpected(action: target)
    }
  }

  @Test func withoutTheKeyNobodyIsAsked() throws {
    var driver = try Driver("network_policy: {default: deny}\n")
    guard case .close = driver.send(Self.connect) else { throw Unexpected(action: "") }
  }

  @Test func aPlainRequestAsksForItsMethodAndPath() throws {
    var driver = try Driver(Self.policy)
    let request = "POST http://api.test/a?b=c HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n"
    let question = try Self.question(driver.send(request))
    #expect(question.key.subject.request == ApprovalSubject.Request(method: "POST", path: "/a"))
    #expect(question.reason == .methodRefused)
  }

  /// Whatever could be read in two ways, or stands for more than itself, is refused as usual.
  @Test(arguments: ["/a*", "/a%2Fb", "/a?_method=DELETE", "/" + String(repeating: "a", count: 600)])
  func whatCouldNotBeApprovedExactlyAsksNobody(_ path: String) throws {
    var driver = try Driver(Self.policy)
    let action = driver.send("POST http://api.test\(path) HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n")
    if case .askApproval = action { throw Unexpected(action: path) }
  }
}
