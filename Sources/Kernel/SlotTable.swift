// The slots of a loop: the holder, its deadline, and the request for another turn.
// It relies on TimerWheel for deadlines; all in one value, so that a call of the loop costs one exclusivity check.

/// A slot on a loop. The generation distinguishes its holder from earlier ones.
package struct Slot: Hashable, Sendable {
  package let index: Int
  let generation: UInt32

  package static let none = Slot(index: -1, generation: 0)
}

struct SlotTable {
  private struct Entry {
    var source: (any Source)?
    var generation: UInt32 = 1
    var isQueued = false
  }

  private static let generationMask: UInt32 = 0xff_ffff

  private var entries: ContiguousArray<Entry> = []
  private var free: [Int] = []
  private var wheel: TimerWheel
  private var queued: [Slot] = []

  init(nowMs: UInt64) { wheel = TimerWheel(nowMs: nowMs) }

  mutating func register(_ source: any Source) -> Slot {
    let index: Int
    if let last = free.popLast() {
      index = last
    } else {
      index = entries.count
      entries.append(Entry())
    }
    entries[index].source = source
    return Slot(index: index, generation: entries[index].generation)
  }

  /// Returns the holder: its deinit may call the loop, and must run after this call.
  mutating func release(_ slot: Slot) -> (any Source)? {
    guard isCurrent(slot) else { return nil }
    let holder = entries[slot.index].source
    entries[slot.index].source = nil
    entries[slot.index].isQueued = false
    let next = (slot.generation + 1) & Self.generationMask
    entries[slot.index].generation = next == 0 ? 1 : next
    wheel.remove(slot.index)
    free.append(slot.index)
    return holder
  }

  func isCurrent(_ slot: Slot) -> Bool {
    entries.indices.contains(slot.index) && entries[slot.index].generation == slot.generation
      && entries[slot.index].source != nil
  }

  /// Nil if the holder has left the slot.
  func source(index: Int, generation: UInt32) -> (any Source)? {
    guard entries.indices.contains(index), entries[index].generation == generation else { return nil }
    return entries[index].source
  }

  var sources: [any Source] { entries.compactMap(\.source) }

  // MARK: - Deadlines

  mutating func setDeadline(_ slot: Slot, atMs dueMs: UInt64) {
    if isCurrent(slot) { wheel.set(slot.index, atMs: dueMs) }
  }

  func waitMs(nowMs: UInt64) -> UInt64? { wheel.waitMs(nowMs: nowMs) }
  mutating func advance(toMs nowMs: UInt64, due: inout [Int]) { wheel.advance(toMs: nowMs, due: &due) }
  /// The slot with its current generation.
  func slot(at index: Int) -> Slot { Slot(index: index, generation: entries[index].generation) }

  // MARK: - Further turns

  var hasQueued: Bool { !queued.isEmpty }

  mutating func queue(_ slot: Slot) {
    guard isCurrent(slot), !entries[slot.index].isQueued else { return }
    entries[slot.index].isQueued = true
    queued.append(slot)
  }

  mutating func takeQueued() -> [Slot] {
    defer { queued.removeAll(keepingCapacity: true) }
    return queued
  }

  mutating func source(unqueued slot: Slot) -> (any Source)? {
    guard isCurrent(slot) else { return nil }
    entries[slot.index].isQueued = false
    return entries[slot.index].source
  }
}
