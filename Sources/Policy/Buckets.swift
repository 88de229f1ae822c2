// Token buckets as one 64-bit word each: the generic cell rate algorithm (ITU-T I.371), one compare-and-swap a take.
// It relies on the caller's monotonic clock; the word is shared by all threads and outlives a policy reload.
import Synchronization

private let minuteNs: UInt64 = 60_000_000_000

/// When the bucket will be full again: the theoretical arrival time of the algorithm, in nanoseconds.
package final class BucketState: Sendable {
  fileprivate let fullAtNs = Atomic<UInt64>(0)

  package init() {}
}

extension BucketState {
  /// Moves the word from `now` or later by what `cost` answers for the room that is left, in nanoseconds.
  /// `cost` must not take more than the room; nil leaves the bucket as it is.
  fileprivate func spend(windowNs: UInt64, nowNs: UInt64, cost: (_ roomNs: UInt64) -> UInt64?) {
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

  fileprivate func roomNs(windowNs: UInt64, nowNs: UInt64) -> UInt64 {
    nowNs + windowNs - clamp(fullAtNs.load(ordering: .relaxed), windowNs, nowNs)
  }

  fileprivate func giveBack(_ costNs: UInt64) {
    var seen = fullAtNs.load(ordering: .relaxed)
    while true {
      let (exchanged, original) = fullAtNs.weakCompareExchange(
        expected: seen, desired: seen - min(seen, costNs), ordering: .relaxed)
      if exchanged { return }
      seen = original
    }
  }
}

/// Requests a minute, with a burst. Exact under concurrency: never more than `burst` at once.
package struct RequestBucket: Sendable {
  package enum Take: Equatable, Sendable {
    case taken
    case empty(retryAfterNs: UInt64)
  }

  package let perMinute: Int
  package let burst: Int
  private let intervalNs: UInt64
  private let windowNs: UInt64
  private let state: BucketState

  package static let perMinuteMax = 1_000_000_000
  private static let windowNsMax: UInt64 = 1 << 61

  package init(perMinute: Int, burst: Int, state: BucketState) {
    precondition((1...Self.perMinuteMax).contains(perMinute) && (1...Self.perMinuteMax).contains(burst))
    self.perMinute = perMinute
    self.burst = burst
    self.state = state
    // Rounded up: the rate that was granted is never exceeded.
    intervalNs = (minuteNs + UInt64(perMinute) - 1) / UInt64(perMinute)
    // A burst may be worth more time than fits 64 bits: then the bucket holds what 73 years refill.
    let (window, overflow) = intervalNs.multipliedReportingOverflow(by: UInt64(burst))
    windowNs = overflow ? Self.windowNsMax : min(window, Self.windowNsMax)
  }

  package func take(nowNs: UInt64) -> Take {
    var result = Take.taken
    state.spend(windowNs: windowNs, nowNs: nowNs) { roomNs in
      guard roomNs < intervalNs else { return intervalNs }
      result = .empty(retryAfterNs: intervalNs - roomNs)
      return nil
    }
    return result
  }

  package func level(nowNs: UInt64) -> (tokens: Int, capacity: Int, perMinute: Int) {
    (Int(state.roomNs(windowNs: windowNs, nowNs: nowNs) / intervalNs), burst, perMinute)
  }
}

/// Bytes a minute; what stands still for a minute has all of them.
package struct ByteBucket: Sendable {
  package let perMinute: UInt64
  private let state: BucketState

  package static let perMinuteMax: UInt64 = 1 << 50
  /// A wait is long enough for this many bytes: a stream of single bytes would cost more than it carries.
  private static let wakeBytes = 4096

  package init(perMinute: UInt64, state: BucketState) {
    precondition((1...Self.perMinuteMax).contains(perMinute))
    self.perMinute = perMinute
    self.state = state
  }

  /// Takes tokens for at most `count` bytes before they are read. None granted: the time until some will be.
  package func reserve(upTo count: Int, nowNs: UInt64) -> (granted: Int, retryAfterNs: UInt64) {
    var granted = 0
    var retryAfterNs: UInt64 = 0
    if count <= 0 { return (0, 0) }
    state.spend(windowNs: minuteNs, nowNs: nowNs) { roomNs in
      granted = min(count, bytes(forNs: roomNs))
      guard granted == 0 else { return costNs(granted, roundingUp: true) }
      let wanted = Int(min(UInt64(min(count, Self.wakeBytes)), perMinute))
      retryAfterNs = costNs(wanted, roundingUp: true) - roomNs
      return nil
    }
    return (granted, retryAfterNs)
  }

  package func level(nowNs: UInt64) -> UInt64 { UInt64(bytes(forNs: state.roomNs(windowNs: minuteNs, nowNs: nowNs))) }

  /// Gives back what was reserved and then not read.
  package func refund(_ count: Int) { state.giveBack(costNs(count, roundingUp: false)) }

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

/// How many tunnels (or requests) of one pair are open now.
package final class LiveCount: Sendable {
  fileprivate let live = Atomic<Int>(0)

  package init() {}
}

/// A bound on what is open at once. Whoever entered leaves once, on whatever thread.
package struct ConcurrencyLimit: Sendable {
  package let limit: Int
  private let count: LiveCount

  package init(limit: Int, count: LiveCount) {
    self.limit = limit
    self.count = count
  }

  package var live: Int { count.live.load(ordering: .relaxed) }

  package func enter() -> Bool {
    var seen = count.live.load(ordering: .relaxed)
    while seen < limit {
      let (exchanged, original) = count.live.weakCompareExchange(
        expected: seen, desired: seen + 1, ordering: .relaxed)
      if exchanged { return true }
      seen = original
    }
    return false
  }

  package func leave() { count.live.wrappingSubtract(1, ordering: .relaxed) }
}
