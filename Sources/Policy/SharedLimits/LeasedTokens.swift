// The tokens of one shared bucket that this gate may spend now: all loops take from it, one thread fills it up.
// It relies on atomics alone; how many tokens it gets, and when they go back, is TokenLease's to say.
import Synchronization

/// One limit of one pair of client and rule: the same on every gate of a group that has the same policy.
package struct LeaseKey: Hashable, Sendable {
  package enum Kind: String, CaseIterable, Sendable {
    case requests, concurrent
    case uploadBytes = "upload_bytes"
    case downloadBytes = "download_bytes"
  }

  package let client: String
  /// Hosts and ports in their one spelling: a rule that moved to another line is the same rule.
  package let rule: String
  package let kind: Kind

  package init(client: String, rule: String, kind: Kind) {
    (self.client, self.rule, self.kind) = (client, rule, kind)
  }
}

/// Buckets that need the thread that fills them, and what wakes that thread.
package final class LeaseBell: Sendable {
  private struct State {
    var calling: [LeaseKey] = []
    var ring: (@Sendable () -> Void)?
  }

  private let state = Mutex(State())

  package init() {}

  package func answer(_ ring: @escaping @Sendable () -> Void) {
    let isCalled = state.withLock { state in
      state.ring = ring
      return !state.calling.isEmpty
    }
    if isCalled { ring() }
  }

  func call(_ key: LeaseKey) {
    let ring = state.withLock { state in
      state.calling.append(key)
      return state.calling.count == 1 ? state.ring : nil
    }
    ring?()
  }

  package func takeCalls() -> [LeaseKey] {
    state.withLock { state in
      defer { state.calling.removeAll(keepingCapacity: true) }
      return state.calling
    }
  }
}

/// Where tokens come from when none is held.
package enum LeaseMode: Equatable, Sendable {
  /// From the group's bucket: they are on their way.
  case shared
  /// The group's bucket cannot be reached: a share of the limit.
  case alone(gates: Int)
  /// The group's bucket cannot be reached: nothing is let out.
  case refusing

  fileprivate init(code: Int) {
    switch code {
    case 0: self = .shared
    case 1...: self = .alone(gates: code)
    default: self = .refusing
    }
  }

  fileprivate var code: Int {
    switch self {
    case .shared: 0
    case .alone(let gates): max(1, gates)
    case .refusing: -1
    }
  }
}

package final class LeasedTokens: Sendable {
  package enum Grant: Equatable, Sendable {
    case granted(Int)
    /// Ask again within milliseconds.
    case fetching
    case empty(retryAfterNs: UInt64)
    case alone(gates: Int)
  }

  /// While nothing may be let out, a client is told to come again then.
  private static let refusedForNs: UInt64 = 1_000_000_000

  package let key: LeaseKey
  private let bell: LeaseBell
  private let heldCount = Atomic<Int>(0)
  /// Of leases; wraps.
  private let spentCount = Atomic<UInt64>(0)
  /// Of the gate's own share while the group's bucket was out of reach; the group's bucket hears of them later.
  private let spentAloneCount = Atomic<Int>(0)
  private let emptyUntil = Atomic<UInt64>(0)
  private let lowWater = Atomic<Int>(0)
  private let modeCode = Atomic<Int>(0)
  /// The largest amount that found nothing since the thread looked.
  private let wanted = Atomic<Int>(0)
  private let isCalling = Atomic<Bool>(false)
  /// The gate's own share.
  let alone = BucketState()
  /// The group's bucket as this gate heard of it last.
  let group = BucketState()

  init(key: LeaseKey, bell: LeaseBell) { (self.key, self.bell) = (key, bell) }

  // MARK: - The loops

  func take(upTo count: Int, nowNs: UInt64) -> Grant {
    var seen = heldCount.load(ordering: .relaxed)
    while seen > 0 {
      let granted = min(seen, count)
      let (exchanged, original) = heldCount.weakCompareExchange(
        expected: seen, desired: seen - granted, ordering: .relaxed)
      if exchanged {
        spentCount.wrappingAdd(UInt64(clamping: granted), ordering: .relaxed)
        if seen - granted <= lowWater.load(ordering: .relaxed) { call() }
        return .granted(granted)
      }
      seen = original
    }
    return grantNothing(count, nowNs)
  }

  private func grantNothing(_ count: Int, _ nowNs: UInt64) -> Grant {
    switch mode {
    case .alone(let gates): return .alone(gates: gates)
    case .refusing: return .empty(retryAfterNs: Self.refusedForNs)
    case .shared:
      let until = emptyUntil.load(ordering: .relaxed)
      if nowNs < until { return .empty(retryAfterNs: until - nowNs) }
      wanted.max(count, ordering: .relaxed)
      call()
      return .fetching
    }
  }

  func noteAlone(_ count: Int) { spentAloneCount.wrappingAdd(count, ordering: .relaxed) }

  /// Of what was granted and not used.
  func giveBack(_ count: Int) {
    spentCount.wrappingSubtract(UInt64(clamping: count), ordering: .relaxed)
    heldCount.wrappingAdd(count, ordering: .relaxed)
  }

  private func call() {
    if !isCalling.exchange(true, ordering: .acquiringAndReleasing) { bell.call(key) }
  }

  var mode: LeaseMode { LeaseMode(code: modeCode.load(ordering: .relaxed)) }

  // MARK: - The thread that fills it

  package var held: Int { heldCount.load(ordering: .relaxed) }
  var spent: UInt64 { spentCount.load(ordering: .relaxed) }
  var spentAlone: Int { spentAloneCount.load(ordering: .relaxed) }

  /// From now on a call is heard again.
  func takeWanted() -> Int {
    isCalling.store(false, ordering: .sequentiallyConsistent)
    return wanted.exchange(0, ordering: .sequentiallyConsistent)
  }

  func deposit(_ count: Int) { if count > 0 { heldCount.wrappingAdd(count, ordering: .relaxed) } }

  /// Takes back what is held, up to that many.
  func withdraw(upTo count: Int) -> Int {
    var seen = heldCount.load(ordering: .relaxed)
    while seen > 0, count > 0 {
      let taken = min(seen, count)
      let (exchanged, original) = heldCount.weakCompareExchange(
        expected: seen, desired: seen - taken, ordering: .relaxed)
      if exchanged { return taken }
      seen = original
    }
    return 0
  }

  func setMode(_ mode: LeaseMode) { modeCode.store(mode.code, ordering: .relaxed) }
  func setEmpty(untilNs: UInt64) { emptyUntil.store(untilNs, ordering: .relaxed) }
  func setLowWater(_ count: Int) { lowWater.store(count, ordering: .relaxed) }
}
