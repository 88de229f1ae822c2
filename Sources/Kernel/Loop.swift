// One event loop: epoll, timers, and the sources that live on it. One thread each, and no lock.
// It relies on 64-bit keys of slot, generation and tag: no pointer lives in the kernel, and a stale event falls out.
import CLinux

/// What epoll told of a socket since the last time (edge-triggered).
package struct Readiness: OptionSet, Sendable {
  package let rawValue: UInt32

  package init(rawValue: UInt32) { self.rawValue = rawValue }

  package static let readable = Readiness(rawValue: UInt32(CLINUX_READABLE))
  package static let writable = Readiness(rawValue: UInt32(CLINUX_WRITABLE))
  package static let peerClosed = Readiness(rawValue: UInt32(CLINUX_PEER_CLOSED))
  package static let hangup = Readiness(rawValue: UInt32(CLINUX_HANGUP))
  package static let error = Readiness(rawValue: UInt32(CLINUX_ERROR))
}

/// Whatever has descriptors or a deadline on a loop.
package protocol Source: AnyObject {
  func ready(_ readiness: Readiness, tag: UInt8)
  func deadlinePassed()
  /// It asked for another turn with `Loop.again`.
  func resume()
}

package protocol LoopDelegate: AnyObject {
  func mailArrived()
  /// All events of a turn are handled: the moment to write what has gathered.
  func turnEnded()
}

/// A place on a loop. The generation tells its holder from the ones before.
package struct Slot: Equatable, Sendable {
  package let index: Int
  let generation: UInt32

  package static let none = Slot(index: -1, generation: 0)
}

@safe package final class Loop {
  private struct Entry {
    var source: (any Source)?
    var generation: UInt32 = 1
    var isQueued = false
  }

  private static let eventsMax = 256
  private static let generationMask: UInt32 = 0xff_ffff
  private static let mailboxKey = UInt64.max

  private let epoll: Descriptor
  private var entries: ContiguousArray<Entry> = []
  private var free: [Int] = []
  private var wheel: TimerWheel
  private var due: [Int] = []
  private var queued: [Slot] = []
  private var isRunning = false
  /// SAFETY: allocated here for `eventsMax` events, freed in deinit, indexed below the count that epoll answered.
  private let events: UnsafeMutablePointer<clinux_event>

  /// The clocks, read once a turn.
  package private(set) var nowNs: UInt64
  package private(set) var wallMs: Int64
  package var nowMs: UInt64 { nowNs / 1_000_000 }

  package init() throws(SystemError) {
    let fd = clinux_epoll_create()
    guard fd >= 0 else { throw SystemError("epoll_create1", code: -fd) }
    epoll = Descriptor(owning: fd)
    nowNs = clinux_monotonic_ns()
    wallMs = clinux_wall_ms()
    wheel = TimerWheel(nowMs: clinux_monotonic_ns() / 1_000_000)
    unsafe events = .allocate(capacity: Self.eventsMax)
  }

  deinit { unsafe events.deallocate() }

  // MARK: - Slots

  package func register(_ source: any Source) -> Slot {
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

  /// Events that the kernel still has for the slot's sockets fall out by their generation.
  package func release(_ slot: Slot) {
    guard isCurrent(slot) else { return }
    entries[slot.index].source = nil
    entries[slot.index].isQueued = false
    let next = (slot.generation + 1) & Self.generationMask
    entries[slot.index].generation = next == 0 ? 1 : next
    wheel.remove(slot.index)
    free.append(slot.index)
  }

  package func isCurrent(_ slot: Slot) -> Bool {
    entries.indices.contains(slot.index) && entries[slot.index].generation == slot.generation
      && entries[slot.index].source != nil
  }

  // MARK: - What a source asks for

  private func key(_ slot: Slot, _ tag: UInt8) -> UInt64 {
    UInt64(UInt32(truncatingIfNeeded: slot.index)) << 32 | UInt64(slot.generation) << 8 | UInt64(tag)
  }

  /// Edges of both directions, for as long as the descriptor lives. False when the kernel refused.
  package func watchEdges(_ fd: CInt, _ slot: Slot, tag: UInt8) -> Bool {
    clinux_epoll_add_edges(epoll.raw, fd, key(slot, tag)) == 0
  }

  /// Levels, as libraries with descriptors of their own want it. Nothing wanted: no longer watched.
  package func watchLevels(_ fd: CInt, _ slot: Slot, tag: UInt8, readable: Bool, writable: Bool, isNew: Bool) -> Bool {
    if !readable && !writable { return clinux_epoll_remove(epoll.raw, fd) == 0 }
    return clinux_epoll_interest(
      epoll.raw, fd, key(slot, tag), readable ? 1 : 0, writable ? 1 : 0, isNew ? 1 : 0) == 0
  }

  package func watchMailbox(_ fd: CInt) throws(SystemError) {
    let result = clinux_epoll_add_readable(epoll.raw, fd, Self.mailboxKey)
    if result < 0 { throw SystemError("epoll_ctl", code: -result) }
  }

  /// One deadline a slot; `.max` is none.
  package func setDeadline(_ slot: Slot, atMs dueMs: UInt64) {
    if isCurrent(slot) { wheel.set(slot.index, atMs: dueMs) }
  }

  /// Another turn for a source that stopped with work left, after all others had theirs.
  package func again(_ slot: Slot) {
    guard isCurrent(slot), !entries[slot.index].isQueued else { return }
    entries[slot.index].isQueued = true
    queued.append(slot)
  }

  // MARK: - The turns

  package func stop() { isRunning = false }

  package func run(_ delegate: any LoopDelegate) {
    isRunning = true
    while isRunning { turn(delegate) }
    delegate.turnEnded()
  }

  private func turn(_ delegate: any LoopDelegate) {
    let count = unsafe clinux_epoll_wait(epoll.raw, events, CInt(Self.eventsMax), timeoutMs())
    // Only a bug can make epoll_wait fail: EINTR is none, and the arguments are ours.
    precondition(count >= 0, "epoll_wait failed: errno \(-count)")
    readClocks()
    var hasMail = false
    for index in 0..<Int(count) {
      let event = unsafe events[index]
      if event.key == Self.mailboxKey { hasMail = true } else { deliver(event) }
    }
    if hasMail { delegate.mailArrived() }
    fireTimers()
    resumeQueued()
    delegate.turnEnded()
  }

  private func timeoutMs() -> CInt {
    if !queued.isEmpty { return 0 }
    guard let waitMs = wheel.waitMs(nowMs: clinux_monotonic_ns() / 1_000_000) else { return -1 }
    return CInt(clamping: waitMs)
  }

  private func readClocks() {
    nowNs = clinux_monotonic_ns()
    wallMs = clinux_wall_ms()
  }

  private func deliver(_ event: clinux_event) {
    let index = Int(event.key >> 32)
    guard index < entries.count, entries[index].generation == UInt32(event.key >> 8 & 0xff_ffff),
      let source = entries[index].source
    else { return }
    source.ready(Readiness(rawValue: event.ready), tag: UInt8(truncatingIfNeeded: event.key))
  }

  private func fireTimers() {
    wheel.advance(toMs: nowMs, due: &due)
    if due.isEmpty { return }
    let fired = due
    due.removeAll(keepingCapacity: true)
    for index in fired { entries[index].source?.deadlinePassed() }
  }

  private func resumeQueued() {
    if queued.isEmpty { return }
    let resumed = queued
    queued.removeAll(keepingCapacity: true)
    for slot in resumed where isCurrent(slot) {
      entries[slot.index].isQueued = false
      entries[slot.index].source?.resume()
    }
  }
}
