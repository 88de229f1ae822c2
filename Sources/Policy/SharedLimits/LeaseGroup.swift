// A gate as a member of a group that shares limits: a pure state machine over all its leases. Start reading here.
// It relies on whoever owns it to carry requests to the store and answers back; it has no clock and no socket.

/// ```
///   joining --- announced ---> shared --- an answer is late, the connection broke ---> lost
///      |                          ^                                                      |
///      | no store                 | 400 ms: all gates have told what they spent          | connected, announced
///      v                          |                                                      v
///     lost                        +------------------------------------------------- settling
/// ```
/// In `joining` requests wait for the store. In `lost` and `settling` the gate has its share of each limit, or nothing.
package struct LeaseGroup {
  package enum State: Equatable, Sendable { case joining, shared, lost, settling }

  package enum Event: Equatable, Sendable {
    case joined(gates: Int)
    case lost(LeaseMode)
    case regained(gates: Int, hasForgotten: Bool)
  }

  package private(set) var state = State.joining
  /// As the store counted them last; 0: nobody knows.
  package private(set) var gates = 0
  /// Questions that were asked, and losses.
  package private(set) var operations: UInt64 = 0
  package private(set) var losses: UInt64 = 0
  private let onLoss: Settings.SharedLimits.OnLoss
  private let freshMark: String
  private var mark = ""
  private var bornUs: UInt64 = 0
  private var hasForgotten = false
  private var newcomerUntilMs: UInt64?
  private var settledMs: UInt64 = 0
  private var announceMs: UInt64 = 0
  private var isConnected = false
  private var tokens: [LeaseKey: TokenLease] = [:]
  private var slots: [LeaseKey: SlotLease] = [:]
  /// Leases that have something to be looked after.
  private var active: Set<LeaseKey> = []
  private var lookMs = UInt64.max
  /// Questions under way, and the bucket of each.
  private var pending: [UInt64: LeaseKey?] = [:]
  private var lastId: UInt64 = 0
  private var outbox: [LeaseRequest] = []
  private var events: [Event] = []

  /// `mark`: random, and this gate's own.
  package init(onLoss: Settings.SharedLimits.OnLoss, mark: String) { (self.onLoss, freshMark) = (onLoss, mark) }

  package mutating func takeRequests() -> [LeaseRequest] {
    defer { outbox = [] }
    return outbox
  }

  package mutating func takeEvents() -> [Event] {
    defer { events = [] }
    return events
  }

  package var heldTokens: Int { tokens.values.reduce(0) { $0 + $1.tokens.held } }
  package var limitCount: Int { tokens.count + slots.count }

  // MARK: - Limits

  /// Of the policy in force. What is gone from it gives back what it holds.
  package mutating func replace(_ limits: [SharedLimit], nowMs: UInt64) {
    let old = (tokens, slots)
    (tokens, slots) = ([:], [:])
    for limit in limits where tokens[limit.key] == nil && slots[limit.key] == nil {
      switch limit.lease {
      case .tokens(let leased, let numbers):
        let kept = old.0[limit.key].flatMap { $0.tokens === leased ? $0 : nil }
        var lease = kept ?? TokenLease(leased, numbers)
        lease.setLimit(numbers)
        if kept == nil, let mode = modeNow { lease.lost(mode, nowMs: nowMs) }
        tokens[limit.key] = lease
      case .slots(let leased, let number):
        let kept = old.1[limit.key].flatMap { $0.slots === leased ? $0 : nil }
        var lease = kept ?? SlotLease(leased, limit: number)
        lease.setLimit(number)
        if kept == nil, let mode = modeNow { lease.lost(mode) }
        slots[limit.key] = lease
      }
    }
    for (key, var lease) in old.0 where tokens[key] == nil && state == .shared {
      if let question = lease.close(bornUs: bornUs) { send(nil, .tokens(question), about: key) }
    }
    active.formIntersection(Set(tokens.keys).union(slots.keys))
  }

  /// nil while the store is there.
  private var modeNow: LeaseMode? {
    switch state {
    case .joining, .shared: nil
    case .lost, .settling: onLoss == .share && gates > 0 ? .alone(gates: gates) : .refusing
    }
  }

  // MARK: - The store

  package mutating func connected(nowMs: UInt64) {
    isConnected = true
    announceMs = nowMs
    advance(nowMs: nowMs)
  }

  /// Everything under way is lost with it.
  package mutating func disconnected(nowMs: UInt64) {
    isConnected = false
    pending = [:]
    outbox = []
    if state == .lost { return }
    lookMs = nowMs
    let isFirst = state != .settling
    state = .lost
    let mode = modeNow ?? .refusing
    if isFirst {
      losses &+= 1
      events.append(.lost(mode))
      for key in tokens.keys { tokens[key]?.lost(mode, nowMs: nowMs) }
      for key in slots.keys { slots[key]?.lost(mode) }
    } else {
      for key in tokens.keys { tokens[key]?.failed() }
      for key in slots.keys { slots[key]?.failed() }
    }
  }

  package mutating func answered(_ id: UInt64, _ reply: LeaseReply, nowMs: UInt64) -> Bool {
    guard let subject = pending.removeValue(forKey: id) else { return false }
    var isAwaited = false
    switch (reply, subject) {
    case (.group(let gates, let mark, let bornUs), nil): announced(gates, mark, bornUs, nowMs)
    case (.tokens(let granted, let fullAtUs, let nowUs), let key?):
      isAwaited =
        tokens[key]?.answered(granted, fullAtUs: fullAtUs, nowUs: nowUs, nowMs: nowMs) ?? false
      if state == .shared { look(key, nowMs) }
    case (.slots(let mine, let others), let key?):
      isAwaited = slots[key]?.answered(mine, others: others, isOpen: state == .shared, nowMs: nowMs) ?? false
      if state == .shared { look(key, nowMs) }
    default: break
    }
    return isAwaited
  }

  private mutating func announced(_ gates: Int, _ mark: String, _ bornUs: UInt64, _ nowMs: UInt64) {
    if mark != self.mark, !self.mark.isEmpty { hasForgotten = true }
    (self.mark, self.bornUs) = (mark, bornUs)
    // A store that was away, or began anew, does not know yet who else is back.
    self.gates = max(1, gates, state == .lost ? self.gates : 0)
    announceMs = nowMs &+ LeaseTimes.announceMs
    if newcomerUntilMs == nil { newcomerUntilMs = self.gates > 1 ? announceMs : nowMs }
    switch state {
    case .joining: share(nowMs)
    case .lost:
      state = .settling
      settledMs = nowMs &+ LeaseTimes.settleMs
      settle(nowMs)
    case .shared, .settling: break
    }
  }

  private mutating func settle(_ nowMs: UInt64) {
    let conditions = conditions(nowMs)
    for key in tokens.keys {
      if let question = tokens[key]?.settle(conditions) { send(key, .tokens(question)) }
    }
    for key in slots.keys {
      if let question = slots[key]?.settle(conditions) { send(key, .slots(question)) }
    }
  }

  private mutating func share(_ nowMs: UInt64) {
    events.append(state == .joining ? .joined(gates: gates) : .regained(gates: gates, hasForgotten: hasForgotten))
    hasForgotten = false
    state = .shared
    for key in tokens.keys { tokens[key]?.regained(nowMs: nowMs) }
    for key in slots.keys { slots[key]?.regained() }
    for key in Array(tokens.keys) + Array(slots.keys) { look(key, nowMs) }
  }

  // MARK: - Time and calls

  /// A loop found too little.
  package mutating func called(_ key: LeaseKey, nowMs: UInt64) {
    active.insert(key)
    if state == .shared { look(key, nowMs) }
    lookMs = min(lookMs, nowMs &+ LeaseTimes.lookMs)
  }

  /// When `advance` is due.
  package var dueMs: UInt64 {
    var dueMs = lookMs
    if isConnected { dueMs = min(dueMs, announceMs) }
    if state == .settling, pending.isEmpty { dueMs = min(dueMs, settledMs) }
    return dueMs
  }

  package mutating func advance(nowMs: UInt64) {
    if state != .shared, nowMs >= lookMs { dropOld(nowMs) }
    guard isConnected else { return }
    if nowMs >= announceMs {
      announceMs = nowMs &+ LeaseTimes.announceMs
      send(nil, .announce(known: mark, fresh: "\(freshMark)-\(nowMs)"))
    }
    // A part of the store that answers is not all of it: each bucket has been told by then.
    if state == .settling, nowMs >= settledMs, pending.isEmpty { share(nowMs) }
    if state == .shared, nowMs >= lookMs { lookAfterAll(nowMs) }
  }

  /// Tokens in hand are no older without a store than with one.
  private mutating func dropOld(_ nowMs: UInt64) {
    lookMs = .max
    for key in tokens.keys where tokens[key]?.dropOld(nowMs) == true { lookMs = nowMs &+ LeaseTimes.lookMs }
  }

  private mutating func lookAfterAll(_ nowMs: UInt64) {
    lookMs = .max
    for key in active { look(key, nowMs) }
  }

  private mutating func look(_ key: LeaseKey, _ nowMs: UInt64) {
    var dueMs = UInt64.max
    var isQuiet = true
    if var lease = tokens[key] {
      if let question = lease.look(conditions(nowMs)) { send(key, .tokens(question)) }
      isQuiet = lease.isQuiet
      tokens[key] = lease
      if !isQuiet { dueMs = lease.dueMs(nowMs) }
    } else if var lease = slots[key] {
      if let question = lease.look(conditions(nowMs)) { send(key, .slots(question)) }
      isQuiet = lease.isQuiet
      slots[key] = lease
      dueMs = lease.dueMs(nowMs)
    }
    if isQuiet { active.remove(key) } else { active.insert(key) }
    lookMs = min(lookMs, dueMs)
  }

  private func conditions(_ nowMs: UInt64) -> LeaseConditions {
    LeaseConditions(
      nowMs: nowMs, gates: gates, isNewcomer: newcomerUntilMs.map { nowMs < $0 } ?? true, bornUs: bornUs)
  }

  /// `subject`: of a bucket that is gone from the policy, and whose answer nobody needs.
  private mutating func send(_ key: LeaseKey?, _ command: LeaseCommand, about subject: LeaseKey? = nil) {
    lastId &+= 1
    operations &+= 1
    pending[lastId] = .some(key)
    outbox.append(LeaseRequest(id: lastId, key: key ?? subject, command: command))
  }

  // MARK: - The end

  /// Everything that is held goes back. Nothing must be taken any more.
  package mutating func leave() {
    guard isConnected, state == .shared else { return }
    for key in tokens.keys {
      if let question = tokens[key]?.close(bornUs: bornUs) { send(key, .tokens(question)) }
    }
    for key in slots.keys {
      if let question = slots[key]?.close() { send(key, .slots(question)) }
    }
    send(nil, .leave)
  }

  /// True while answers are still to come.
  package var isWaiting: Bool { !pending.isEmpty }
}
