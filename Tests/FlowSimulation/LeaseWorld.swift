// Gates that share limits, their store, and all that can go wrong between them, on one clock that a seed drives.
// Gates take from real leases by real policies; messages are late, lost and come twice; a seed replays.

package import Policy
import Wire

package struct LeaseWorld {
  package enum Fault: CaseIterable, Sendable {
    case none, killed, stopped, forgotten, failedOver, cutOff, clockBack
  }

  package struct Gate {
    let number: Int
    let policy: Policy
    let rule: AllowRule
    var group: LeaseGroup
    /// Its own clock, which is nobody else's.
    let clockAheadMs: UInt64
    var isConnected = false
    var dialMs: UInt64 = 0
    /// Messages on their way, with the moment of their arrival and the connection that they belong to.
    var toStore: [(atMs: UInt64, request: LeaseRequest)] = []
    var toGate: [(atMs: UInt64, id: UInt64, reply: LeaseReply)] = []
    var unanswered: [UInt64: UInt64] = [:]
    var cutOffUntilMs: UInt64 = 0
    var entered = 0
    /// Nothing of it can change before.
    var wakeMs: UInt64 = 0
    /// A gate that found nothing asks again then, or at an answer.
    var useMs: UInt64 = 0
  }

  package static let stepMs: UInt64 = 2
  /// A gate without its store looks for it so often.
  private static let dialEveryMs: UInt64 = 10

  package private(set) var gates: [Gate] = []
  package private(set) var nowMs: UInt64 = 1_000
  /// Spent tokens, second by second.
  package private(set) var spent: [Int] = []
  package private(set) var enteredMost = 0
  package private(set) var operations: UInt64 = 0
  /// Each step's gates that ask for all that they can get.
  package var hot: [Int] = [0]
  private var store = LeaseStore()
  private var older: [LeaseStore] = []
  private var isStoreUp = true
  private var choices: SeededChoices
  private var marks = 0
  private let limit: RateLimit
  private let onLoss: Settings.SharedLimits.OnLoss
  private let lossPercent: Int

  package init(
    gates count: Int, _ limit: RateLimit, onLoss: Settings.SharedLimits.OnLoss = .share, seed: UInt64,
    lossPercent: Int = 0
  ) {
    choices = SeededChoices(seed: seed)
    (self.limit, self.onLoss, self.lossPercent) = (limit, onLoss, lossPercent)
    for number in 0..<count { gates.append(makeGate(number)) }
  }

  package static func limit(perMinute: Int, burst: Int? = nil, concurrent: Int? = nil) -> RateLimit {
    var limit = RateLimit(line: SourceLine(file: "", line: 1), pattern: .any, ports: .all)
    limit.requestsPerMinute = perMinute
    limit.burst = burst
    limit.concurrent = concurrent
    return limit
  }

  private mutating func makeGate(_ number: Int) -> Gate {
    var spec = NetworkSpec(line: SourceLine(file: "", line: 1))
    spec.allow = [AllowSpec(line: spec.line, pattern: .any, ports: .all)]
    spec.rateLimits = [limit]
    var settings = Settings()
    settings.shared = Settings.SharedLimits(place: .single(.unix(path: "/model")))
    let policy = Policy(hash: "", settings: settings, network: spec, clients: [])
    marks += 1
    var group = LeaseGroup(onLoss: onLoss, mark: "\(marks)")
    let aheadMs = UInt64(choices.next(below: 1_000_000_000))
    group.replace(policy.sharedLimits, nowMs: nowMs + aheadMs)
    return Gate(
      number: marks, policy: policy, rule: policy.fallback.network.allow[0], group: group, clockAheadMs: aheadMs)
  }

  // MARK: - Time

  package mutating func run(seconds: Int, each: (inout LeaseWorld) -> Void = { _ in }) {
    for _ in 0..<seconds {
      each(&self)
      // Faults and loads change between seconds alone.
      for index in gates.indices { (gates[index].wakeMs, gates[index].useMs) = (0, 0) }
      spent.append(0)
      for _ in 0..<Int(1000 / Self.stepMs) { step() }
      older.append(store)
      if older.count > 4 { older.removeFirst() }
    }
  }

  private mutating func step() {
    nowMs += Self.stepMs
    store.clockUs += Self.stepMs * 1000
    for index in gates.indices where gates[index].wakeMs <= nowMs { turn(index) }
  }

  private mutating func turn(_ index: Int) {
    let isHot = hot.contains(index)
    link(index)
    if isHot, gates[index].useMs <= nowMs { use(index) }
    for key in gates[index].policy.leaseBell?.takeCalls() ?? [] { gates[index].group.called(key, nowMs: clock(index)) }
    if gates[index].group.dueMs <= clock(index) {
      gates[index].group.advance(nowMs: clock(index))
      gates[index].useMs = 0
    }
    carry(index)
    gates[index].wakeMs = nextWakeMs(index, isHot: isHot)
  }

  private func nextWakeMs(_ index: Int, isHot: Bool) -> UInt64 {
    let gate = gates[index]
    var wakeMs = gate.group.dueMs == .max ? .max : max(gate.group.dueMs, gate.clockAheadMs) - gate.clockAheadMs
    if isHot { wakeMs = min(wakeMs, gate.useMs) }
    if !gate.isConnected { wakeMs = min(wakeMs, max(gate.dialMs, nowMs + Self.dialEveryMs)) }
    for message in gate.toStore { wakeMs = min(wakeMs, max(message.atMs, gate.cutOffUntilMs)) }
    for message in gate.toGate { wakeMs = min(wakeMs, max(message.atMs, gate.cutOffUntilMs)) }
    for sentMs in gate.unanswered.values { wakeMs = min(wakeMs, sentMs + LeaseTimes.answerMs + 1) }
    return wakeMs
  }

  private func clock(_ index: Int) -> UInt64 { nowMs + gates[index].clockAheadMs }

  private mutating func link(_ index: Int) {
    let isLate = gates[index].unanswered.values.contains { nowMs - $0 > LeaseTimes.answerMs }
    let canReach = isStoreUp && nowMs >= gates[index].cutOffUntilMs
    if gates[index].isConnected, isLate {
      gates[index].isConnected = false
      gates[index].toGate = []
      gates[index].unanswered = [:]
      gates[index].dialMs = nowMs + UInt64(choices.next(below: Int(LeaseTimes.retryMs)))
      gates[index].group.disconnected(nowMs: clock(index))
      gates[index].useMs = 0
    } else if !gates[index].isConnected, canReach, nowMs >= gates[index].dialMs {
      gates[index].isConnected = true
      gates[index].group.connected(nowMs: clock(index))
    } else if !gates[index].isConnected, !canReach {
      gates[index].group.disconnected(nowMs: clock(index))
      gates[index].useMs = 0
    }
  }

  /// Asks for all that there is.
  private mutating func use(_ index: Int) {
    let nowNs = clock(index) * 1_000_000
    if let concurrent = gates[index].rule.concurrent {
      if choices.next(below: 20) == 0, concurrent.enter(nowNs: nowNs) == .entered { gates[index].entered += 1 }
      if gates[index].entered > 0, choices.next(below: 40) == 0 {
        concurrent.leave()
        gates[index].entered -= 1
      }
      enteredMost = max(enteredMost, gates.reduce(0) { $0 + $1.entered })
      return
    }
    guard let requests = gates[index].rule.requests else { return }
    // More than any limit of these grants in two milliseconds.
    for _ in 0..<200 {
      switch requests.take(nowNs: nowNs) {
      case .taken: spent[spent.count - 1] += 1
      // The answer to what was called for lets it ask again.
      case .fetching: return gates[index].useMs = .max
      case .empty(let retryAfterNs): return gates[index].useMs = nowMs + retryAfterNs / 1_000_000 + 1
      }
    }
  }

  private mutating func carry(_ index: Int) {
    for request in gates[index].group.takeRequests() where gates[index].isConnected {
      operations += 1
      gates[index].unanswered[request.id] = nowMs
      if choices.next(below: 1000) < lossPercent * 10 { continue }
      gates[index].toStore.append((nowMs + UInt64(choices.next(below: 8)), request))
    }
    _ = gates[index].group.takeEvents()
    guard isStoreUp, nowMs >= gates[index].cutOffUntilMs else { return }
    // A stopped server does later what it was asked before; its answers find nobody.
    let due = gates[index].toStore.filter { $0.atMs <= nowMs }
    gates[index].toStore.removeAll { $0.atMs <= nowMs }
    for (_, request) in due {
      let reply = store.perform(request, by: gates[index].number)
      guard gates[index].isConnected, gates[index].unanswered[request.id] != nil else { continue }
      for _ in 0..<(choices.next(below: 20) == 0 ? 2 : 1) {
        gates[index].toGate.append((nowMs + UInt64(choices.next(below: 8)), request.id, reply))
      }
    }
    let arrived = gates[index].toGate.filter { $0.atMs <= nowMs }
    gates[index].toGate.removeAll { $0.atMs <= nowMs }
    for (_, id, reply) in arrived {
      gates[index].unanswered[id] = nil
      gates[index].useMs = 0
      _ = gates[index].group.answered(id, reply, nowMs: clock(index))
    }
  }

  // MARK: - Faults

  package mutating func begin(_ fault: Fault) {
    let victim = choices.next(below: gates.count)
    switch fault {
    case .none: break
    case .killed: gates[victim] = makeGate(victim)
    case .stopped: isStoreUp = false
    case .forgotten:
      dropAll()
      store.forget()
    case .failedOver:
      dropAll()
      if let old = older.last { store.fallBack(to: old) }
    case .cutOff: gates[victim].cutOffUntilMs = nowMs + 5_000
    case .clockBack: store.clockUs -= 5_000_000
    }
  }

  package mutating func end(_ fault: Fault) {
    if fault == .stopped { isStoreUp = true }
  }

  /// Connections break at once, as when the process ends.
  private mutating func dropAll() {
    for index in gates.indices {
      gates[index].isConnected = false
      (gates[index].toStore, gates[index].toGate, gates[index].unanswered) = ([], [], [:])
      gates[index].dialMs = nowMs + UInt64(choices.next(below: Int(LeaseTimes.retryMs)))
      gates[index].group.disconnected(nowMs: clock(index))
    }
  }

  package mutating func choose(below bound: Int) -> Int { choices.next(below: bound) }

  package var isShared: Bool { gates.allSatisfy { $0.group.state == .shared } }
  package var heldTokens: Int { gates.reduce(0) { $0 + $1.group.heldTokens } }
}
