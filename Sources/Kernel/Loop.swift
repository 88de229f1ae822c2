// One event loop: epoll, timers and sources. Each loop has one thread and needs no lock.
// It relies on 64-bit keys of slot, generation and tag: no pointer lives in the kernel, and a stale event is dropped.
import CLinux

/// Events that epoll reported since the last time (edge-triggered). Bits that are tested by hand: a set literal of an
/// OptionSet is built through protocol witnesses in another module, on each event.
package struct Readiness: Sendable {
  private let bits: UInt32

  init(bits: UInt32) { self.bits = bits }

  package var isReadable: Bool { bits & UInt32(CLINUX_READABLE) != 0 }
  package var isWritable: Bool { bits & UInt32(CLINUX_WRITABLE) != 0 }
  /// True if the peer will send no more, or the connection broke.
  package var hasPeerEnded: Bool { bits & UInt32(CLINUX_PEER_CLOSED | CLINUX_HANGUP | CLINUX_ERROR) != 0 }
  package var isBroken: Bool { bits & UInt32(CLINUX_HANGUP | CLINUX_ERROR) != 0 }
}

/// An object with descriptors or a deadline on a loop.
package protocol Source: AnyObject {
  func ready(_ readiness: Readiness, tag: UInt8)
  func deadlinePassed()
  /// Called in the turn that the source asked for with `Loop.again`.
  func resume()
}

package protocol LoopDelegate: AnyObject {
  /// Called after the clocks are read and before the turn's events.
  func turnBegan()
  func mailArrived()
  /// Called after all events of a turn, to write collected output.
  func turnEnded()
}

@safe package final class Loop {
  private static let eventsMax = 256
  private static let mailboxKey = UInt64.max

  private let epoll: Descriptor
  /// SAFETY of `@exclusivity(unchecked)`: each call of the table returns before anything else of the loop is called.
  @safe @exclusivity(unchecked) private var slots: SlotTable
  private var due: [Int] = []
  private var isRunning = false
  /// SAFETY: allocated here for `eventsMax` events, freed in deinit, indexed below the count that epoll answered.
  private let events: UnsafeMutablePointer<clinux_event>

  /// The clocks, read once a turn.
  package private(set) var nowNs: UInt64
  package private(set) var wallMs: Int64
  /// The time spent waiting; the rest of the loop's time is work.
  package private(set) var idleNs: UInt64 = 0
  package private(set) var turns: UInt64 = 0
  package let startedNs: UInt64
  /// The start of this turn's wait; 0 while the loop does not wait.
  private var waitBeganNs: UInt64 = 0
  /// A descriptor that is readable while events are pending, for a thread that waits for several loops.
  package var fd: CInt { epoll.raw }
  package var nowMs: UInt64 { nowNs / 1_000_000 }

  package init() throws(SystemError) {
    let fd = clinux_epoll_create()
    guard fd >= 0 else { throw SystemError("epoll_create1", code: -fd) }
    epoll = Descriptor(owning: fd)
    nowNs = clinux_monotonic_ns()
    startedNs = nowNs
    wallMs = clinux_wall_ms()
    slots = SlotTable(nowMs: clinux_monotonic_ns() / 1_000_000)
    unsafe events = .allocate(capacity: Self.eventsMax)
  }

  deinit { unsafe events.deallocate() }

  // MARK: - Slots

  /// The source is kept alive until its slot is released.
  package func register(_ source: any Source) -> Slot { slots.register(source) }
  /// Registers a source and watches its socket's edges with tag 0. If this throws, the source has no slot.
  package func register(_ source: any Source, watching fd: CInt) throws(SystemError) -> Slot {
    let slot = register(source)
    do throws(SystemError) {
      try watchEdges(fd, slot, tag: 0)
      return slot
    } catch {
      release(slot)
      throw error
    }
  }
  /// Releases a slot. Pending kernel events for it are dropped by their generation.
  package func release(_ slot: Slot) { _ = slots.release(slot) }
  /// Nil if the holder has left.
  package func source(at slot: Slot) -> (any Source)? { slots.source(index: slot.index, generation: slot.generation) }
  package var sources: [any Source] { slots.sources }

  // MARK: - What a source asks for

  private func key(_ slot: Slot, _ tag: UInt8) -> UInt64 {
    UInt64(UInt32(truncatingIfNeeded: slot.index)) << 32 | UInt64(slot.generation) << 8 | UInt64(tag)
  }

  private func check(_ result: CInt) throws(SystemError) {
    if result < 0 { throw SystemError("epoll_ctl", code: 0 &- result) }
  }

  /// Watches edges of both directions until the descriptor is closed.
  package func watchEdges(_ fd: CInt, _ slot: Slot, tag: UInt8) throws(SystemError) {
    try check(clinux_epoll_add_edges(epoll.raw, fd, key(slot, tag)))
  }

  /// Watches reading only, edges or levels, for a listener that other loops watch too.
  package func watchShared(_ fd: CInt, _ slot: Slot, tag: UInt8, edges: Bool) throws(SystemError) {
    try check(clinux_epoll_add_shared(epoll.raw, fd, key(slot, tag), edges ? 1 : 0))
  }

  /// Call before the close: a socket that another process or loop also holds open would keep sending events.
  package func unwatch(_ fd: CInt) { _ = clinux_epoll_remove(epoll.raw, fd) }

  /// Watches edges of reading. Most sockets take all bytes at once, and never pay for the edges of writing.
  package func watchReadingEdges(_ fd: CInt, _ slot: Slot, tag: UInt8) throws(SystemError) {
    try check(clinux_epoll_add_reading_edges(epoll.raw, fd, key(slot, tag)))
  }

  /// Watches edges of both directions from now on. The current readiness is reported again.
  package func watchWritingEdgesToo(_ fd: CInt, _ slot: Slot, tag: UInt8) throws(SystemError) {
    try check(clinux_epoll_all_edges(epoll.raw, fd, key(slot, tag)))
  }

  /// Watches levels, for libraries with their own descriptors. With neither direction, stops watching.
  package func watchLevels(
    _ fd: CInt, _ slot: Slot, tag: UInt8, readable: Bool, writable: Bool, isNew: Bool
  ) throws(SystemError) {
    if !readable && !writable { return try check(clinux_epoll_remove(epoll.raw, fd)) }
    try check(
      clinux_epoll_interest(epoll.raw, fd, key(slot, tag), readable ? 1 : 0, writable ? 1 : 0, isNew ? 1 : 0))
  }

  package func watchMailbox(_ fd: CInt) throws(SystemError) {
    try check(clinux_epoll_add_readable(epoll.raw, fd, Self.mailboxKey))
  }

  /// Sets the deadline of a slot; `.max` means none.
  package func setDeadline(_ slot: Slot, atMs dueMs: UInt64) { slots.setDeadline(slot, atMs: dueMs) }

  /// Gives another turn to a source that stopped with work left, after all others had theirs.
  package func again(_ slot: Slot) { slots.queue(slot) }

  // MARK: - The turns

  /// True if a source asked for another turn.
  package var hasQueued: Bool { slots.hasQueued }

  package func stop() { isRunning = false }

  /// Releases all sources when the thread ends: sources and loop hold each other in a cycle.
  package func end() { slots = SlotTable(nowMs: nowMs) }

  package func run(_ delegate: any LoopDelegate) {
    isRunning = true
    while isRunning { turn(delegate, waitMsMax: .max) }
    delegate.turnEnded()
  }

  /// Runs one turn, for a thread with other work in between.
  package func turn(_ delegate: any LoopDelegate, waitMsMax: UInt64) {
    let count = unsafe clinux_epoll_wait(epoll.raw, events, CInt(Self.eventsMax), timeoutMs(waitMsMax))
    // Only a bug can make epoll_wait fail: EINTR is handled, and the arguments are fixed.
    precondition(count >= 0, "epoll_wait failed: errno \(-count)")
    readClocks()
    turns &+= 1
    if waitBeganNs > 0 { idleNs &+= nowNs &- waitBeganNs }
    delegate.turnBegan()
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

  private func timeoutMs(_ waitMsMax: UInt64) -> CInt {
    waitBeganNs = 0
    if slots.hasQueued { return 0 }
    waitBeganNs = clinux_monotonic_ns()
    let waitMs = slots.waitMs(nowMs: waitBeganNs / 1_000_000) ?? .max
    let shorter = min(waitMs, waitMsMax)
    return shorter == .max ? -1 : CInt(clamping: shorter)
  }

  private func readClocks() {
    nowNs = clinux_monotonic_ns()
    wallMs = clinux_wall_ms()
  }

  private func deliver(_ event: clinux_event) {
    guard let source = slots.source(index: Int(event.key >> 32), generation: UInt32(event.key >> 8 & 0xff_ffff))
    else { return }
    source.ready(Readiness(bits: event.ready), tag: UInt8(truncatingIfNeeded: event.key))
  }

  private func fireTimers() {
    slots.advance(toMs: nowMs, due: &due)
    if due.isEmpty { return }
    // A fired source may release another slot, which may be reused: a new holder has its own deadline.
    let fired = due.map(slots.slot(at:))
    due.removeAll(keepingCapacity: true)
    for slot in fired { slots.source(index: slot.index, generation: slot.generation)?.deadlinePassed() }
  }

  private func resumeQueued() {
    if !slots.hasQueued { return }
    for slot in slots.takeQueued() { slots.source(unqueued: slot)?.resume() }
  }
}
