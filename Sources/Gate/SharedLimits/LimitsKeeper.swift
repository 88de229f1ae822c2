// The thread that keeps this gate's leases: one loop, the group's Redis, and the pure LeaseGroup that decides.
// It relies on the loops to ring when a lease runs low; none of them ever waits for this thread.
import Flow
import Kernel
import Policy
import Synchronization
import Wire

enum LimitsMessage: Sendable {
  /// A loop found a lease low.
  case called
  case policy(Policy, HostsTable)
  case hosts(HostsTable)
  /// All that is held goes back, and the thread ends.
  case leave
}

/// The parts of the gate that the keeper needs.
struct LimitsSurroundings: Sendable {
  let log: SharedAppendFile
  let sequence: AuditSequence
  let gate: GateName
  /// There are tokens or slots again, or there are known to be none: whoever waits is to look.
  let wake: @Sendable () -> Void
}

/// The state of the store, as others may know it.
struct LimitsStatus: Sendable {
  var state = LeaseGroup.State.joining
  var gates = 0
  var limits = 0
  var heldTokens = 0
  var operations: UInt64 = 0
  var losses: UInt64 = 0
  /// Why the store is out of reach.
  var problem: String?
  var hasEnded = false
}

final class LimitsBoard: Sendable {
  private let state = Mutex(LimitsStatus())

  var status: LimitsStatus {
    get { state.withLock { $0 } }
    set { state.withLock { $0 = newValue } }
  }
}

final class LimitsKeeper: LoopDelegate {
  private static let showEveryMs: UInt64 = 250
  private static let endMsMax: UInt64 = 400
  private static let toldMax = 8
  /// A loss that lasts longer has its own reason, whatever began it.
  private static let longLossMs: UInt64 = 5_000
  private static let markBits: ClosedRange<UInt64> = 1 << 60...(.max)

  private let loop: Loop
  private let resolver: Resolver
  private let mail: Mailbox<LimitsMessage>
  private let board: LimitsBoard
  private let settings: Settings.SharedLimits
  private let around: LimitsSurroundings
  private let audit: AuditLog
  private var store: LimitsStore?
  private var group: LeaseGroup
  private var policy: Policy
  private var problem: String?
  /// Of the loss that lasts: each is told once.
  private var toldProblems: Set<String> = []
  private var lostMs: UInt64 = 0
  private var endMs: UInt64?
  private var shown: LeaseGroup.State?
  private var showMs: UInt64 = 0

  init(
    _ settings: Settings.SharedLimits, tls: OutgoingTLSBox, mail: Mailbox<LimitsMessage>, board: LimitsBoard,
    _ around: LimitsSurroundings, policy: Policy, hosts: HostsTable
  ) throws(SystemError) {
    loop = try Loop()
    resolver = try Resolver(loop: loop, settings: policy.settings, hosts: hosts)
    (self.settings, self.mail, self.board, self.around, self.policy) = (settings, mail, board, around, policy)
    audit = AuditLog(file: around.log, sequence: around.sequence, gate: around.gate)
    let mark = String(UInt64.random(in: Self.markBits), radix: 16)
    group = LeaseGroup(onLoss: settings.onLoss, mark: mark)
    store = LimitsStore(settings, gate: mark, tls, loop, resolver, owner: self)
    resolver.report(to: self)
    try loop.watchMailbox(mail.fd)
  }

  func run() {
    group.replace(policy.sharedLimits, nowMs: loop.nowMs)
    while true {
      let dueMs = min(group.dueMs, store?.retryMs ?? .max, endMs ?? .max)
      loop.turn(self, waitMsMax: dueMs - min(Clock.monotonicMs(), dueMs))
      if let endMs, !group.isWaiting || loop.nowMs >= endMs { break }
    }
    store?.close()
    resolver.end()
    loop.end()
    var status = board.status
    status.hasEnded = true
    board.status = status
  }

  // MARK: - LoopDelegate

  func turnBegan() {}

  func mailArrived() {
    for message in mail.drain() {
      switch message {
      case .called: break
      case .policy(let policy, let hosts):
        self.policy = policy
        resolver.replaceHosts(hosts)
        group.replace(policy.sharedLimits, nowMs: loop.nowMs)
      case .hosts(let hosts): resolver.replaceHosts(hosts)
      case .leave:
        group.leave()
        endMs = loop.nowMs + Self.endMsMax
      }
    }
  }

  func turnEnded() {
    if endMs == nil {
      for key in policy.leaseBell?.takeCalls() ?? [] { group.called(key, nowMs: loop.nowMs) }
      if group.dueMs <= loop.nowMs { group.advance(nowMs: loop.nowMs) }
      store?.tryIfDue()
    }
    for request in group.takeRequests() { store?.perform(request) }
    for event in group.takeEvents() { tell(event) }
    showStatus()
    audit.flush()
  }

  /// A sum over all limits: not with each turn.
  private func showStatus() {
    guard shown != group.state || loop.nowMs >= showMs else { return }
    (shown, showMs) = (group.state, loop.nowMs + Self.showEveryMs)
    board.status = LimitsStatus(
      state: group.state, gates: group.gates, limits: group.limitCount, heldTokens: group.heldTokens,
      operations: group.operations, losses: group.losses, problem: problem)
  }

  // MARK: - Words

  private static func count(_ gates: Int) -> String { "\(gates) gate\(gates == 1 ? "" : "s")" }

  private func tell(_ event: LeaseGroup.Event) {
    let place = settings.placeText
    switch event {
    case .joined(let gates):
      problem = nil
      Messages.say("limits are shared through \(place), group \(settings.group): \(Self.count(gates)) so far")
    case .lost(let mode):
      let consequence =
        switch mode {
        case .alone(let gates): "until it answers this gate has a share of each limit, as one of \(gates)"
        case .refusing, .shared: "until it answers nothing is let out that a shared limit bounds"
        }
      (toldProblems, lostMs) = ([problem ?? place], loop.nowMs)
      Messages.warn("shared limits are out of reach: \(problem ?? place); \(consequence)")
    case .regained(let gates, let hasForgotten):
      problem = nil
      let loss = hasForgotten ? "; it has forgotten what was used up, and limits begin empty" : ""
      Messages.say("shared limits are back: \(place), \(Self.count(gates))\(loss)")
    }
    audit.record(event, problem: problem, policy: policy, wallMs: loop.wallMs)
  }
}

extension LimitsKeeper: LimitsStoreOwner {
  func storeIsUp() { group.connected(nowMs: loop.nowMs) }

  func storeIsDown(_ why: StoreProblem) {
    problem = why.text
    let isNews = why.isLasting || loop.nowMs >= lostMs + Self.longLossMs
    if group.state == .lost, isNews, toldProblems.count < Self.toldMax, toldProblems.insert(why.text).inserted {
      Messages.warn("shared limits are still out of reach: \(why.text)")
    }
    group.disconnected(nowMs: loop.nowMs)
  }

  func storeAnswered(_ request: LeaseRequest, _ reply: LeaseReply) {
    if group.answered(request.id, reply, nowMs: loop.nowMs) { around.wake() }
  }
}

extension LimitsKeeper: ResolverDelegate {
  func resolved(_ answer: NameAnswer, for slot: Slot, token: UInt64) {
    (loop.source(at: slot) as? RedisConnection)?.resolved(answer)
  }

  func resolved(_ records: [[UInt8]], absence: Absence, for slot: Slot, token: UInt64) {}
}

extension Settings.SharedLimits {
  /// Where it is, for whoever reads messages.
  var placeText: String {
    switch place {
    case .single(let server): "\(server)"
    case .sentinels(let servers, let master): "master \(master) of \(servers.count) sentinels"
    case .cluster(let servers): "the cluster of \(servers[0])"
    }
  }
}
