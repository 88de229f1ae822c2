// Questions about content in the registry: who gets a decision, how often it counts, and what is left when it is over.

import FlowSimulation
import Policy
import Testing
import Wire

@testable import Flow

@Suite struct ContentReviewTests {
  typealias Time = ApprovalRegistry.Time

  private static func time(_ ms: UInt64) -> Time { Time(ms: ms, unixMs: 1_800_000_000_000 + Int64(ms)) }

  private static func registry(waitMs: UInt64 = 1000, perClient: Int = 20) -> ReviewRegistry {
    ReviewRegistry(ApprovalRegistry(ApprovalRegistry.Settings(waitMs: waitMs, perClient: perClient), seed: 7))
  }

  /// Of passages whose digests are these.
  private static func question(
    _ digests: [Int], target: String = "x.test:443", client: String = "a",
    choices: [ReviewDecision] = [.release, .mark]
  ) throws -> ApprovalQuestion {
    let subject = ApprovalSubject(
      try TestPolicy.target(target), content: FlaggedContent(.answer, digest: digests.last ?? 0))
    let passage = ReviewSheet.Passage(pattern: "p", layer: "plain", before: [], text: [0x61], after: [])
    let sheet = ReviewSheet(
      path: "/", place: "answer", found: ["p"], passages: [passage], choices: choices, digests: digests)
    return ApprovalQuestion(
      ApprovalKey(client: client, subject: subject), reason: .contentRefused, via: "tls", sheet: sheet)
  }

  private static func waiter(_ connection: UInt64) -> ApprovalWaiter {
    ApprovalWaiter(ApprovalWaiter.Seat(worker: 0, connection: connection), ordinal: 1)
  }

  private static func id(_ answer: ReviewAnswer) -> String {
    switch answer {
    case .waiting(let id, _): id
    case .refused(let id): id ?? "none"
    case .decided: "decided"
    }
  }

  @Test func thoseWhoWaitGetTheDecisionAndNobodyElse() throws {
    let registry = Self.registry()
    let question = try Self.question([1])
    let id = Self.id(registry.review(question, by: Self.waiter(1), Self.time(0)))
    #expect(registry.review(question, by: Self.waiter(2), Self.time(1)) == .waiting(id: id, untilMs: 1001))
    #expect(try registry.decide(id, .mark, Self.time(2)) == [Self.waiter(1), Self.waiter(2)])
    // Who comes between is asked about anew.
    let other = Self.id(registry.review(question, by: Self.waiter(3), Self.time(3)))
    #expect(other != id)
    #expect(registry.review(question, by: Self.waiter(1), Self.time(3)) == .decided(.mark))
    #expect(registry.review(question, by: Self.waiter(2), Self.time(3)) == .decided(.mark))
    #expect(registry.review(question, by: Self.waiter(3), Self.time(3)) == .waiting(id: other, untilMs: 1003))
    registry.value.withdraw(Self.waiter(3))
    #expect(registry.value.takeEvents().map(\.verdict) == [.asked, .approved, .asked, .withdrawn])
  }

  @Test func aDecisionThatNobodyWaitsForIsForTheNextOne() throws {
    let registry = Self.registry()
    let question = try Self.question([1, 2])
    let id = Self.id(registry.review(question, by: nil, Self.time(0)))
    #expect(registry.value.entry(id)?.state == .recorded)
    #expect(try registry.decide(id, .release, Self.time(1)) == [])
    // Only the first of its passages have come: they pass, and the decision is not used up.
    #expect(try registry.review(Self.question([1]), by: nil, Self.time(2)) == .decided(.release))
    // Another client, another host, other passages.
    for other in [
      try Self.question([1, 2], client: "b"), try Self.question([1, 2], target: "y.test:443"), try Self.question([3]),
    ] {
      #expect(Self.id(registry.review(other, by: nil, Self.time(2))) != id)
    }
    #expect(registry.review(question, by: nil, Self.time(2)) == .decided(.release))
    #expect(Self.id(registry.review(question, by: nil, Self.time(2))) != id)
  }

  @Test func aDecisionIsOverWhenNobodyComes() throws {
    let registry = Self.registry()
    let question = try Self.question([1])
    let id = Self.id(registry.review(question, by: Self.waiter(1), Self.time(0)))
    #expect(registry.review(question, by: Self.waiter(1), Self.time(1000)) == .refused(id: id))
    #expect(registry.value.entry(id)?.state == .expired)
    _ = try registry.decide(id, .release, Self.time(1001))
    let late = registry.review(question, by: Self.waiter(2), Self.time(1001 + ApprovalRegistry.onceMs))
    #expect(Self.id(late) != id)
  }

  @Test func whoLeavesTakesItsPlaceAlong() throws {
    let registry = Self.registry()
    let question = try Self.question([1])
    let id = Self.id(registry.review(question, by: Self.waiter(1), Self.time(0)))
    _ = try registry.decide(id, .release, Self.time(1))
    registry.value.withdraw(Self.waiter(1))
    #expect(Self.id(registry.review(question, by: Self.waiter(2), Self.time(2))) != id)
  }

  @Test func contentIsNoWayOutAndAWayOutNoContent() throws {
    let registry = Self.registry()
    let id = try Self.id(registry.review(Self.question([1], choices: [.release]), by: Self.waiter(1), Self.time(0)))
    #expect(throws: ApprovalRegistry.Problem.self) {
      try registry.value.approve(id, .session, by: "", Self.time(1))
    }
    #expect(throws: ApprovalRegistry.Problem.self) { try registry.decide(id, .remove, Self.time(1)) }
    #expect(registry.value.entry(id)?.state == .waiting && registry.value.rules.isEmpty)
    let target = ApprovalSubject(try TestPolicy.target("x.test:443"))
    let way = ApprovalQuestion(ApprovalKey(client: "a", subject: target), reason: .notAllowed, via: "tls")
    guard case .waiting(let other, _) = registry.value.ask(way, by: Self.waiter(2), Self.time(1)) else {
      Issue.record("it waits")
      return
    }
    #expect(throws: ApprovalRegistry.Problem.self) { try registry.decide(other, .release, Self.time(1)) }
    // A policy that is put in force does not ask about content again.
    _ = try registry.decide(id, .release, Self.time(2))
    #expect(registry.value.undelivered == [])
    #expect(registry.value.entry(id)?.sheet?.passages.isEmpty == true)
  }

  @Test func aRefusalHoldsForAWhile() throws {
    let registry = Self.registry()
    let question = try Self.question([1])
    let id = Self.id(registry.review(question, by: Self.waiter(1), Self.time(0)))
    let refused = try registry.value.refuse(id, isAlways: false, by: "", Self.time(1))
    #expect(refused.waiters == [Self.waiter(1)])
    #expect(registry.review(question, by: Self.waiter(1), Self.time(2)) == .refused(id: id))
    #expect(registry.review(question, by: Self.waiter(2), Self.time(3)) == .refused(id: id))
  }

  @Test func aClientHasAsManyAsItMayHave() throws {
    let registry = Self.registry(perClient: 2)
    for number in 0..<1000 {
      let answer = try registry.review(
        Self.question([number]), by: Self.waiter(UInt64(number)), Self.time(UInt64(number)))
      #expect((answer == .refused(id: nil)) == (number > 1))
      _ = try registry.review(Self.question([-1 - number]), by: nil, Self.time(UInt64(number)))
      _ = registry.value.takeEvents()
    }
    #expect(registry.value.list(of: "a").count <= 4 && registry.value.heldCount < 30)
  }

  @Test func aPathShowsNoValues() {
    let shapes = [
      ("/a/b?token=1", "/a/b"), ("/users/81927364/x", "/users/*/x"), ("/v1.2/report", "/v1.2/report"),
      ("/ghp_0123456789abcdefghijABCDEFGHIJ012345", "/*"), ("/me@x.example", "/*"), ("/", "/"),
    ]
    for (path, shape) in shapes { #expect(ReviewSheet.shape(Array(path.utf8)) == shape) }
  }
}

/// A registry that calls may change inside of an expectation.
private final class ReviewRegistry {
  var value: ApprovalRegistry

  init(_ value: ApprovalRegistry) { self.value = value }

  func review(_ question: ApprovalQuestion, by waiter: ApprovalWaiter?, _ now: ApprovalRegistry.Time) -> ReviewAnswer {
    value.review(question, by: waiter, now)
  }

  func decide(_ id: String, _ decision: ReviewDecision, _ now: ApprovalRegistry.Time) throws -> [ApprovalWaiter] {
    try value.decide(id, decision, by: "0 (root)", now).waiters.sorted { $0.seat.connection < $1.seat.connection }
  }
}
