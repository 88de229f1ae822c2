// The registry of approvals: one entry per client and subject, bounds, ends, and what an approval lets out.

import FlowSimulation
import Policy
import PolicyFile
import Testing
import Wire

@testable import Flow

@Suite struct ApprovalTests {
  typealias Time = ApprovalRegistry.Time

  private static func time(_ ms: UInt64) -> Time { Time(ms: ms, unixMs: 1_800_000_000_000 + Int64(ms)) }

  private static func question(_ client: String, _ target: String) throws -> ApprovalQuestion {
    let subject = ApprovalSubject(try TestPolicy.target(target))
    return ApprovalQuestion(ApprovalKey(client: client, subject: subject), reason: .notAllowed, via: "connect")
  }

  private static func waiter(_ connection: UInt64, _ ordinal: UInt32 = 0) -> ApprovalWaiter {
    ApprovalWaiter(ApprovalWaiter.Seat(worker: 0, connection: connection), ordinal: ordinal)
  }

  private static func registry(waitMs: UInt64 = 1000, perClient: Int = 20) -> HeldRegistry {
    HeldRegistry(ApprovalRegistry(ApprovalRegistry.Settings(waitMs: waitMs, perClient: perClient), seed: 7))
  }

  private static func id(_ answer: ApprovalAnswer) -> String {
    switch answer {
    case .waiting(let id, _), .recorded(let id), .notApproved(let id): id
    case .full: ""
    }
  }

  @Test func oneEntryHoweverManyConnectionsAsk() throws {
    let registry = Self.registry()
    let question = try Self.question("a", "x.test:443")
    let first = registry.ask(question, by: Self.waiter(1), Self.time(0))
    #expect(first == .waiting(id: Self.id(first), untilMs: 1000))
    let second = registry.ask(question, by: Self.waiter(2), Self.time(500))
    #expect(second == .waiting(id: Self.id(first), untilMs: 1500))
    // The same request again is no further one.
    #expect(registry.ask(question, by: Self.waiter(1), Self.time(600)) == first)
    let other = registry.ask(try Self.question("b", "x.test:443"), by: Self.waiter(3), Self.time(0))
    #expect(Self.id(other) != Self.id(first))
    #expect(registry.entry(Self.id(first))?.count == 2 && registry.entry(Self.id(first))?.waiting == 2)
    #expect(registry.verdicts() == ["asked", "asked"])
  }

  @Test func theEntryGoesWithItsLastConnection() throws {
    let registry = Self.registry()
    let question = try Self.question("a", "x.test:443")
    let id = Self.id(registry.ask(question, by: Self.waiter(1), Self.time(0)))
    _ = registry.ask(question, by: Self.waiter(2), Self.time(0))
    registry.withdraw(Self.waiter(1).seat)
    #expect(registry.entry(id) != nil)
    registry.withdraw(Self.waiter(2).seat)
    #expect(registry.entry(id) == nil)
    #expect(registry.verdicts() == ["asked", "withdrawn"])
    #expect(registry.heldCount == 0)
  }

  @Test func whoWaitsIsRefusedWhenTheTimeIsOver() throws {
    let registry = Self.registry()
    let question = try Self.question("a", "x.test:443")
    let id = Self.id(registry.ask(question, by: Self.waiter(1), Self.time(0)))
    #expect(registry.ask(question, by: Self.waiter(1), Self.time(999)) == .waiting(id: id, untilMs: 1000))
    #expect(registry.ask(question, by: Self.waiter(1), Self.time(1000)) == .notApproved(id: id))
    #expect(registry.entry(id)?.state == .expired)
    // The next one asks again, under the same number: nobody has decided.
    #expect(registry.ask(question, by: Self.waiter(2), Self.time(2000)) == .waiting(id: id, untilMs: 3000))
    #expect(registry.verdicts() == ["asked", "expired", "asked"])
  }

  @Test func aRefusalHoldsForAWhileOrForGood() throws {
    let registry = Self.registry()
    let question = try Self.question("a", "x.test:443")
    let id = Self.id(registry.ask(question, by: Self.waiter(1), Self.time(0)))
    let refused = try registry.refuse(id, isAlways: false, by: "0 (root)", Self.time(10))
    #expect(refused.waiters == [Self.waiter(1)])
    #expect(registry.ask(question, by: Self.waiter(1), Self.time(11)) == .notApproved(id: id))
    #expect(registry.ask(question, by: Self.waiter(2), Self.time(60_009)) == .notApproved(id: id))
    let next = Self.id(registry.ask(question, by: Self.waiter(3), Self.time(60_010)))
    #expect(next != id)
    _ = try registry.refuse(next, isAlways: true, by: "0 (root)", Self.time(60_020))
    #expect(registry.ask(question, by: Self.waiter(3), Self.time(99_000_000)) == .notApproved(id: next))
    #expect(registry.value.takeEvents().last?.entry.decision?.by == "0 (root)")
    #expect(throws: ApprovalRegistry.Problem.self) {
      try registry.refuse("zzzzz", isAlways: false, by: "", Self.time(0))
    }
  }

  @Test func nothingWaitsWhereNobodyCouldAnswer() throws {
    let registry = Self.registry(waitMs: 0)
    let question = try Self.question("a", "x.test:443")
    let id = Self.id(registry.ask(question, by: Self.waiter(1), Self.time(0)))
    #expect(registry.ask(question, by: Self.waiter(2), Self.time(1)) == .recorded(id: id))
    #expect(registry.entry(id)?.state == .recorded && registry.entry(id)?.count == 2)
    #expect(registry.verdicts() == ["asked"])
  }

  @Test func tenThousandTargetsOfOneClientHideNobody() throws {
    for waitMs in [UInt64(1000), 0] {
      let registry = Self.registry(waitMs: waitMs)
      let other = Self.id(registry.ask(try Self.question("b", "mine.test:443"), by: Self.waiter(1), Self.time(0)))
      var full = 0
      for number in 0..<10_000 {
        let question = try Self.question("a", "x\(number).test:443")
        let answer = registry.ask(question, by: Self.waiter(UInt64(number) + 2), Self.time(UInt64(number)))
        if answer == .full { full += 1 }
        _ = registry.value.takeEvents()
      }
      #expect(full == (waitMs == 0 ? 0 : 9980))
      #expect(registry.list(of: "a").count == 20)
      #expect(registry.entry(other) != nil && registry.list().contains { $0.id == other })
      #expect(registry.heldCount < 200)
    }
  }

  // MARK: - Rules

  private static let policy = """
    network_policy:
      allow:
        - {host: api.test:443, methods: [GET], paths: ["/a/**"]}
        - host: open.test:443
      deny: ["*.evil.test:443"]
    clients:
      - {name: one, source: [10.1.0.0/16]}
      - {name: two, source: [10.2.0.0/16]}

    """

  private static func allows(_ policy: Policy, _ client: String, _ target: String, unix: Int64 = 1_800_000_000) throws
    -> String?
  {
    let network = try #require(policy.client(named: client)).network
    guard case .allow(let rule) = network.judge(try TestPolicy.target(target), nowUnix: unix) else { return nil }
    return "\(rule.line)"
  }

  @Test func anApprovalAllowsItsRuleForItsClientForItsTime() throws {
    let registry = Self.registry()
    let base = try SimulationTests.policy(Self.policy)
    let id = Self.id(registry.ask(try Self.question("one", "x.test:443"), by: Self.waiter(1), Self.time(0)))
    _ = try registry.approve(id, .seconds(60), by: "0 (root)", Self.time(0))
    let policy = base.approving(registry.rules)
    #expect(try Self.allows(policy, "one", "x.test:443") == "approval:\(id)")
    for (client, target) in [
      ("two", "x.test:443"), ("one", "x.test:80"), ("one", "y.x.test:443"), ("default", "x.test:443"),
    ] {
      #expect(try Self.allows(policy, client, target) == nil)
    }
    #expect(try Self.allows(policy, "one", "x.test:443", unix: 1_800_000_059) != nil)
    // As if it had never been: not `expired`, which no person could lift.
    let over = try #require(policy.client(named: "one")).network.judge(
      try TestPolicy.target("x.test:443"), nowUnix: 1_800_000_060)
    guard case .refuse(let reason, let line) = over else { throw TestPolicy.NotAllowed(target: "x.test") }
    #expect(reason == .notAllowed && line == nil)
    #expect(!registry.endRules(Self.time(59_999)))
    #expect(registry.endRules(Self.time(60_000)))
    #expect(try Self.allows(policy.approving(registry.rules), "one", "x.test:443") == nil)
    // The clients that have nothing approved are the very same.
    #expect(policy.client(named: "two") === base.client(named: "two"))
  }

  @Test func anApprovalForOnceIsForSoManyRequestsAsWaited() throws {
    let registry = Self.registry()
    let question = try Self.question("one", "x.test:443")
    let id = Self.id(registry.ask(question, by: Self.waiter(1), Self.time(0)))
    _ = registry.ask(question, by: Self.waiter(2), Self.time(0))
    _ = try registry.approve(id, .once, by: "0 (root)", Self.time(0))
    let policy = try SimulationTests.policy(Self.policy).approving(registry.rules)
    let network = try #require(policy.client(named: "one")).network
    var verdicts: [Bool] = []
    for payment in [JudgedRequest.Payment.due, .due, .due, .paid] {
      var request = JudgedRequest(
        .tunnel, target: question.key.subject.target, rules: .policy(network), isReportOnly: false)
      request.payment = payment
      let moment = Moment(nowMs: 0, nowNs: 0, unixSeconds: 1_800_000_000)
      if case .allow = Judge.judge(request, RequestLine(), moment).verdict {
        verdicts.append(true)
      } else {
        verdicts.append(false)
      }
    }
    // What was let out stays out on a reload.
    #expect(verdicts == [true, true, false, true])
  }

  @Test func aWiderRuleMustCoverWhatWasAskedFor() throws {
    let registry = Self.registry()
    let id = Self.id(registry.ask(try Self.question("one", "a.x.test:443"), by: Self.waiter(1), Self.time(0)))
    let narrow = try PolicyFile.rule("b.x.test:443", nowUnix: 0)
    #expect(throws: ApprovalRegistry.Problem.self) {
      try registry.approve(id, .session, rule: narrow, by: "0", Self.time(0))
    }
    _ = try registry.approve(id, .session, rule: PolicyFile.rule("*.x.test:443", nowUnix: 0), by: "0", Self.time(0))
    let policy = try SimulationTests.policy(Self.policy).approving(registry.rules)
    #expect(try Self.allows(policy, "one", "b.x.test:443") != nil)
    #expect(try Self.allows(policy, "one", "a.evil.test:443") == nil)
  }

  @Test func aSessionEndsWithTheLastConnectionOrTheSandbox() throws {
    let registry = Self.registry()
    let id = Self.id(registry.ask(try Self.question("one", "x.test:443"), by: nil, Self.time(0)))
    _ = try registry.approve(id, .session, by: "0", Self.time(0))
    // Nobody has been there yet.
    #expect(!registry.endRules(live: [], Self.time(1)))
    #expect(!registry.endRules(live: ["one"], Self.time(2)))
    #expect(registry.endRules(live: ["two"], Self.time(3)))
    let next = Self.id(registry.ask(try Self.question("two", "x.test:443"), by: nil, Self.time(4)))
    _ = try registry.approve(next, .session, by: "0", Self.time(4))
    #expect(registry.endSession(of: "two") && registry.rules.isEmpty)
  }

  @Test func oneMethodAndPathMoreIsExactlyThat() throws {
    let registry = Self.registry()
    let target = try TestPolicy.target("api.test:443")
    let request = ApprovalSubject.Request(method: "POST", path: "/b")
    let question = ApprovalQuestion(
      ApprovalKey(client: "one", subject: ApprovalSubject(target, request: request)), reason: .methodRefused,
      via: "connect")
    let id = Self.id(registry.ask(question, by: Self.waiter(1), Self.time(0)))
    _ = try registry.approve(id, .session, by: "0", Self.time(0))
    let policy = try SimulationTests.policy(Self.policy).approving(registry.rules)
    let network = try #require(policy.client(named: "one")).network
    guard case .allow(let rule) = network.judge(target, nowUnix: 0) else {
      throw TestPolicy.NotAllowed(target: "api.test")
    }
    func allows(_ method: String, _ path: String) -> Bool {
      var asked = JudgedRequest(.inspected, target: target, rules: .rule(rule), isReportOnly: false)
      asked.named = target
      var line = RequestLine()
      line.keep(method: Array(method.utf8).span, path: Array(path.utf8).span)
      let judgement = Judge.judge(asked, line, Moment(nowMs: 0, nowNs: 0, unixSeconds: 0))
      guard case .allow = judgement.verdict else { return false }
      #expect((judgement.approvedBy == nil) == (method == "GET"))
      return true
    }
    #expect(allows("POST", "/b") && allows("POST", "/b?x=1") && allows("GET", "/a/1"))
    for (method, path) in [
      ("GET", "/b"), ("POST", "/b/c"), ("POST", "/a/1"), ("PUT", "/b"), ("POST", "/b?_method=DELETE"),
    ] {
      #expect(!allows(method, path), "\(method) \(path)")
    }
  }
}

/// The registry as an object, so that its changes can stand in an expectation.
private final class HeldRegistry {
  var value: ApprovalRegistry

  init(_ value: ApprovalRegistry) { self.value = value }

  func ask(_ question: ApprovalQuestion, by waiter: ApprovalWaiter?, _ now: ApprovalRegistry.Time) -> ApprovalAnswer {
    value.ask(question, by: waiter, now)
  }

  func approve(
    _ id: String, _ grant: ApprovalGrant, rule: AllowSpec? = nil, by: String, _ now: ApprovalRegistry.Time
  ) throws -> ApprovalEntry { try value.approve(id, grant, rule: rule, by: by, now) }

  func refuse(
    _ id: String, isAlways: Bool, by: String, _ now: ApprovalRegistry.Time
  ) throws -> (entry: ApprovalEntry, waiters: [ApprovalWaiter]) {
    try value.refuse(id, isAlways: isAlways, by: by, now)
  }

  func withdraw(_ seat: ApprovalWaiter.Seat) { value.withdraw(seat) }
  func endRules(live: Set<String>? = nil, _ now: ApprovalRegistry.Time) -> Bool { value.endRules(live: live, now) }
  func endSession(of client: String) -> Bool { value.endSession(of: client) }
  func verdicts() -> [String] { value.takeEvents().map(\.verdict.rawValue) }
  func entry(_ id: String) -> ApprovalEntry? { value.entry(id) }
  func list(of client: String? = nil) -> [ApprovalEntry] { value.list(of: client) }
  var heldCount: Int { value.heldCount }
  var rules: [String: [ApprovedRule]] { value.rules }
}

/// Random requests, decisions, and time: what holds after each step.
@Suite struct ApprovalSimulation {
  @Test(arguments: [UInt64(1), 2, 3, 4, 5, 6, 7, 8])
  func holdsAfterEachStep(_ seed: UInt64) throws {
    var random = SeededNumbers(state: seed)
    var registry = ApprovalRegistry(ApprovalRegistry.Settings(waitMs: 500, perClient: 3), seed: seed)
    var nowMs: UInt64 = 0
    var held: Set<ApprovalWaiter> = []
    for step in 0..<3000 {
      nowMs += random.below(40)
      let now = ApprovalRegistry.Time(ms: nowMs, unixMs: Int64(nowMs))
      let waiter = ApprovalWaiter(
        ApprovalWaiter.Seat(worker: Int(random.below(2)), connection: random.below(12)),
        ordinal: UInt32(random.below(2)))
      switch random.below(8) {
      case 0...3:
        let target = try TestPolicy.target("x\(random.below(6)).test:443")
        let key = ApprovalKey(client: "c\(random.below(3))", subject: ApprovalSubject(target))
        let answer = registry.ask(ApprovalQuestion(key, reason: .notAllowed, via: "connect"), by: waiter, now)
        if case .waiting(let id, let untilMs) = answer {
          held.insert(waiter)
          #expect(untilMs > nowMs && registry.entry(id)?.key == key, "seed \(seed), step \(step)")
        } else {
          held.remove(waiter)
        }
      case 4:
        registry.withdraw(waiter.seat)
        held = held.filter { $0.seat != waiter.seat }
      case 5:
        guard let entry = registry.list().first(where: { $0.state == .waiting }) else { break }
        if random.below(2) == 0 {
          _ = try registry.approve(entry.id, .seconds(Int(1 + random.below(3))), by: "0", now)
          registry.delivered(entry.id)
        } else {
          // Of an entry that was asked again, the later one is to be refused.
          _ = try? registry.refuse(entry.id, isAlways: false, by: "0", now)
        }
      case 6: _ = registry.endRules(now)
      default: _ = registry.takeEvents()
      }
      try check(registry, held, now, "seed \(seed), step \(step)")
    }
  }

  private func check(
    _ registry: ApprovalRegistry, _ held: Set<ApprovalWaiter>, _ now: ApprovalRegistry.Time, _ place: String
  ) throws {
    let entries = registry.list()
    #expect(entries.reduce(0) { $0 + $1.waiting } <= held.count, "\(place)")
    for (client, own) in Dictionary(grouping: entries, by: \.key.client) {
      #expect(own.count { $0.state == .waiting } <= 3, "\(place): \(client)")
      let open = own.filter { $0.state != .approved && $0.state != .refused }
      #expect(Set(open.map(\.key)).count == open.count, "\(place): \(client) has two entries for one target")
    }
    for entry in entries where entry.state == .waiting {
      #expect(entry.waiting > 0, "\(place): nobody waits for \(entry.id)")
    }
    for (client, rules) in registry.rules {
      for rule in rules {
        #expect(registry.entry(rule.id)?.key.client == client, "\(place): a rule without an approval")
      }
    }
  }
}

private struct SeededNumbers {
  var state: UInt64

  mutating func below(_ count: UInt64) -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (state >> 33) % count
  }
}
