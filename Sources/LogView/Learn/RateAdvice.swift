// Numbers for an entry of `rate_limits`: how many a minute, and how many at once.
// It relies on counts over spans of the clock: one request seen says nothing of a rate, so each number has a floor.
import Policy

/// Requests of one bucket: those of its busiest minute, and those of its densest second.
package struct Demand: Sendable {
  package var minute = 0
  package var second = 0

  mutating func formMax(_ other: Demand) {
    minute = max(minute, other.minute)
    second = max(second, other.second)
  }

  /// A limit refused a request, and no burst tells why: the minute had more than the limit.
  mutating func reach(perMinute: Int, burst: Int) {
    if second <= burst { minute = max(minute, perMinute + 1) }
  }

  /// Several targets of one bucket: their busiest minutes may be the same one.
  static func + (one: Demand, other: Demand) -> Demand {
    Demand(minute: one.minute + other.minute, second: one.second + other.second)
  }
}

package struct RateAdvice: Equatable, Sendable {
  package var perMinute: Int
  /// Nil where it is `perMinute`, as the policy has it by default.
  package var burst: Int?
  /// True where the burst refused, and not the rate.
  package var wasBurst = false

  static let perMinuteMin = 60
  static let burstMin = 20
  /// With less headroom, several dense seconds in a row could empty a bucket of the densest second's size.
  private static let headroomForBurst = 4

  /// For a target without a limit of its own. `set`: a limit that it had all the same, by the log or by `*`.
  static func fresh(_ demand: Demand, headroom: Int, set: (perMinute: Int, burst: Int)? = nil) -> RateAdvice {
    let perMinute = max(perMinuteMin, rounded(demand.minute, headroom), set?.perMinute ?? 0)
    guard headroom >= headroomForBurst else { return RateAdvice(perMinute, max(perMinute, set?.burst ?? 0)) }
    return RateAdvice(perMinute, max(burstMin, rounded(demand.second, headroom), set?.burst ?? 0))
  }

  /// For a limit that was reached: the one of both that was too low is raised, and neither falls.
  static func raised(_ demand: Demand, headroom: Int, set: (perMinute: Int, burst: Int)) -> RateAdvice {
    let isRate = demand.minute > set.perMinute
    let isBurst = demand.second > set.burst || !isRate
    let perMinute = isRate ? max(set.perMinute, rounded(demand.minute, headroom)) : set.perMinute
    let wanted = rounded(demand.second, headroom)
    var burst = max(set.burst, wanted)
    // Reached by several dense seconds, none of which was too many alone.
    if isBurst, wanted <= set.burst { burst = clamped(set.burst, 2) }
    // A burst that nobody wrote down is the rate, and goes up with it.
    if isRate, set.burst == set.perMinute { burst = max(burst, perMinute) }
    var advice = RateAdvice(perMinute, burst)
    advice.wasBurst = isBurst && !isRate
    return advice
  }

  private init(_ perMinute: Int, _ burst: Int) {
    self.perMinute = perMinute
    self.burst = burst == perMinute ? nil : burst
  }

  package var keys: String {
    "requests_per_minute: \(perMinute)" + (burst.map { ", burst: \($0)" } ?? "")
  }

  /// Rounded up to two digits, as a person would write it.
  static func rounded(_ count: Int, _ headroom: Int) -> Int {
    let wanted = clamped(max(1, count), headroom)
    var step = 1
    while wanted / step >= 100 { step *= 10 }
    return min((wanted + step - 1) / step * step, RequestBucket.perMinuteMax)
  }

  private static func clamped(_ count: Int, _ times: Int) -> Int {
    let (product, overflow) = count.multipliedReportingOverflow(by: times)
    return overflow ? RequestBucket.perMinuteMax : min(product, RequestBucket.perMinuteMax)
  }
}
