// Token buckets as one 64-bit word each: the generic cell rate algorithm (ITU-T I.371), one compare-and-swap per
// take.
// It relies on the caller's monotonic clock; all threads share the word, which outlives a policy reload.
import Synchronization

private let minuteNs: UInt64 = 60_000_000_000

/// The time at which the bucket will be full again: the algorithm's theoretical arrival time, in nanoseconds.
package final class BucketState: Sendable {
  fileprivate let fullAtNs = Atomic<UInt64>(0)

  package init() {}
}

extension BucketState {
  /// Sets the time of the full bucket, from a value that another process or clock counted.
  package func set(fullAtNs value: UInt64) { fullAtNs.store(value, ordering: .relaxed) }

  /// The time until the bucket is full again, which is the refill time of what was spent.
  package func debtNs(nowNs: UInt64) -> UInt64 {
    let fullAt = fullAtNs.load(ordering: .relaxed)
    return fullAt - min(fullAt, nowNs)
  }

  /// Advances the word by the result of `cost`, which gets the room left in nanoseconds.
  func spend(windowNs: UInt64, nowNs: UInt64, cost: (_ roomNs: UInt64) -> UInt64?) {
    var seen = fullAtNs.load(ordering: .relaxed)
    while true {
      let begin = clamp(seen, windowNs, nowNs)
      guard let costNs = cost(nowNs + windowNs - begin), costNs > 0 else { return }
      let (exchanged, original) = fullAtNs.weakCompareExchange(
        expected: seen, desired: begin + costNs, ordering: .relaxed)
      if exchanged { return }
      seen = original
    }
  }

  /// After a reload the window may be shorter than what was spent under the old one: the debt is cut to the new window.
  private func clamp(_ seen: UInt64, _ windowNs: UInt64, _ nowNs: UInt64) -> UInt64 {
    min(max(seen, nowNs), nowNs + windowNs)
  }

  func roomNs(windowNs: UInt64, nowNs: UInt64) -> UInt64 {
    nowNs + windowNs - clamp(fullAtNs.load(ordering: .relaxed), windowNs, nowNs)
  }

  func giveBack(_ costNs: UInt64) {
    var seen = fullAtNs.load(ordering: .relaxed)
    while true {
      let (exchanged, original) = fullAtNs.weakCompareExchange(
        expected: seen, desired: seen - min(seen, costNs), ordering: .relaxed)
      if exchanged { return }
      seen = original
    }
  }
}

/// A limit on requests per minute, with a burst. Exact under concurrency: never more than `burst` at once.
package struct RequestBucket: Sendable {
  package enum Take: Equatable, Sendable {
    case taken
    case empty(retryAfterNs: UInt64)
    /// A shared bucket is being asked: try again within milliseconds.
    case fetching
  }

  package let perMinute: Int
  package let burst: Int
  private let intervalNs: UInt64
  let windowNs: UInt64
  private let state: BucketState
  private let leased: LeasedTokens?

  package static let perMinuteMax = 1_000_000_000
  private static let windowNsMax: UInt64 = 1 << 61

  /// `leased`: set if gates share the limit; `state` then counts nothing.
  package init(perMinute: Int, burst: Int, state: BucketState, leased: LeasedTokens? = nil) {
    precondition((1...Self.perMinuteMax).contains(perMinute) && (1...Self.perMinuteMax).contains(burst))
    self.perMinute = perMinute
    self.burst = burst
    self.state = leased?.group ?? state
    self.leased = leased
    // Round up: the granted rate is never exceeded.
    intervalNs = (minuteNs + UInt64(perMinute) - 1) / UInt64(perMinute)
    // A burst may be worth more time than fits 64 bits: the bucket then holds the refill of 73 years.
    let (window, overflow) = intervalNs.multipliedReportingOverflow(by: UInt64(burst))
    windowNs = overflow ? Self.windowNsMax : min(window, Self.windowNsMax)
  }

  package func take(nowNs: UInt64) -> Take {
    guard let leased else { return take(from: state, intervalNs, nowNs) }
    switch leased.take(upTo: 1, nowNs: nowNs) {
    case .granted: return .taken
    case .fetching: return .fetching
    case .empty(let retryAfterNs): return .empty(retryAfterNs: retryAfterNs)
    case .alone(let gates):
      let take = take(from: leased.alone, intervalNs.saturatingProduct(UInt64(clamping: gates)), nowNs)
      if take == .taken { leased.noteAlone(1) }
      return take
    }
  }

  /// `costNs` exceeds the interval if the limit is divided among gates.
  private func take(from state: BucketState, _ costNs: UInt64, _ nowNs: UInt64) -> Take {
    var result = Take.taken
    state.spend(windowNs: max(windowNs, costNs), nowNs: nowNs) { roomNs in
      guard roomNs < costNs else { return costNs }
      result = .empty(retryAfterNs: costNs - roomNs)
      return nil
    }
    return result
  }

  package func level(nowNs: UInt64) -> (tokens: Int, capacity: Int, perMinute: Int) {
    (Int(state.roomNs(windowNs: windowNs, nowNs: nowNs) / intervalNs), burst, perMinute)
  }
}

/// A limit on bytes per minute. An unused bucket is full after a minute.
package struct ByteBucket: Sendable {
  package struct Grant: Sendable {
    package let granted: Int
    /// The time until bytes can be granted, if none are now.
    package let retryAfterNs: UInt64
    /// True if none are granted yet because a shared bucket is being asked.
    package var isFetching = false

    package init(granted: Int, retryAfterNs: UInt64 = 0, isFetching: Bool = false) {
      (self.granted, self.retryAfterNs, self.isFetching) = (granted, retryAfterNs, isFetching)
    }
  }

  package let perMinute: UInt64
  private let state: BucketState
  private let leased: LeasedTokens?

  package static let perMinuteMax: UInt64 = 1 << 50
  static let windowNs = minuteNs
  /// A wait lasts at least until this many bytes are available: waking for single bytes would cost more than they
  /// carry.
  private static let wakeBytes = 4096
  /// A shared bucket answers within a few milliseconds.
  private static let fetchNs: UInt64 = 1_000_000

  package init(perMinute: UInt64, state: BucketState, leased: LeasedTokens? = nil) {
    precondition((1...Self.perMinuteMax).contains(perMinute))
    self.perMinute = perMinute
    self.state = leased?.group ?? state
    self.leased = leased
  }

  /// Takes tokens for at most `count` bytes before they are read.
  package func reserve(upTo count: Int, nowNs: UInt64) -> Grant {
    if count <= 0 { return Grant(granted: 0) }
    guard let leased else { return reserve(from: state, upTo: count, gates: 1, nowNs) }
    switch leased.take(upTo: count, nowNs: nowNs) {
    case .granted(let granted): return Grant(granted: granted)
    case .fetching: return Grant(granted: 0, retryAfterNs: Self.fetchNs, isFetching: true)
    case .empty(let retryAfterNs): return Grant(granted: 0, retryAfterNs: retryAfterNs)
    case .alone(let gates):
      let grant = reserve(from: leased.alone, upTo: count, gates: UInt64(clamping: gates), nowNs)
      leased.noteAlone(grant.granted)
      return grant
    }
  }

  private func reserve(from state: BucketState, upTo count: Int, gates: UInt64, _ nowNs: UInt64) -> Grant {
    var granted = 0
    var retryAfterNs: UInt64 = 0
    state.spend(windowNs: minuteNs, nowNs: nowNs) { roomNs in
      granted = min(count, bytes(forNs: roomNs / gates))
      guard granted == 0 else { return min(roomNs, costNs(granted, roundingUp: true).saturatingProduct(gates)) }
      let wanted = Int(clamping: min(UInt64(clamping: min(count, Self.wakeBytes)), max(1, perMinute / gates)))
      let neededNs = min(minuteNs, costNs(wanted, roundingUp: true).saturatingProduct(gates))
      retryAfterNs = neededNs - min(neededNs, roomNs)
      return nil
    }
    return Grant(granted: granted, retryAfterNs: retryAfterNs)
  }

  package func level(nowNs: UInt64) -> UInt64 { UInt64(bytes(forNs: state.roomNs(windowNs: minuteNs, nowNs: nowNs))) }

  /// Returns reserved tokens for bytes that were not read.
  package func refund(_ count: Int) {
    guard count > 0 else { return }
    guard let leased else { return state.giveBack(costNs(count, roundingUp: false)) }
    guard case .alone(let gates) = leased.mode else { return leased.giveBack(count) }
    leased.alone.giveBack(costNs(count, roundingUp: false).saturatingProduct(UInt64(clamping: gates)))
    leased.noteAlone(-count)
  }

  private func bytes(forNs roomNs: UInt64) -> Int {
    let product = roomNs.multipliedFullWidth(by: perMinute)
    return Int(minuteNs.dividingFullWidth(product).quotient)
  }

  private func costNs(_ count: Int, roundingUp: Bool) -> UInt64 {
    let product = UInt64(count).multipliedFullWidth(by: minuteNs)
    guard product.high < perMinute else { return .max >> 1 }
    let (quotient, remainder) = perMinute.dividingFullWidth(product)
    return roundingUp && remainder > 0 ? quotient + 1 : quotient
  }
}

/// The number of open tunnels (or requests) of one client and rule.
package final class LiveCount: Sendable {
  fileprivate let live = Atomic<Int>(0)

  package init() {}
}

/// A limit on concurrent tunnels or requests. Each successful enter needs exactly one leave, on any thread.
package struct ConcurrencyLimit: Sendable {
  package enum Entry: Equatable, Sendable {
    case entered
    case full
    /// The store of shared limits is being asked: try again within milliseconds.
    case fetching
  }

  package let limit: Int
  private let count: LiveCount
  private let leased: LeasedSlots?

  /// `leased`: set if gates share the limit; `count` then counts nothing.
  package init(limit: Int, count: LiveCount, leased: LeasedSlots? = nil) {
    self.limit = limit
    self.count = count
    self.leased = leased
  }

  /// The number that this gate holds.
  package var live: Int { leased?.live ?? count.live.load(ordering: .relaxed) }

  package func enter(nowNs: UInt64 = 0) -> Entry {
    if let leased { return leased.enter(nowNs: nowNs) }
    var seen = count.live.load(ordering: .relaxed)
    while seen < limit {
      let (exchanged, original) = count.live.weakCompareExchange(
        expected: seen, desired: seen + 1, ordering: .relaxed)
      if exchanged { return .entered }
      seen = original
    }
    return .full
  }

  package func leave() {
    if let leased { return leased.leave() }
    count.live.wrappingSubtract(1, ordering: .relaxed)
  }
}

extension UInt64 {
  func saturatingProduct(_ other: UInt64) -> UInt64 {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow || product > Self.max >> 1 ? Self.max >> 1 : product
  }
}
