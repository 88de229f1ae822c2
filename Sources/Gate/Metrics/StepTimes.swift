// How long the steps of what was let out took: a histogram each, of times that the loop has read anyway.
// It relies on the clock of a turn: what begins and ends in one turn counts as no time at all.

package struct StepTimes: Sendable, Equatable {
  package enum Step: Int, CaseIterable, Sendable {
    /// From the connection, or the first byte of a further request, to the verdict: password and pacing are in it.
    case read
    /// From the verdict to the first address that may be dialled.
    case resolve
    /// From the first attempt to the connection that stands.
    case connect
    /// From the beginning of `read` to the first byte that may go over: the whole.
    case open
  }

  /// 64 microseconds, and each bound twice the one before: the last is 67 seconds.
  package static let boundsMicroseconds = (0..<boundCount).map { UInt64(64) << UInt64($0) }
  /// A number that stands in the code: one that is computed at its first use costs a call at each.
  private static let boundCount = 21
  /// The last one of each step is for what took longer than any bound.
  private static var columns: Int { boundCount + 1 }

  private var counts = [UInt64](repeating: 0, count: Step.allCases.count * StepTimes.columns)
  private var sumsNs = [UInt64](repeating: 0, count: Step.allCases.count)

  package init() {}

  package mutating func note(_ step: Step, ns: UInt64) {
    counts[step.rawValue * Self.columns + Self.column(ns)] &+= 1
    sumsNs[step.rawValue] &+= ns
  }

  /// The first bound that the time does not exceed.
  private static func column(_ ns: UInt64) -> Int {
    let doublings = ns <= 64_000 ? 0 : UInt64.bitWidth - ((ns - 1) / 64_000).leadingZeroBitCount
    return min(doublings, columns - 1)
  }

  package static func += (sum: inout StepTimes, other: StepTimes) {
    for index in sum.counts.indices { sum.counts[index] &+= other.counts[index] }
    for index in sum.sumsNs.indices { sum.sumsNs[index] &+= other.sumsNs[index] }
  }

  // MARK: - What is asked

  /// For each bound how many took at most that; the last is how many there were.
  package func cumulated(_ step: Step) -> [UInt64] {
    var sum: UInt64 = 0
    return counts[step.rawValue * Self.columns..<(step.rawValue + 1) * Self.columns].map { count in
      sum &+= count
      return sum
    }
  }

  package func sumNs(_ step: Step) -> UInt64 { sumsNs[step.rawValue] }
}

extension StepTimes.Step {
  package var name: String {
    switch self {
    case .read: "read"
    case .resolve: "resolve"
    case .connect: "connect"
    case .open: "open"
    }
  }
}
