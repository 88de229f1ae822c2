// One event loop: epoll, timers, and the sources that live on it. One thread each, and no lock.
// It relies on 64-bit keys of slot, generation and tag: no pointer lives in the kernel, and a stale event falls out.
import CLinux

/// Events that epoll reported since the last time (edge-triggered). Bits that are tested by hand: a set literal of an
/// OptionSet is built through protocol witnesses in another module, on each event.
package struct Readiness: Sendable {
  private let bits: UInt32

  init(bits: UInt32) { self.bits = bits }

  package var isReadable: Bool { bits & UInt32(CLINUX_READABLE) != 0 }
  package var isWritable: Bool { bits & UInt32(CLINUX_WRITABLE) != 0 }
  /// The peer will send no more, or the connection broke.
  package var hasPeerEnded: Bool { bits & UInt32(CLINUX_PEER_CLOSED | CLINUX_HANGUP | CLINUX_ERROR) != 0 }
  package var isBroken: Bool { bits & UInt32(CLINUX_HANGUP | CLINUX_ERROR) != 0 }
}

/// Whatever has descriptors or a deadline on a loop.
package protocol Source: AnyObject {
  func ready(_ readiness: Readiness, tag: UInt8)
  func deadlinePassed()
  /// The source asked for another turn with `Loop.again`.
  func resume()
}

package protocol LoopDelegate: AnyObject {
  /// The clocks have moved; events follow.
  func turnBegan()
  func mailArrived()
  /// All events of a turn are handled: the moment to write what has gathered.
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
  /// How much of its time it has waited, and in how many turns: what is left is work.
  package private(set) var idleNs: UInt64 = 0
  package private(set) var turns: UInt64 = 0
  package let startedNs: UInt64
  /// When the wait of this turn began; 0 where it does not wait.
  private var waitBeganNs: UInt64 = 0
  /// Readable while there is something to do: for whoever waits for several loops.
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
  /// The same with the edges of its socket, under the tag 0. Where this throws, the source has no place.
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
  /// Events that the kernel still has for the slot's sockets fall out by their generation.
  package func release(_ slot: Slot) { _ = slots.release(slot) }
  /// nil when its holder has left.
  package func source(at slot: Slot) -> (any Source)? { slots.source(index: slot.index, generation: slot.generation) }
  package var sources: [any Source] { slots.sources }

  // MARK: - What a source asks for

  private func key(_ slot: Slot, _ tag: UInt8) -> UInt64 {
    UInt64(UInt32(truncatingIfNeeded: slot.index)) << 32 | UInt64(slot.generation) << 8 | UInt64(tag)
  }

  private func check(_ result: CInt) throws(SystemError) {
    if result < 0 { throw SystemError("epoll_ctl", code: 0 &- result) }
  }

  /// Edges of both directions, for as long as the descriptor lives.
  package func watchEdges(_ fd: CInt, _ slot: Slot, tag: UInt8) throws(SystemError) {
    try check(clinux_epoll_add_edges(epoll.raw, fd, key(slot, tag)))
  }

  /// Of reading alone, edges or levels: a listener that other loops watch too.
  package func watchShared(_ fd: CInt, _ slot: Slot, tag: UInt8, edges: Bool) throws(SystemError) {
    try check(clinux_epoll_add_shared(epoll.raw, fd, key(slot, tag), edges ? 1 : 0))
  }

  /// Before it is closed: a socket that another process or loop holds open too would go on with its events.
  package func unwatch(_ fd: CInt) { _ = clinux_epoll_remove(epoll.raw, fd) }

  /// Edges of what there is to read. Most sockets take all that they are sent, and never pay for the edges of writing.
  package func watchReadingEdges(_ fd: CInt, _ slot: Slot, tag: UInt8) throws(SystemError) {
    try check(clinux_epoll_add_reading_edges(epoll.raw, fd, key(slot, tag)))
  }

  /// From then on edges of both directions: what is so at this moment is told again.
  package func watchWritingEdgesToo(_ fd: CInt, _ slot: Slot, tag: UInt8) throws(SystemError) {
    try check(clinux_epoll_all_edges(epoll.raw, fd, key(slot, tag)))
  }

  /// Levels, as libraries with descriptors of their own want it. Nothing wanted: no longer watched.
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

  /// One deadline a slot; `.max` is none.
  package func setDeadline(_ slot: Slot, atMs dueMs: UInt64) { slots.setDeadline(slot, atMs: dueMs) }

  /// Another turn for a source that stopped with work left, after all others had theirs.
  package func again(_ slot: Slot) { slots.queue(slot) }

  // MARK: - The turns

  /// A source asked for another turn.
  package var hasQueued: Bool { slots.hasQueued }

  package func stop() { isRunning = false }

  /// Sources hold their loop and the loop holds its sources: a thread that ends lets both go.
  package func end() { slots = SlotTable(nowMs: nowMs) }

  package func run(_ delegate: any LoopDelegate) {
    isRunning = true
    while isRunning { turn(delegate, waitMsMax: .max) }
    delegate.turnEnded()
  }

  /// One turn, for a thread that looks after other things in between.
  package func turn(_ delegate: any LoopDelegate, waitMsMax: UInt64) {
    let count = unsafe clinux_epoll_wait(epoll.raw, events, CInt(Self.eventsMax), timeoutMs(waitMsMax))
    // Only a bug can make epoll_wait fail: EINTR is none, and the arguments are ours.
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
    // A source that fires may release the next, and its slot may be taken again: the new holder has its own deadline.
    let fired = due.map(slots.slot(at:))
    due.removeAll(keepingCapacity: true)
    for slot in fired { slots.source(index: slot.index, generation: slot.generation)?.deadlinePassed() }
  }

  private func resumeQueued() {
    if !slots.hasQueued { return }
    for slot in slots.takeQueued() { slots.source(unqueued: slot)?.resume() }
  }
}
