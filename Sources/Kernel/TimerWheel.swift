// Deadlines of a loop's slots: a hierarchical timer wheel (Varghese and Lauck), one timer per slot, constant time per
// operation. It relies on the loop for the time, and has neither a clock nor callbacks.

/// Four wheels of 64 places: ticks of 8 ms, half a second, half a minute, and 35 minutes. A later deadline waits in the
/// last place and is looked at again.
struct TimerWheel {
  static let tickMs: UInt64 = 8
  private static let levels = 4
  private static let never = UInt64.max

  private struct Timer {
    var next: Int32 = -1
    var previous: Int32 = -1
    /// The place of the timer in the wheel, or -1.
    var place: Int16 = -1
    /// The tick that the timer is armed for.
    var armedTick: UInt64 = 0
    /// The owner's deadline. If it is later than the armed tick, the timer moves when it comes up: moving it on every
    /// event would cost more.
    var wantedMs: UInt64 = TimerWheel.never
  }

  private var timers: ContiguousArray<Timer> = []
  private var heads = ContiguousArray<Int32>(repeating: -1, count: TimerWheel.levels * 64)
  private var occupied = [4 of UInt64](repeating: 0)
  private var currentTick: UInt64

  init(nowMs: UInt64) { currentTick = nowMs / Self.tickMs }

  mutating func set(_ slot: Int, atMs dueMs: UInt64) {
    if slot >= timers.count { timers.append(contentsOf: repeatElement(Timer(), count: slot + 1 - timers.count)) }
    timers[slot].wantedMs = dueMs
    if dueMs == Self.never { return }
    let tick = Self.tick(dueMs)
    if timers[slot].place >= 0 {
      if timers[slot].armedTick <= tick { return }
      unlink(slot)
    }
    link(slot, max(tick, currentTick + 1))
  }

  mutating func remove(_ slot: Int) {
    guard slot < timers.count else { return }
    timers[slot].wantedMs = Self.never
    if timers[slot].place >= 0 { unlink(slot) }
  }

  /// The time until the next timer; nil without timers.
  func waitMs(nowMs: UInt64) -> UInt64? {
    guard let tick = nextTick() else { return nil }
    let dueMs = tick * Self.tickMs
    return dueMs > nowMs ? dueMs - nowMs : 0
  }

  /// Advances to `nowMs` and appends the slots whose deadlines have passed.
  mutating func advance(toMs nowMs: UInt64, due: inout [Int]) {
    let target = nowMs / Self.tickMs
    while let tick = nextTick(), tick <= target {
      currentTick = tick
      for level in (1..<Self.levels).reversed() where tick & ((1 << (6 * UInt64(level))) - 1) == 0 {
        empty(place: level * 64 + Int(tick >> (6 * UInt64(level)) & 63), nowMs, &due)
      }
      empty(place: Int(tick & 63), nowMs, &due)
    }
    currentTick = max(currentTick, target)
  }

  // MARK: - Places

  /// Rounded up: a timer never fires early.
  private static func tick(_ dueMs: UInt64) -> UInt64 { dueMs / tickMs + (dueMs % tickMs == 0 ? 0 : 1) }

  private mutating func empty(place: Int, _ nowMs: UInt64, _ due: inout [Int]) {
    while heads[place] >= 0 {
      let slot = Int(heads[place])
      unlink(slot)
      let wantedMs = timers[slot].wantedMs
      if wantedMs <= nowMs {
        timers[slot].wantedMs = Self.never
        due.append(slot)
      } else if wantedMs != Self.never {
        link(slot, max(Self.tick(wantedMs), currentTick + 1))
      }
    }
  }

  private mutating func link(_ slot: Int, _ tick: UInt64) {
    var level = 0
    while level < Self.levels - 1 && (tick >> shift(level)) - (currentTick >> shift(level)) > 63 { level += 1 }
    let ahead = min((tick >> shift(level)) - (currentTick >> shift(level)), 63)
    let index = Int(((currentTick >> shift(level)) + ahead) & 63)
    let place = level * 64 + index
    let head = heads[place]
    timers[slot].next = head
    timers[slot].previous = -1
    timers[slot].place = Int16(place)
    timers[slot].armedTick = tick
    if head >= 0 { timers[Int(head)].previous = Int32(slot) }
    heads[place] = Int32(slot)
    occupied[level] |= 1 << UInt64(index)
  }

  private mutating func unlink(_ slot: Int) {
    let timer = timers[slot]
    let place = Int(timer.place)
    if timer.next >= 0 { timers[Int(timer.next)].previous = timer.previous }
    if timer.previous >= 0 {
      timers[Int(timer.previous)].next = timer.next
    } else {
      heads[place] = timer.next
      if timer.next < 0 { occupied[place / 64] &= ~(1 << UInt64(place % 64)) }
    }
    timers[slot].place = -1
  }

  private func shift(_ level: Int) -> UInt64 { 6 * UInt64(level) }

  /// The next tick at which a place must be emptied.
  private func nextTick() -> UInt64? {
    var best: UInt64?
    for level in 0..<Self.levels where occupied[level] != 0 {
      let current = currentTick >> shift(level)
      // Rotate so that bit 0 is the place one ahead of the current one.
      let by = (current + 1) & 63
      let rotated = occupied[level] >> by | (by == 0 ? 0 : occupied[level] << (64 - by))
      let tick = (current + 1 + UInt64(rotated.trailingZeroBitCount)) << shift(level)
      best = min(best ?? tick, tick)
    }
    return best
  }
}
