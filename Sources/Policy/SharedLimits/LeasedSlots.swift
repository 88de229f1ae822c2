// The slots of one shared `concurrent` that this gate may fill now, and how many are filled.
// It relies on one 64-bit word for both counts, so that no slot is taken that is being given back.
import Synchronization

package final class LeasedSlots: Sendable {
  package let key: LeaseKey
  private let bell: LeaseBell
  /// Slots that may be filled in the upper half, filled ones in the lower.
  private let word = Atomic<UInt64>(0)
  private let fullUntil = Atomic<UInt64>(0)
  private let isReachable = Atomic<Bool>(true)
  private let wanted = Atomic<Int>(0)
  private let isCalling = Atomic<Bool>(false)

  init(key: LeaseKey, bell: LeaseBell) { (self.key, self.bell) = (key, bell) }

  private static func pack(allowed: Int, live: Int) -> UInt64 {
    UInt64(truncatingIfNeeded: UInt32(clamping: allowed)) << 32 | UInt64(truncatingIfNeeded: UInt32(clamping: live))
  }

  private static func allowed(_ word: UInt64) -> Int { Int(clamping: word >> 32) }
  private static func live(_ word: UInt64) -> Int { Int(clamping: word & 0xffff_ffff) }

  // MARK: - The loops

  func enter(nowNs: UInt64) -> ConcurrencyLimit.Entry {
    var seen = word.load(ordering: .relaxed)
    while Self.live(seen) < Self.allowed(seen) {
      let (exchanged, original) = word.weakCompareExchange(expected: seen, desired: seen + 1, ordering: .relaxed)
      if exchanged { return .entered }
      seen = original
    }
    if !isReachable.load(ordering: .relaxed) || nowNs < fullUntil.load(ordering: .relaxed) { return .full }
    wanted.wrappingAdd(1, ordering: .relaxed)
    call()
    return .fetching
  }

  func leave() {
    word.wrappingSubtract(1, ordering: .relaxed)
    call()
  }

  private func call() {
    if !isCalling.exchange(true, ordering: .acquiringAndReleasing) { bell.call(key) }
  }

  // MARK: - The thread that asks for slots

  package var live: Int { Self.live(word.load(ordering: .relaxed)) }
  package var allowed: Int { Self.allowed(word.load(ordering: .relaxed)) }

  func takeWanted() -> Int {
    isCalling.store(false, ordering: .sequentiallyConsistent)
    return wanted.exchange(0, ordering: .sequentiallyConsistent)
  }

  /// So many may be filled from now on; those that are filled stay. How many are then filled or may be.
  @discardableResult
  func allow(_ count: Int) -> Int {
    var seen = word.load(ordering: .relaxed)
    while true {
      let (exchanged, original) = word.weakCompareExchange(
        expected: seen, desired: Self.pack(allowed: count, live: Self.live(seen)), ordering: .relaxed)
      if exchanged { return max(count, Self.live(seen)) }
      seen = original
    }
  }

  func setFull(untilNs: UInt64) { fullUntil.store(untilNs, ordering: .relaxed) }
  func setReachable(_ reachable: Bool) { isReachable.store(reachable, ordering: .relaxed) }
}
