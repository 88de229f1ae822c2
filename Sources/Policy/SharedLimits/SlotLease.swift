// One shared `concurrent` as a pure state machine: how many slots this gate has, and when it asks for more or fewer.
// It relies on the store to forget a gate that does not renew its slots; time is an argument.

struct SlotLease {
  /// All gates together hold at most this part of the slots without use.
  private static let spareShare = 20

  let slots: LeasedSlots
  private(set) var limit: Int
  private(set) var asked: SlotsAsked?
  /// As the store answered last.
  private var mine = 0
  private var others: Int?
  private var renewMs: UInt64 = 0
  private var shrinkMs: UInt64 = 0
  private var isUnsettled = false

  init(_ slots: LeasedSlots, limit: Int) { (self.slots, self.limit) = (slots, limit) }

  mutating func setLimit(_ limit: Int) { self.limit = limit }

  var isQuiet: Bool { asked == nil && mine == 0 && slots.live == 0 && !isUnsettled }

  mutating func look(_ now: LeaseConditions) -> SlotsAsked? {
    let wanted = slots.takeWanted()
    guard asked == nil else { return nil }
    let spare = now.isNewcomer ? 0 : limit / Self.spareShare / max(1, now.gates)
    let live = slots.live
    if isUnsettled || live > mine { return ask(live, live, now) }
    if wanted > 0, live + wanted > mine { return ask(live, live + wanted + spare, now) }
    if mine > live + spare {
      // A slot that was left a moment ago may be filled again at once.
      if shrinkMs == 0 { shrinkMs = now.nowMs &+ LeaseTimes.spareSlotMs }
      if now.nowMs >= shrinkMs { return ask(live, slots.allow(live + spare), now) }
    } else {
      shrinkMs = 0
    }
    return now.nowMs >= renewMs && mine > 0 ? ask(live, mine, now) : nil
  }

  private mutating func ask(_ live: Int, _ want: Int, _ now: LeaseConditions) -> SlotsAsked {
    let question = SlotsAsked(
      limit: limit, live: live, want: min(max(want, live), max(limit, live)), bornUs: now.bornUs)
    asked = question
    return question
  }

  /// True when somebody may wait for what it says. `isOpen`: all gates have told what they have; until then an answer
  /// leaves out those that have not.
  mutating func answered(_ mine: Int, others: Int, isOpen: Bool, nowMs: UInt64) -> Bool {
    guard let question = asked else { return false }
    asked = nil
    isUnsettled = false
    shrinkMs = 0
    renewMs = nowMs &+ LeaseTimes.slotRenewalMs
    self.mine = min(mine, question.want)
    guard isOpen else { return false }
    self.others = others
    slots.allow(self.mine)
    slots.setFull(untilNs: self.mine < question.want ? (nowMs &+ LeaseTimes.spareSlotMs) &* 1_000_000 : 0)
    return question.want > question.live
  }

  /// The next question says anew how many slots are filled.
  mutating func failed() {
    asked = nil
    isUnsettled = true
  }

  /// Slots of this gate stay; of those that were free the gate has its part.
  mutating func lost(_ mode: LeaseMode) {
    failed()
    slots.setReachable(false)
    guard case .alone(let gates) = mode else {
      slots.allow(0)
      return
    }
    let free = others.map { max(0, limit - mine - $0) } ?? limit
    slots.allow(mine + free / max(1, gates))
  }

  mutating func settle(_ now: LeaseConditions) -> SlotsAsked? {
    guard asked == nil, slots.live > 0 || mine > 0 else { return nil }
    return ask(slots.live, slots.live, now)
  }

  /// Until the store has answered, nothing but what is filled is its own.
  mutating func regained() {
    slots.allow(min(mine, limit))
    slots.setFull(untilNs: 0)
    slots.setReachable(true)
  }

  mutating func close() -> SlotsAsked? {
    guard mine > 0 else { return nil }
    let question = SlotsAsked(limit: limit, live: 0, want: 0)
    asked = question
    return question
  }

  /// When it wants to be looked at again.
  func dueMs(_ nowMs: UInt64) -> UInt64 {
    if asked != nil { return .max }
    return min(shrinkMs > 0 ? shrinkMs : .max, mine > 0 ? renewMs : .max)
  }
}
