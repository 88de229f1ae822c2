// How many things happened when: the newest steps of a fixed length, or the whole time in steps that grow with it.
// Both rely on bounds only: a series has at most 120 steps, whatever times stand in a log.
import Wire

/// The newest steps; what is older than they reach is forgotten.
struct RecentCounts: Sendable {
  struct Shape: Sendable {
    let stepMs: Int64
    let steps: Int

    static let lastMinute = Shape(stepMs: 1000, steps: 60)
    static let tenMinutes = Shape(stepMs: 5000, steps: 120)
    static let twoHours = Shape(stepMs: 60_000, steps: 120)
  }

  private let shape: Shape
  private var counts: [UInt32] = []
  private var newest: Int64 = .min
  /// Where the newest step begins, and its place.
  private var newestMs: Int64 = 0
  private var newestSlot = 0

  init(_ shape: Shape) { self.shape = shape }

  mutating func add(_ timeMs: Int64, _ count: Int = 1) {
    // Nearly every line of a log falls into the step of the one before.
    if timeMs >= newestMs, timeMs < newestMs + shape.stepMs, !counts.isEmpty {
      counts[newestSlot] &+= UInt32(clamping: count)
      return
    }
    addElsewhere(timeMs, count)
  }

  private mutating func addElsewhere(_ timeMs: Int64, _ count: Int) {
    let step = timeMs.floorDivided(by: shape.stepMs)
    let length = Int64(shape.steps)
    if counts.isEmpty {
      counts = [UInt32](repeating: 0, count: shape.steps)
      newest = step - 1
    }
    if step > newest {
      for passed in 1...min(length, step - newest) { counts[slot(newest + passed)] = 0 }
      newest = step
      newestMs = step * shape.stepMs
      newestSlot = slot(step)
    }
    if step > newest - length { counts[slot(step)] &+= UInt32(clamping: count) }
  }

  /// In the steps that end with the one of `nowMs`.
  func count(nowMs: Int64) -> Int {
    let now = nowMs.floorDivided(by: shape.stepMs)
    guard !counts.isEmpty, now - newest < Int64(shape.steps) else { return 0 }
    let oldest = max(now, newest) - Int64(shape.steps - 1)
    var sum = 0
    for step in oldest...newest { sum += Int(counts[slot(step)]) }
    return sum
  }

  /// One value a step, the step of `nowMs` last.
  func values(nowMs: Int64) -> [Int] {
    let now = nowMs.floorDivided(by: shape.stepMs)
    let oldest = newest - Int64(counts.count)
    return (0..<shape.steps).map { place in
      let step = now - Int64(shape.steps - 1 - place)
      return !counts.isEmpty && step <= newest && step > oldest ? Int(counts[slot(step)]) : 0
    }
  }

  private func slot(_ step: Int64) -> Int { Int(step - step.floorDivided(by: Int64(shape.steps)) * Int64(shape.steps)) }
}

/// All of the time that was seen. Steps become longer when there would be too many; each length divides the next.
struct WholeCounts: Sendable {
  /// Steps of one length, the first at a multiple of it.
  struct Axis: Equatable, Sendable {
    var stepMs: Int64
    var first: Int64
    var count: Int

    /// From one time to another, in the shortest steps that are few enough.
    init(fromMs: Int64, toMs: Int64) {
      var stepMs = WholeCounts.stepsMs[0]
      while toMs.floorDivided(by: stepMs) - fromMs.floorDivided(by: stepMs) >= Int64(WholeCounts.stepsMax) {
        stepMs = WholeCounts.longer(stepMs)
      }
      self.stepMs = stepMs
      first = fromMs.floorDivided(by: stepMs)
      count = Int(toMs.floorDivided(by: stepMs) - first) + 1
    }
  }

  static let stepsMax = 120
  private static let stepsMs: [Int64] = [
    1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400,
  ].map { $0 * 1000 }

  private var axis = Axis(fromMs: 0, toMs: 0)
  private var counts: [UInt32] = []
  /// Where the last step begins.
  private var lastMs: Int64 = 0

  mutating func add(_ timeMs: Int64, _ count: Int = 1) {
    if timeMs >= lastMs, timeMs < lastMs + axis.stepMs, !counts.isEmpty {
      counts[counts.count - 1] &+= UInt32(clamping: count)
      return
    }
    addElsewhere(timeMs, count)
    lastMs = (axis.first + Int64(counts.count - 1)) * axis.stepMs
  }

  private mutating func addElsewhere(_ timeMs: Int64, _ count: Int) {
    if counts.isEmpty {
      axis = Axis(fromMs: timeMs, toMs: timeMs)
      counts = [0]
    }
    var place = timeMs.floorDivided(by: axis.stepMs) - axis.first
    while place >= Int64(Self.stepsMax) || Int64(counts.count) - place > Int64(Self.stepsMax) {
      lengthen()
      place = timeMs.floorDivided(by: axis.stepMs) - axis.first
    }
    if place < 0 {
      counts.insert(contentsOf: repeatElement(0, count: Int(-place)), at: 0)
      axis.first += place
      place = 0
    }
    if place >= counts.count { counts += repeatElement(0, count: Int(place) + 1 - counts.count) }
    counts[Int(place)] &+= UInt32(clamping: count)
  }

  /// On an axis whose steps are no shorter; what lies outside of it counts at its ends.
  func values(on other: Axis) -> [Int] {
    var values = [Int](repeating: 0, count: other.count)
    for (index, count) in counts.enumerated() where count > 0 {
      let step = ((axis.first + Int64(index)) * axis.stepMs).floorDivided(by: other.stepMs)
      values[Int(min(max(0, step - other.first), Int64(other.count - 1)))] += Int(count)
    }
    return values
  }

  private mutating func lengthen() {
    let old = (axis, counts)
    axis.stepMs = Self.longer(old.0.stepMs)
    axis.first = (old.0.first * old.0.stepMs).floorDivided(by: axis.stepMs)
    let last = ((old.0.first + Int64(old.1.count - 1)) * old.0.stepMs).floorDivided(by: axis.stepMs)
    counts = [UInt32](repeating: 0, count: Int(last - axis.first) + 1)
    for (index, count) in old.1.enumerated() {
      let step = ((old.0.first + Int64(index)) * old.0.stepMs).floorDivided(by: axis.stepMs)
      counts[Int(step - axis.first)] &+= count
    }
  }

  private static func longer(_ stepMs: Int64) -> Int64 { stepsMs.first { $0 > stepMs } ?? stepMs * 2 }
}

/// Part of the time that is shown.
package enum TimeSpan: String, CaseIterable, Sendable {
  case tenMinutes = "10m"
  case twoHours = "2h"
  case whole = "all"
}

/// One kind of thing, over each span.
struct TimeSeries: Sendable {
  private var tenMinutes = RecentCounts(.tenMinutes)
  private var twoHours = RecentCounts(.twoHours)
  private var whole = WholeCounts()

  mutating func add(_ timeMs: Int64, _ count: Int = 1) {
    tenMinutes.add(timeMs, count)
    twoHours.add(timeMs, count)
    whole.add(timeMs, count)
  }

  func values(_ frame: TimeFrame) -> [Int] {
    switch frame.span {
    case .tenMinutes: tenMinutes.values(nowMs: frame.nowMs)
    case .twoHours: twoHours.values(nowMs: frame.nowMs)
    case .whole: whole.values(on: frame.axis)
    }
  }
}

/// The steps that all series of one answer share.
struct TimeFrame: Sendable {
  let span: TimeSpan
  let nowMs: Int64
  let axis: WholeCounts.Axis

  /// The whole of a log ends with its last line, also when that is long ago.
  init(_ span: TimeSpan, nowMs: Int64, firstMs: Int64, lastMs: Int64) {
    self.span = span
    self.nowMs = nowMs
    switch span {
    case .tenMinutes: axis = Self.axis(.tenMinutes, nowMs)
    case .twoHours: axis = Self.axis(.twoHours, nowMs)
    case .whole: axis = WholeCounts.Axis(fromMs: min(firstMs, lastMs), toMs: lastMs)
    }
  }

  private static func axis(_ shape: RecentCounts.Shape, _ nowMs: Int64) -> WholeCounts.Axis {
    var axis = WholeCounts.Axis(fromMs: 0, toMs: 0)
    axis.stepMs = shape.stepMs
    axis.first = nowMs.floorDivided(by: shape.stepMs) - Int64(shape.steps - 1)
    axis.count = shape.steps
    return axis
  }
}
