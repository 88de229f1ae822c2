// One bucket's lease as a pure state machine: how many tokens this gate asks for, and which it gives back.
// It relies on LeaseGroup for who else there is and whether the store answers; time is an argument.

/// Facts of the group that a lease goes by.
struct LeaseConditions {
  var nowMs: UInt64
  var gates: Int
  /// The others do not count this gate yet: it holds no slots in advance.
  var isNewcomer: Bool
  var bornUs: UInt64
}

struct TokenLease {
  let tokens: LeasedTokens
  private(set) var limit: LeaseLimit
  /// Under way: one question at a time.
  private(set) var asked: TokensAsked?
  private var seenFullAtUs: UInt64 = 0
  /// When the bucket will be full, by the gate's own clock.
  private var fullAtMs: UInt64 = 0
  /// The store may have forgotten what this gate heard.
  private var isUnsettled = false
  /// Of the tokens that were spent without asking, those that the store knows of.
  private var charged = 0
  /// Withdrawn while the store was out of reach.
  private var unreturned = 0
  private var use = RecentUse()
  private var deposits = RecentDeposits()
  /// The clock of the store that has the bucket, as it was told last, and when that was by the gate's own.
  private var storeClock: (us: UInt64, atMs: UInt64)?
  private var emptyUntilMs: UInt64 = 0
  private var shortAnswers = 0

  init(_ tokens: LeasedTokens, _ limit: LeaseLimit) { (self.tokens, self.limit) = (tokens, limit) }

  mutating func setLimit(_ limit: LeaseLimit) { self.limit = limit }

  private var owed: Int { max(0, tokens.spentAlone - charged) }

  /// Nothing is held or owed, and nothing was used of late: nobody needs to look after it.
  var isQuiet: Bool { asked == nil && tokens.held == 0 && owed == 0 && !isUnsettled }

  // MARK: - Asking

  mutating func look(_ now: LeaseConditions) -> TokensAsked? {
    let wanted = tokens.takeWanted()
    guard asked == nil else { return nil }
    use.note(tokens.spent, nowMs: now.nowMs)
    deposits.forgetOld(now.nowMs)
    var question = TokensAsked(limit: limit)
    question.bornUs = now.bornUs
    question.untilUs = untilUs(now.nowMs)
    question.charge = owed
    if isUnsettled { question.seenFullAtUs = seenFullAtUs }
    question.back = unreturned + surplus(wanted: wanted, now.nowMs)
    if now.nowMs >= emptyUntilMs { question.want = want(limit.leaseMax, wanted: wanted) }
    // Wanted while the bucket is known to be empty: whoever asks again after that is heard again.
    guard question.want > 0 || question.back > 0 || question.charge > 0 || isUnsettled else { return nil }
    asked = question
    unreturned = 0
    return question
  }

  /// When a question of now is waited for no longer, by the store's clock; 0 where that is not known, or was long ago:
  /// two clocks drift apart.
  private func untilUs(_ nowMs: UInt64) -> UInt64 {
    guard let storeClock, nowMs >= storeClock.atMs, nowMs - storeClock.atMs < LeaseTimes.clockMs else { return 0 }
    return storeClock.us &+ (nowMs - storeClock.atMs &+ LeaseTimes.answerMs) &* 1000
  }

  private mutating func want(_ leaseMax: Int, wanted: Int) -> Int {
    let held = tokens.held
    guard leaseMax > 0 else {
      tokens.setLowWater(-1)
      return held == 0 ? min(wanted, 1) : 0
    }
    let lowWater = min(leaseMax / 2, use.duringAnswer)
    tokens.setLowWater(lowWater)
    guard wanted > 0 || (held <= lowWater && use.isBusy) else { return 0 }
    return max(0, min(leaseMax, max(use.forecast, 1)) - held)
  }

  /// Unspent for too long, or more than a lease is now.
  private mutating func surplus(wanted: Int, _ nowMs: UInt64) -> Int {
    let held = tokens.held
    if held == 0 || wanted > 0 { return 0 }
    if use.idleMs(nowMs) >= LeaseTimes.idleMs { return tokens.withdraw(upTo: held) }
    return tokens.withdraw(upTo: held - min(held, deposits.sum, max(limit.leaseMax, 1)))
  }

  /// When it wants to be looked at again.
  func dueMs(_ nowMs: UInt64) -> UInt64 {
    if asked != nil { return .max }
    let lookMs = nowMs &+ LeaseTimes.lookMs
    return tokens.held > 0 ? min(lookMs, max(deposits.dueMs, nowMs &+ 1)) : lookMs
  }

  // MARK: - Answers

  /// True when somebody may wait for what it says.
  mutating func answered(_ granted: Int?, fullAtUs: UInt64, nowUs: UInt64, nowMs: UInt64) -> Bool {
    guard let question = asked else { return false }
    asked = nil
    storeClock = (nowUs, nowMs)
    guard let granted else {
      // The store's clock has jumped, or another one has the bucket: it is known now, and the same is asked again.
      unreturned += question.back
      return question.want > 0
    }
    isUnsettled = false
    charged += question.charge
    seenFullAtUs = fullAtUs
    let debtUs = min(fullAtUs - min(fullAtUs, nowUs), limit.windowUs * 2)
    fullAtMs = nowMs &+ debtUs / 1000
    tokens.group.set(fullAtNs: (nowMs &* 1000 &+ debtUs) &* 1000)
    guard question.want > 0 else { return false }
    use.restart(nowMs)
    // A store that grants more than it was asked for is not believed.
    let fresh = max(0, min(granted, question.want))
    tokens.deposit(fresh)
    deposits.note(fresh, nowMs: nowMs)
    noteAnswer(granted, of: question.want, debtUs: debtUs, nowMs)
    return true
  }

  /// Of an empty bucket nothing is asked before some tokens have come in.
  private mutating func noteAnswer(_ granted: Int, of want: Int, debtUs: UInt64, _ nowMs: UInt64) {
    let quantum = max(
      1, min(UInt64(clamping: want), limit.capacity / 4, limit.perMinute * LeaseTimes.quantumMs / 60_000))
    let neededUs = debtUs &+ limit.costUs(quantum)
    shortAnswers = granted * 2 < want ? min(shortAnswers + 1, 8) : 0
    guard neededUs > limit.windowUs else {
      emptyUntilMs = 0
      return tokens.setEmpty(untilNs: 0)
    }
    var waitMs = (neededUs - limit.windowUs) / 1000 + 1
    let patienceMs = min(LeaseTimes.contendedMs, limit.windowUs / 4000)
    if shortAnswers > 1 { waitMs = max(waitMs, min(waitMs << (shortAnswers - 1), patienceMs)) }
    emptyUntilMs = nowMs &+ waitMs
    tokens.setEmpty(untilNs: emptyUntilMs &* 1_000_000)
  }

  /// Nobody knows whether the store did what it was asked. What went back is lost to all for the time of its refill;
  /// what was to be charged is charged again. Both err on the side of too few.
  mutating func failed() { (asked, storeClock) = (nil, nil) }

  // MARK: - Loss

  /// The gate's own share begins empty: what all shares together let out is then what the group's bucket would have.
  mutating func lost(_ mode: LeaseMode, nowMs: UInt64) {
    failed()
    isUnsettled = fullAtMs > nowMs
    tokens.setLowWater(-1)
    guard case .alone(let gates) = mode else { return tokens.setMode(mode) }
    let windowUs = max(limit.windowUs, limit.costUs(1).saturatingProduct(UInt64(clamping: gates)))
    tokens.alone.set(fullAtNs: (nowMs &* 1000 &+ windowUs) &* 1000)
    tokens.setMode(mode)
  }

  /// Takes from the loops what may be held no longer; true while there is more.
  mutating func dropOld(_ nowMs: UInt64) -> Bool {
    deposits.forgetOld(nowMs)
    let held = tokens.held
    unreturned += tokens.withdraw(upTo: held - min(held, deposits.sum))
    return tokens.held > 0
  }

  /// Tokens that the gate spent alone, told ahead of anything else.
  mutating func settle(_ now: LeaseConditions) -> TokensAsked? {
    forgive(now.nowMs)
    guard asked == nil, isUnsettled || owed > 0 || unreturned > 0 else { return nil }
    var question = TokensAsked(limit: limit)
    question.bornUs = now.bornUs
    question.untilUs = untilUs(now.nowMs)
    question.charge = owed
    question.back = unreturned
    unreturned = 0
    if isUnsettled { question.seenFullAtUs = seenFullAtUs }
    asked = question
    return question
  }

  /// The group's bucket was refilled as the gate's share of it was: tokens that the share has earned again are no debt.
  private mutating func forgive(_ nowMs: UInt64) {
    guard case .alone(let gates) = tokens.mode else { return }
    let debtUs = tokens.alone.debtNs(nowNs: nowMs &* 1_000_000) / 1000
    charged += max(0, owed - limit.tokens(inUs: debtUs / UInt64(clamping: max(1, gates))))
  }

  mutating func regained(nowMs: UInt64) {
    emptyUntilMs = 0
    shortAnswers = 0
    tokens.setEmpty(untilNs: 0)
    tokens.setMode(.shared)
    use.restart(nowMs)
  }

  /// At the end: all that is held, and all that is owed.
  mutating func close(bornUs: UInt64) -> TokensAsked? {
    var question = TokensAsked(limit: limit)
    question.bornUs = bornUs
    question.back = tokens.withdraw(upTo: tokens.held)
    question.charge = owed
    guard question.back > 0 || question.charge > 0 else { return nil }
    asked = question
    return question
  }
}

/// Tokens that came lately, and when: the oldest are taken to be spent first.
private struct RecentDeposits {
  /// Deposits this close to each other are one.
  private static let joinMs: UInt64 = 100

  private var all: [(atMs: UInt64, count: Int)] = []

  mutating func note(_ count: Int, nowMs: UInt64) {
    if count == 0 { return }
    if let last = all.last, nowMs - min(nowMs, last.atMs) < Self.joinMs {
      all[all.count - 1].count += count
    } else {
      all.append((nowMs, count))
    }
  }

  /// Tokens this old go back.
  mutating func forgetOld(_ nowMs: UInt64) { all.removeAll { $0.atMs &+ LeaseTimes.heldMs <= nowMs } }

  /// Of all that are young enough to be held.
  var sum: Int { all.reduce(0) { $0 + $1.count } }
  /// When the first of them is too old.
  var dueMs: UInt64 { all.first.map { $0.atMs &+ LeaseTimes.heldMs } ?? 0 }
}

/// How fast a gate spends: the busiest of the last seconds, slowly forgotten.
private struct RecentUse {
  private var spent: UInt64 = 0
  private var secondBeganMs: UInt64 = 0
  private var spentInSecond = 0
  private var busiest = 0.0
  private var usedMs: UInt64 = 0

  /// `spent`: all that was ever spent.
  mutating func note(_ spent: UInt64, nowMs: UInt64) {
    // A refund may turn the difference around.
    let fresh = max(0, Int(truncatingIfNeeded: Int64(bitPattern: spent &- self.spent)))
    self.spent = spent
    let passedMs = nowMs - min(nowMs, secondBeganMs)
    if passedMs >= 1000 {
      busiest = max(busiest, Double(spentInSecond))
      for _ in 0..<min(passedMs / 1000, 64) { busiest *= 0.9 }
      (spentInSecond, secondBeganMs) = (0, nowMs)
    }
    spentInSecond += fresh
    if fresh > 0 { usedMs = nowMs }
  }

  /// What comes now may wait as long as what was used now.
  mutating func restart(_ nowMs: UInt64) { usedMs = nowMs }

  func idleMs(_ nowMs: UInt64) -> UInt64 { nowMs - min(nowMs, usedMs) }

  /// What may be spent before tokens are too old; a gate that begins gets four times more with each lease.
  var forecast: Int { max(Int(min(busiest * 2, 1e15)), spentInSecond.multipliedReportingOverflow(by: 4).partialValue) }

  /// What is spent while an answer is on its way.
  var duringAnswer: Int { Int(min(busiest, 1e15) * 0.004) }

  var isBusy: Bool { spentInSecond > 0 }
}
