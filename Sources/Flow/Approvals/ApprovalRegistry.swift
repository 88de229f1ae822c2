// Requests that wait for a person, approvals and refusals: one value for all loops, pure, with time as an argument.
// It relies on its owner to hold a lock, to put `rules` in force, and to write down and pass on `takeEvents`.
package import Policy

/// ```
///   ask ---> waiting --- approve ---> approved --- its rule ends, and the client asks again ---> another entry
///      \      |  |  \--- refuse ----> refused  --- `refusedMs` later, and the client asks again ---> another entry
///       \     |  \------ time -----> expired   --- the client asks again ---> waiting
///        \    \--------- the last connection leaves ---> gone
///         \-> recorded (nobody waits) ---> as from waiting
/// ```
package struct ApprovalRegistry: Sendable {
  package struct Settings: Sendable {
    /// 0: nothing waits.
    package var waitMs: UInt64
    package var perClient: Int

    package init(waitMs: UInt64, perClient: Int) { (self.waitMs, self.perClient) = (waitMs, perClient) }
  }

  /// The clock that waits are measured by, and the one that rules end by.
  package struct Time: Sendable {
    package var ms: UInt64
    package var unixMs: Int64

    package init(ms: UInt64, unixMs: Int64) { (self.ms, self.unixMs) = (ms, unixMs) }

    var unixSeconds: Int64 { unixMs / 1000 }
  }

  package struct Problem: Error, Equatable, CustomStringConvertible {
    package let description: String
    /// No entry has this id.
    package var isUnknown = false
  }

  /// A client that is refused and tries again at once does not ask again.
  package static let refusedMs: UInt64 = 60_000
  /// An approval for the next request is over when none comes.
  package static let onceMs: UInt64 = 300_000
  package static let entriesMax = 10_000
  package static let rulesPerClientMax = 256
  static let settledPerClientMax = 64

  struct Rule: Sendable {
    let rule: ApprovedRule
    let key: ApprovalKey
    let grant: ApprovalGrant
    let approvedMs: UInt64
    /// Of a session: its client has been seen since.
    var isSeen = false
  }

  package var settings: Settings
  private var ids: ApprovalIDs
  private(set) var entries: [String: ApprovalEntry] = [:]
  /// Of each client, in the order in which they were asked.
  private var order: [String: [String]] = [:]
  private var open: [ApprovalKey: String] = [:]
  private var seats: [ApprovalWaiter.Seat: [UInt32: String]] = [:]
  /// Until when each waits.
  private var waiters: [String: [ApprovalWaiter: UInt64]] = [:]
  private var inForce: [Rule] = []
  private var events: [ApprovalEvent] = []

  package init(_ settings: Settings, seed: UInt64) {
    self.settings = settings
    ids = ApprovalIDs(seed: seed)
  }

  package mutating func takeEvents() -> [ApprovalEvent] {
    defer { events = [] }
    return events
  }

  // MARK: - Requests

  /// Without a waiter the question is listed, and nothing waits for its answer.
  package mutating func ask(_ question: ApprovalQuestion, by waiter: ApprovalWaiter?, _ now: Time) -> ApprovalAnswer {
    if let waiter, let id = seats[waiter.seat]?[waiter.ordinal] {
      if entries[id]?.key == question.key { return standing(of: waiter, id, now) }
      withdraw(waiter)
    }
    let mayWait = waiter != nil && settings.waitMs > 0
    if mayWait, !isSettled(question.key, now), waitingCount(of: question.key.client) >= settings.perClient {
      return .full
    }
    guard let id = entry(for: question, now), let entry = entries[id] else { return .full }
    switch entry.state {
    case .refused: return .notApproved(id: id)
    case .approved: break
    case .waiting, .recorded, .expired:
      let isNew = entry.count == 1 && entry.waiting == 0 && entry.state == .recorded
      if mayWait && entry.state != .waiting { entries[id]?.state = .waiting }
      if isNew || mayWait && entry.state != .waiting { tell(.asked, id) }
      guard mayWait else { return .recorded(id: id) }
    }
    guard let waiter else { return .recorded(id: id) }
    let untilMs = now.ms + settings.waitMs
    seats[waiter.seat, default: [:]][waiter.ordinal] = id
    waiters[id, default: [:]][waiter] = untilMs
    entries[id]?.waiting += 1
    entries[id]?.untilMs = untilMs
    return .waiting(id: id, untilMs: untilMs)
  }

  /// True where the entry waits already, or has an answer: one more request takes no place.
  private func isSettled(_ key: ApprovalKey, _ now: Time) -> Bool {
    guard let entry = open[key].flatMap({ entries[$0] }), !isOver(entry, now) else { return false }
    return entry.state == .waiting || entry.isDecided
  }

  /// The entry that a request belongs to, which may be a new one; nil where there is no room.
  private mutating func entry(for question: ApprovalQuestion, _ now: Time) -> String? {
    let key = question.key
    if let id = open[key], let entry = entries[id] {
      if !isOver(entry, now) {
        entries[id]?.count &+= 1
        entries[id]?.lastMs = now.ms
        if let note = question.note { entries[id]?.note = note }
        // What is held may be decided in more ways than what has left.
        if let sheet = question.sheet, entry.state != .waiting { entries[id]?.sheet = sheet }
        return id
      }
      open[key] = nil
    }
    makeRoom(for: key.client)
    guard entries.count < Self.entriesMax else { return nil }
    let id = ids.next { entries[$0] != nil }
    // The state is `waiting`, or not, as `ask` finds.
    var entry = ApprovalEntry(
      id: id, key: key, reason: question.reason, via: question.via, state: .recorded, askedUnixMs: now.unixMs,
      lastMs: now.ms)
    (entry.note, entry.sheet) = (question.note, question.sheet)
    entries[id] = entry
    order[key.client, default: []].append(id)
    open[key] = id
    return id
  }

  /// An approval that has ended, or a refusal that is old, is asked about anew.
  private func isOver(_ entry: ApprovalEntry, _ now: Time) -> Bool {
    switch entry.state {
    case .waiting, .recorded, .expired: return false
    case .approved where entry.key.subject.content != nil: return !hasFreePasses(entry, now)
    case .approved: return entry.isDelivered
    case .refused:
      guard let decision = entry.decision, !decision.isAlways else { return false }
      return now.ms >= decision.ms + Self.refusedMs
    }
  }

  private func waitingCount(of client: String) -> Int {
    (order[client] ?? []).count { entries[$0]?.state == .waiting }
  }

  /// The oldest entries that nobody waits for go first; those whose decision is in force stay.
  private mutating func makeRoom(for client: String) {
    let idle = (order[client] ?? []).filter { (waiters[$0] ?? [:]).isEmpty && !isInForce($0) }
    let (decided, undecided) = (
      idle.filter { entries[$0]?.isDecided == true }, idle.filter { entries[$0]?.isDecided != true }
    )
    for id in undecided.dropLast(settings.perClient - 1) { forget(id) }
    for id in decided.dropLast(Self.settledPerClientMax) { forget(id) }
  }

  private func isInForce(_ id: String) -> Bool {
    entries[id]?.decision?.isAlways == true || inForce.contains { $0.rule.id == id }
  }

  private mutating func standing(of waiter: ApprovalWaiter, _ id: String, _ now: Time) -> ApprovalAnswer {
    guard let untilMs = waiters[id]?[waiter], let entry = entries[id] else { return .full }
    if entry.state == .waiting || entry.state == .approved, now.ms < untilMs {
      return .waiting(id: id, untilMs: untilMs)
    }
    if take(waiter, from: id), entry.state == .waiting {
      entries[id]?.state = .expired
      tell(.expired, id)
    }
    return .notApproved(id: id)
  }

  /// The request has an answer, or its client is gone.
  package mutating func withdraw(_ waiter: ApprovalWaiter) {
    guard let id = seats[waiter.seat]?[waiter.ordinal] else { return }
    // A place of the decision that it did not use is nobody else's.
    if let left = entries[id]?.passesLeft, left > 0 { entries[id]?.passesLeft = left - 1 }
    guard take(waiter, from: id), entries[id]?.state == .waiting else { return }
    tell(.withdrawn, id)
    // The approval did not let these requests out, and holds for others.
    if isInForce(id) { entries[id]?.state = .approved } else { forget(id) }
  }

  /// All requests of a connection.
  package mutating func withdraw(_ seat: ApprovalWaiter.Seat) {
    for ordinal in seats[seat].map({ Array($0.keys) }) ?? [] { withdraw(ApprovalWaiter(seat, ordinal: ordinal)) }
  }

  /// True where it was the last one.
  private mutating func take(_ waiter: ApprovalWaiter, from id: String) -> Bool {
    seats[waiter.seat]?[waiter.ordinal] = nil
    if seats[waiter.seat]?.isEmpty == true { seats[waiter.seat] = nil }
    waiters[id]?[waiter] = nil
    let left = waiters[id]?.count ?? 0
    entries[id]?.waiting = left
    if left == 0 { waiters[id] = nil }
    return left == 0
  }

  private mutating func forget(_ id: String) {
    guard let entry = entries.removeValue(forKey: id) else { return }
    order[entry.key.client]?.removeAll { $0 == id }
    if order[entry.key.client]?.isEmpty == true { order[entry.key.client] = nil }
    if open[entry.key] == id { open[entry.key] = nil }
  }

  private mutating func tell(_ verdict: ApprovalEvent.Verdict, _ id: String) {
    if let entry = entries[id] { events.append(ApprovalEvent(verdict: verdict, entry: entry)) }
  }

  // MARK: - Decisions

  /// Waiting requests are let out by the policy that `rules` are put into; call `delivered` when all loops have it.
  /// `wish` stands in for the subject, and must cover it; `text` is how it was given.
  package mutating func approve(
    _ id: String, _ grant: ApprovalGrant, rule wish: AllowSpec? = nil, text: String? = nil, by: String, _ now: Time
  ) throws(Problem) -> ApprovalEntry {
    guard let entry = entries[id] else { throw Self.unknown(id) }
    if entry.key.subject.content != nil {
      throw Problem(description: "\(id) is flagged content; look at it with `sluice review \(id)`, and decide there")
    }
    if entry.state == .approved { throw Problem(description: "\(id) is approved already") }
    if let wish, !wish.matches(entry.key.subject.target) {
      throw Problem(
        description:
          "the rule \(wish.pattern):\(wish.ports) does not allow \(entry.key.subject.target), which was asked for")
    }
    let scope = wish.map(ApprovedRule.Scope.rule) ?? entry.key.subject.scope
    let rule = Rule(
      rule: ApprovedRule(
        id: id, scope: scope, expiresAt: Self.end(of: grant, now),
        uses: grant == .once ? RemainingUses(max(1, entry.waiting)) : nil),
      key: entry.key, grant: grant, approvedMs: now.ms)
    if grant != .forever {
      guard inForce.count(where: { $0.key.client == entry.key.client }) < Self.rulesPerClientMax else {
        throw Problem(
          description:
            "\(entry.key.client) has \(Self.rulesPerClientMax) approved rules already; write rules into its policy")
      }
      // An earlier approval of the same would stand in its way.
      inForce.removeAll { $0.key == entry.key }
      inForce.append(rule)
    }
    settle(
      id, .approved,
      ApprovalEntry.Decision(
        by: by, grant: grant, isAlways: false, text: text ?? rule.rule.text, isGiven: wish != nil, ms: now.ms))
    return entries[id] ?? entry
  }

  private static func end(of grant: ApprovalGrant, _ now: Time) -> Int64? {
    guard case .seconds(let count) = grant else { return nil }
    return now.unixSeconds + Int64(clamping: count)
  }

  static func unknown(_ id: String) -> Problem {
    Problem(description: "nothing that asks has the id \(id); `sluice approvals` lists what does", isUnknown: true)
  }

  private mutating func settle(_ id: String, _ state: ApprovalEntry.State, _ decision: ApprovalEntry.Decision) {
    entries[id]?.state = state
    entries[id]?.decision = decision
    entries[id]?.isDelivered = false
    // Nobody has to see it any more.
    entries[id]?.sheet?.passages = []
    tell(state == .approved ? .approved : .refused, id)
  }

  /// All loops have the rule. What still waits was not let out by it, and asks on.
  package mutating func delivered(_ id: String) {
    guard let entry = entries[id], entry.state == .approved else { return }
    entries[id]?.isDelivered = true
    guard entry.waiting > 0 else { return }
    entries[id]?.state = .waiting
    tell(.asked, id)
  }

  /// An approval is taken back in the same way. Those who wait are to be told to ask again.
  package mutating func refuse(
    _ id: String, isAlways: Bool, by: String, _ now: Time
  ) throws(Problem) -> (entry: ApprovalEntry, waiters: [ApprovalWaiter]) {
    guard let entry = entries[id] else { throw Self.unknown(id) }
    if let other = open[entry.key], other != id {
      throw Problem(description: "\(id) was asked again as \(other); refuse that one")
    }
    if isAlways, (order[entry.key.client] ?? []).count(where: isInForce) >= Self.rulesPerClientMax {
      throw Problem(description: "\(entry.key.client) has too many decisions; write deny rules into its policy")
    }
    inForce.removeAll { $0.rule.id == id }
    settle(
      id, .refused,
      ApprovalEntry.Decision(by: by, grant: nil, isAlways: isAlways, text: nil, isGiven: false, ms: now.ms))
    open[entry.key] = id
    return (entries[id] ?? entry, waiters[id].map { Array($0.keys) } ?? [])
  }

  // MARK: - Content

  private func hasPasses(_ entry: ApprovalEntry, _ now: Time) -> Bool {
    guard entry.state == .approved, let decision = entry.decision, decision.review != nil else { return false }
    return entry.passesLeft > 0 && now.ms < decision.ms + Self.onceMs
  }

  /// Those who waited for the decision have their places.
  private func hasFreePasses(_ entry: ApprovalEntry, _ now: Time) -> Bool {
    hasPasses(entry, now) && entry.passesLeft > entry.waiting
  }

  /// What a person has decided about these passages, or about these and more. More of them may follow, and are to be
  /// asked about again; the decision is used up by the last of those that it is about.
  mutating func takeDecision(_ key: ApprovalKey, by waiter: ApprovalWaiter?, _ now: Time) -> ReviewDecision? {
    guard let content = key.subject.content else { return nil }
    if let waiter, let id = seats[waiter.seat]?[waiter.ordinal], let entry = entries[id], entry.key == key {
      guard hasPasses(entry, now) else { return nil }
      _ = take(waiter, from: id)
      entries[id]?.passesLeft -= 1
      return entry.decision?.review
    }
    if let id = open[key], let entry = entries[id], hasFreePasses(entry, now) {
      entries[id]?.passesLeft -= 1
      return entry.decision?.review
    }
    let wider = (order[key.client] ?? []).compactMap { entries[$0] }.first { entry in
      let subject = entry.key.subject
      return subject.target == key.subject.target && subject.content?.kind == content.kind
        && hasFreePasses(entry, now)
        && entry.sheet?.digests.contains(content.digest) == true
    }
    return wider?.decision?.review
  }

  mutating func settle(
    _ id: String, _ decision: ReviewDecision, by: String, _ now: Time
  ) -> (entry: ApprovalEntry, waiters: [ApprovalWaiter])? {
    guard let entry = entries[id] else { return nil }
    entries[id]?.passesLeft = max(1, entry.waiting)
    open[entry.key] = id
    settle(
      id, .approved,
      ApprovalEntry.Decision(
        by: by, grant: nil, review: decision, isAlways: false, text: nil, isGiven: false, ms: now.ms))
    return (entries[id] ?? entry, waiters[id].map { Array($0.keys) } ?? [])
  }

  // MARK: - Rules in force

  /// By the client's name.
  package var rules: [String: [ApprovedRule]] {
    Dictionary(grouping: inForce, by: \.key.client).mapValues { $0.map(\.rule) }
  }

  /// Some rules end with the last connection of their client.
  package var hasRulesOfConnections: Bool { inForce.contains { $0.grant == .session || $0.grant == .once } }

  /// Approved, and not yet known to all loops.
  package var undelivered: [String] {
    entries.values.filter { $0.state == .approved && !$0.isDelivered && $0.key.subject.content == nil }.map(\.id)
  }

  /// Takes out what has ended; true where that was something. `live`: clients that have a connection, where that is
  /// known.
  package mutating func endRules(live: Set<String>? = nil, _ now: Time) -> Bool {
    let before = inForce.count
    if let live {
      for index in inForce.indices where live.contains(inForce[index].key.client) { inForce[index].isSeen = true }
    }
    inForce.removeAll { rule in
      if let end = rule.rule.expiresAt { return now.unixSeconds >= end }
      switch rule.grant {
      case .session: return rule.isSeen && live?.contains(rule.key.client) == false
      case .once:
        // An approval that was used stays for the tunnel that used it, which would be cut without a rule.
        if rule.rule.uses?.isSpent == true { return live?.contains(rule.key.client) == false }
        return now.ms >= rule.approvedMs + Self.onceMs
      case .seconds, .forever: return false
      }
    }
    return inForce.count < before
  }

  /// The sandbox is gone: what was approved for it, or refused for good, and what it asked for goes with it.
  package mutating func endSession(of client: String) -> Bool {
    let before = inForce.count
    inForce.removeAll { $0.key.client == client && ($0.grant == .session || $0.grant == .once) }
    for id in order[client] ?? [] where (waiters[id] ?? [:]).isEmpty && !isInForce(id) { forget(id) }
    return inForce.count < before
  }

  /// A reload: rules that the new policy denies, and those of clients that it lacks, are taken out.
  package mutating func keepRules(_ isKept: (_ client: String, ApprovedRule) -> Bool) {
    inForce.removeAll { !isKept($0.key.client, $0.rule) }
  }

  // MARK: - For those who look

  package func entry(_ id: String) -> ApprovalEntry? { entries[id] }
  /// The entry that a request for this subject belongs to now.
  package func entry(of key: ApprovalKey) -> ApprovalEntry? { open[key].flatMap { entries[$0] } }

  /// Waiting entries first, the oldest in front.
  package func list(of client: String? = nil) -> [ApprovalEntry] {
    let all = client.map { (order[$0] ?? []).compactMap { entries[$0] } } ?? Array(entries.values)
    return all.sorted { one, other in
      if (one.state == .waiting) != (other.state == .waiting) { return one.state == .waiting }
      return (one.askedUnixMs, one.id) < (other.askedUnixMs, other.id)
    }
  }

  /// True while the approval of this entry lets something out.
  package func hasRule(_ id: String) -> Bool { inForce.contains { $0.rule.id == id } }

  package func end(of id: String) -> Int64? { inForce.first { $0.rule.id == id }?.rule.expiresAt }

  /// For tests of bounds.
  var heldCount: Int { entries.count + open.count + seats.count + waiters.count + inForce.count + events.count }
}
