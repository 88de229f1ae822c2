// Deadlines fire once, never early, and in time, however far away they are.

import Testing

@testable import Kernel

@Suite struct TimerWheelTests {
  @Test(arguments: [1, 7, 8, 9, 63, 511, 512, 513, 4_095, 33_000, 2_097_152, 3_600_000, 200_000_000] as [UInt64])
  func firesOnceAndNotEarly(afterMs: UInt64) {
    let begin: UInt64 = 1_000_003
    var wheel = TimerWheel(nowMs: begin)
    var due: [Int] = []
    wheel.set(5, atMs: begin + afterMs)
    var nowMs = begin
    var rounds = 0
    while due.isEmpty && rounds < 100_000 {
      guard let waitMs = wheel.waitMs(nowMs: nowMs) else { break }
      nowMs += max(1, waitMs)
      wheel.advance(toMs: nowMs, due: &due)
      rounds += 1
    }
    #expect(due == [5])
    #expect(nowMs >= begin + afterMs)
    #expect(nowMs <= begin + afterMs + TimerWheel.tickMs)
    due = []
    wheel.advance(toMs: nowMs + 10_000_000, due: &due)
    #expect(due.isEmpty)
    #expect(wheel.waitMs(nowMs: nowMs) == nil)
  }

  @Test func aLaterDeadlineReplacesAnEarlierOne() {
    var wheel = TimerWheel(nowMs: 0)
    var due: [Int] = []
    wheel.set(0, atMs: 100)
    wheel.set(0, atMs: 5_000)
    wheel.advance(toMs: 4_900, due: &due)
    #expect(due.isEmpty)
    wheel.advance(toMs: 5_008, due: &due)
    #expect(due == [0])
  }

  @Test func anEarlierDeadlineReplacesALaterOne() {
    var wheel = TimerWheel(nowMs: 0)
    var due: [Int] = []
    wheel.set(0, atMs: 3_600_000)
    wheel.set(0, atMs: 50)
    wheel.advance(toMs: 56, due: &due)
    #expect(due == [0])
  }

  @Test func aRemovedDeadlineDoesNotFire() {
    var wheel = TimerWheel(nowMs: 0)
    var due: [Int] = []
    wheel.set(0, atMs: 50)
    wheel.set(1, atMs: 50)
    wheel.remove(0)
    wheel.set(1, atMs: .max)
    wheel.advance(toMs: 1_000, due: &due)
    #expect(due.isEmpty)
  }

  /// Against a plain list, with random deadlines and random steps.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func agreesWithAPlainList(seed: UInt64) {
    var state = seed
    func random(_ bound: UInt64) -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) % bound
    }
    var nowMs: UInt64 = 77_777
    var wheel = TimerWheel(nowMs: nowMs)
    var wanted = [UInt64](repeating: .max, count: 64)
    for _ in 0..<4_000 {
      let slot = Int(random(64))
      let dueMs = nowMs + random(random(4) == 0 ? 5_000_000 : 2_000)
      wanted[slot] = dueMs
      wheel.set(slot, atMs: dueMs)
      nowMs += random(random(8) == 0 ? 700_000 : 300)
      var due: [Int] = []
      wheel.advance(toMs: nowMs, due: &due)
      for slot in due {
        #expect(wanted[slot] <= nowMs, "seed \(seed): slot \(slot) fired early")
        wanted[slot] = .max
      }
      let late = wanted.enumerated().filter { $0.element <= nowMs - TimerWheel.tickMs }
      #expect(late.isEmpty, "seed \(seed): \(late) did not fire by \(nowMs)")
    }
  }
}
