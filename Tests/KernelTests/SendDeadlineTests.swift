// How long a peer may leave bytes untaken.

import Testing

@testable import Kernel

@Suite struct SendDeadlineTests {
  private static let patienceMs = SendDeadline.patienceMs

  private static func holds(_ deadline: inout SendDeadline, at nowMs: UInt64, taken: Int, waits: Bool = true) -> Bool {
    deadline.holds(whileWaiting: waits, patienceMs: patienceMs, nowMs: nowMs) { taken }
  }

  @Test func aPeerThatTakesNothingIsGivenUp() {
    var deadline = SendDeadline()
    #expect(Self.holds(&deadline, at: 100, taken: 5))
    #expect(deadline.dueMs == 100 + Self.patienceMs)
    #expect(Self.holds(&deadline, at: 99 + Self.patienceMs, taken: 5))
    #expect(!Self.holds(&deadline, at: 100 + Self.patienceMs, taken: 5))
  }

  @Test func aByteNowAndThenIsNoProgressAndASlowReaderIs() {
    var deadline = SendDeadline()
    var nowMs: UInt64 = 0
    #expect(Self.holds(&deadline, at: nowMs, taken: 0))
    for round in 1...100 {
      nowMs += Self.patienceMs
      #expect(Self.holds(&deadline, at: nowMs, taken: round * 4096))
      #expect(deadline.dueMs > nowMs, "a deadline that has passed would make the timer spin")
    }
    #expect(!Self.holds(&deadline, at: nowMs + Self.patienceMs, taken: 100 * 4096 + 10))
  }

  @Test func nothingIsWaitedForWhereNothingWaits() {
    var deadline = SendDeadline()
    #expect(Self.holds(&deadline, at: 0, taken: 0))
    #expect(Self.holds(&deadline, at: 5, taken: 0, waits: false))
    #expect(deadline.dueMs == .max)
    // What waits later has all of its time.
    #expect(Self.holds(&deadline, at: 2 * Self.patienceMs, taken: 0))
    #expect(deadline.dueMs == 3 * Self.patienceMs)
  }

  /// A session behind the connection ends, and another one begins: neither starts the time anew.
  @Test func aPatienceThatChangesDoesNotRenewIt() {
    var deadline = SendDeadline()
    func holds(_ patienceMs: UInt64, at nowMs: UInt64) -> Bool {
      deadline.holds(whileWaiting: true, patienceMs: patienceMs, nowMs: nowMs) { 0 }
    }
    #expect(holds(1_000, at: 0))
    #expect(holds(100, at: 500))
    #expect(deadline.dueMs == 600)
    #expect(holds(1_000, at: 550))
    #expect(deadline.dueMs == 1_000)
    #expect(holds(100, at: 950))
    #expect(deadline.dueMs == 1_000)
    #expect(!holds(100, at: 1_000))
  }
}
