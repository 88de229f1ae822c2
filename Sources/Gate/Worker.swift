// A worker: one event loop on one thread, with its listeners, sessions, resolver and log buffer. It relies on a
// mailbox for messages from other threads; workers share only the policy, the buckets and the log.
import Flow
import Intercept
package import Kernel
package import Policy
import Synchronization
import Wire

package enum WorkerMessage: Sendable {
  case policy(PolicyInForce, GateAddresses, HostsTable, token: UInt64)
  /// The same policy with other sandboxes. Open connections are not affected.
  case sandboxes(Policy)
  case surroundings(GateAddresses, HostsTable)
  case verified(VerifiedPassword)
  case question(WorkerQuestion, token: UInt64)
  case adopt([BoundSocket], token: UInt64)
  case dismiss(sandbox: String, isCut: Bool, token: UInt64)
  /// A sandbox starts or ends its self-check.
  case probing(sandbox: String, isOver: Bool, token: UInt64)
  /// A credential or a review that a session waited for is ready, or failed.
  case wake(Slot)
  /// A person has answered an approval request of this connection.
  case answered(connection: UInt64)
  /// Shared limits have tokens or slots again, or their store answered that there are none.
  case tokens
  case drain
  case stop
}

/// A policy with the TLS contexts and content plans that the main thread built for it.
package struct PolicyInForce: Sendable {
  let policy: Policy
  /// Nil if no rule inspects and no denial is explained inside TLS.
  let intercept: InterceptContexts?
  let content: ContentPlans
  let explainsDenials: Bool
  /// The listeners that speak TLS, keyed by the address in the policy.
  let listeners: [ListenAddress: ListenerTLS]
}

/// State shared by all workers of a process. Immutable, atomic or behind a lock.
package final class Shared: Sendable {
  let log: SharedAppendFile
  let sequence: AuditSequence
  let gate: GateName
  let mailboxes: [Mailbox<WorkerMessage>]
  /// Answers of the workers to the main thread.
  let reports: Mailbox<WorkerReport>
  let passwords: PasswordVerifier
  let syntheticNames: SyntheticNames
  let credentials: GateCredentials
  let pages = PagePool()
  let refusals = RefusalMemory()
  let approvals: Approvals
  private let places = Mutex(FairShare())
  private let nextId = Atomic<UInt64>(1)
  /// The number of `probing` messages that workers have handled.
  private let probingTaken = Atomic<Int>(0)

  init(
    log: SharedAppendFile, sequence: AuditSequence, gate: GateName, mailboxes: [Mailbox<WorkerMessage>],
    reports: Mailbox<WorkerReport>,
    passwords: PasswordVerifier, syntheticNames: SyntheticNames, credentials: GateCredentials, approvals: Approvals
  ) {
    self.approvals = approvals
    self.log = log
    self.sequence = sequence
    self.gate = gate
    self.mailboxes = mailboxes
    self.reports = reports
    self.passwords = passwords
    self.syntheticNames = syntheticNames
    self.credentials = credentials
  }

  var liveConnections: Int { places.withLock(\.used) }

  /// Takes one connection of `limits.connections`. False if none is free, or if the owner has used its fair share.
  func takePlace(for owner: ShareOwner, _ policy: Policy) -> Bool {
    places.withLock { $0.take(of: policy.settings.limits.connections, for: owner, policy.sharing) }
  }

  func givePlace(by owner: ShareOwner) { places.withLock { $0.give(by: owner) } }

  func movePlace(from old: ShareOwner, to new: ShareOwner, _ policy: Policy) -> Bool {
    places.withLock { places in
      places.give(by: old)
      if places.take(of: policy.settings.limits.connections, for: new, policy.sharing) { return true }
      places.add(1, to: old)
      return false
    }
  }

  var upcomingId: UInt64 { nextId.load(ordering: .relaxed) }
  var probingTakenCount: Int { probingTaken.load(ordering: .acquiring) }
  func tookProbing() { probingTaken.wrappingAdd(1, ordering: .releasing) }
  func takeId() -> UInt64 { nextId.wrappingAdd(1, ordering: .relaxed).oldValue }
}

final class Worker: LoopDelegate {
  let index: Int
  let loop: Loop
  let resolver: Resolver
  let tools: PumpTools
  let passwords: PasswordCache
  let shared: Shared
  let interceptTools = InterceptTools()
  private(set) var intercept: InterceptContexts?
  private var listenersTLS: [ListenAddress: ListenerTLS]
  private var content: ContentPlans
  let audit: AuditLog
  /// Connections accepted by listeners that speak TLS.
  private(set) lazy var fronts = TLSListenerConnections(of: self)
  private let mailbox: Mailbox<WorkerMessage>
  /// SAFETY of `@exclusivity(unchecked)`: it is changed at the beginning of a turn and by mail, when no flow looks at
  /// it.
  @safe @exclusivity(unchecked) private(set) var conditions: Conditions
  private var listeners: [Listener] = []
  /// Nil until a DNS listener is served.
  private var desk: DNSServer?
  private var sessionCount = 0
  /// Sessions that wait for the store of shared limits. Sessions beyond `fetchingMax` are not listed: their own
  /// deadline wakes them.
  private var fetching: [Slot] = []
  private static let fetchingMax = 4_096
  private(set) var isStopping = false

  init(
    index: Int, shared: Shared, adopting listening: [BoundSocket], policy inForce: PolicyInForce,
    gate: GateAddresses, hosts: HostsTable
  ) throws(SystemError) {
    let policy = inForce.policy
    self.index = index
    self.shared = shared
    intercept = inForce.intercept
    listenersTLS = inForce.listeners
    content = inForce.content
    mailbox = shared.mailboxes[index]
    loop = try Loop()
    resolver = try Resolver(loop: loop, settings: policy.settings, hosts: hosts)
    tools = PumpTools()
    passwords = PasswordCache(verifier: shared.passwords, worker: index)
    audit = AuditLog(file: shared.log, sequence: shared.sequence, gate: shared.gate, loop: loop)
    conditions = Conditions(policy: policy, gate: gate)
    conditions.explainsDenials = inForce.explainsDenials
    resolver.report(to: self)
    try loop.watchMailbox(mailbox.fd)
    turnBegan()
    for bound in listening { try serve(bound) }
  }

  /// Takes ownership of the socket: the socket is closed if this throws.
  func serve(_ bound: BoundSocket) throws(SystemError) {
    let socket = Descriptor(owning: bound.raw)
    let desk = bound.door == .dns ? desk ?? DNSServer(worker: self) : nil
    if let desk { self.desk = desk }
    if bound.transport == .datagram {
      try desk?.serveDatagrams(socket, sandbox: bound.sandbox, isShared: bound.isShared)
      return
    }
    let listener = Listener(
      socket: socket, door: bound.door, identity: bound.identity, sandbox: bound.sandbox, isShared: bound.isShared,
      loop: loop, acceptor: self)
    try listener.begin()
    listeners.append(listener)
  }

  func closeListeners(of sandbox: String) {
    for listener in listeners where listener.sandbox == sandbox { listener.close() }
    listeners.removeAll { $0.sandbox == sandbox }
    desk?.dismiss(sandbox)
  }

  func run() {
    loop.run(self)
    audit.finish(wallMs: loop.wallMs)
    resolver.end()
    report(0, .ended(counts()))
    loop.end()
  }

  // MARK: - Sessions

  /// Step "accept": starts a new flow, or refuses the connection if there are too many.
  func accepted(_ socket: consuming Descriptor, from peer: SocketAddress, at door: ListenerKind, _ sandbox: String?) {
    if door == .dns {
      desk?.accepted(socket, from: DNSClient(source: peer.ip, sandbox: sandbox))
      return
    }
    let owner = conditions.policy.shareOwner(source: peer.ip, sandbox: sandbox)
    if !takePlace(for: owner) {
      return refuse(socket, at: door, client: clientName(peer.ip, sandbox), shared.takeId())
    }
    let id = shared.takeId()
    let (opening, lease) = door == .transparent ? redirected(socket.raw, peer) : (.proxy, nil)
    let flow = Flow(
      source: peer.ip, sandbox: sandbox, opening: opening, expectsProxyHeader: expectsHeader(peer.ip, sandbox),
      conditions)
    guard let slot = begin(socket, flow, lease: lease, id: id, owner: owner) else { return shared.givePlace(by: owner) }
    if door == .transparent { session(at: slot)?.tellFromOutside(.accepted) }
  }

  /// Accepts a connection of a listener that speaks TLS. Sessions start only once the client has sent its requests
  /// inside TLS.
  func accepted(_ socket: consuming Descriptor, from peer: SocketAddress, _ listener: ListenerTLS) {
    let owner = conditions.policy.shareOwner(source: peer.ip)
    if !takePlace(for: owner) {
      Socket.abort(socket.raw)
      return recordRefused(client: clientName(peer.ip, nil), .tooMany, shared.takeId())
    }
    let front = TLSListenerConnection(
      worker: self, socket: socket, from: peer.ip, listener, expectsHeader: expectsHeader(peer.ip, nil), owner: owner)
    if !fronts.accepted(front) { shared.givePlace(by: owner) }
  }

  /// Starts a session on this client socket. Nil if the kernel refused to watch the socket. The caller has taken a
  /// connection slot of the limit; the session's end gives the slot back.
  func begin(
    _ socket: consuming Descriptor, _ flow: consuming Flow, lease: NameLease?, id: UInt64, owner: ShareOwner,
    isOwnerFixed: Bool = false
  ) -> Slot? {
    let session = Session(
      worker: self, id: id, socket: socket, flow: flow, lease: lease, owner: owner, isOwnerFixed: isOwnerFixed)
    guard let slot = session.begin() else { return nil }
    sessionCount += 1
    loop.again(slot)
    return slot
  }

  func takePlace(for owner: ShareOwner) -> Bool { shared.takePlace(for: owner, conditions.policy) }

  func movePlace(from old: ShareOwner, to new: ShareOwner) -> Bool {
    shared.movePlace(from: old, to: new, conditions.policy)
  }

  private func expectsHeader(_ peer: IPAddress, _ sandbox: String?) -> Bool {
    sandbox == nil && conditions.policy.settings.listen.proxyProtocol.contains { $0.contains(peer) }
  }

  /// The client's name in the log, for a client without proxy credentials.
  func clientName(_ source: IPAddress, _ sandbox: String?) -> String {
    guard case .client(let client) = conditions.policy.identify(source: source, sandbox: sandbox) else {
      return Policy.fallbackName
    }
    return client.name
  }

  /// The original destination of a redirected connection. If the kernel knows none, the connection was not
  /// redirected.
  private func redirected(_ fd: CInt, _ peer: SocketAddress) -> (Opening, NameLease?) {
    guard let destination = Socket.originalDestination(fd, peer: peer) else {
      return (.redirected(to: .v4(0), port: 0, name: nil), nil)
    }
    let lease = shared.syntheticNames.lease(destination.ip)
    return (.redirected(to: destination.ip, port: destination.port, name: lease?.name), lease)
  }

  private func refuse(_ socket: borrowing Descriptor, at door: ListenerKind, client: String, _ id: UInt64) {
    if door == .connect {
      // Read first what the client has sent: close(2) with unread bytes sends a reset, which destroys the answer.
      _ = tools.scratch.receive(from: socket.raw, upTo: RelayDirection.copyBytesMax)
      let reply = Flow.tooManyReply
      _ = Socket.send(socket.raw, reply.span)
    } else {
      // The client's protocol is not known yet, so no refusal can be written.
      Socket.abort(socket.raw)
    }
    recordRefused(client: client, .tooMany, id)
  }

  func ended(_ slot: Slot, _ owner: ShareOwner, isCut: Bool) {
    loop.release(slot)
    sessionCount -= 1
    if !fronts.sessionEnded(slot, isCut: isCut) { shared.givePlace(by: owner) }
    stopIfDone()
  }

  func stopIfDone() { if isStopping && sessionCount == 0 && fronts.isEmpty { loop.stop() } }

  /// A snapshot of the sessions. A session that ends during an iteration is still listed, and ignores further calls.
  var liveSessions: [Session] { loop.sources.compactMap { $0 as? Session } }

  func session(at slot: Slot) -> Session? { loop.source(at: slot) as? Session }

  func record(_ outcome: Outcome, of flow: borrowing Flow, _ facts: AuditFacts) {
    audit.record(outcome, of: flow, facts, policy: conditions.policy, wallMs: loop.wallMs)
    remember(outcome, of: flow, facts.id)
  }

  /// Records a connection that was refused before a flow existed.
  func recordRefused(client: String, _ reason: Reason, _ id: UInt64, _ detail: String? = nil) {
    audit.recordRefusedConnection(
      client: client, reason, detail, id: id, policy: conditions.policy, wallMs: loop.wallMs)
  }

  func record(_ use: CredentialUse, of flow: borrowing Flow, id: UInt64) {
    audit.record(use, of: flow, id: id, policy: conditions.policy, wallMs: loop.wallMs)
  }

  func record(_ report: ContentReport, of flow: borrowing Flow, id: UInt64) {
    audit.record(report, of: flow, id: id, policy: conditions.policy, wallMs: loop.wallMs)
  }

  /// The filters for one tunnel's requests. The old filters are kept until the policy changes.
  func filters(
    for slot: Slot, _ owner: ShareOwner, _ reviews: ConnectionReviews?, keeping old: TunnelFilters?
  ) -> TunnelFilters? {
    if let old, old.isOf(conditions.policy, reviews) { return old }
    let mailbox = mailbox
    return TunnelFilters(
      conditions.policy, content, shared.credentials.store, shared.pages, for: owner, reviews, keeping: old
    ) {
      mailbox.post(.wake(slot))
    }
  }

  func record(_ outcome: DNSOutcome, client: Client, from source: IPAddress) {
    audit.record(outcome, client: client.name, policy: conditions.policy, wallMs: loop.wallMs)
    remember(outcome, client: client, from: source)
  }

  // MARK: - LoopDelegate

  /// Updates time and log state once per turn, so that all flows of a turn see the same conditions.
  func turnBegan() {
    conditions.nowMs = loop.nowMs
    conditions.nowNs = loop.nowNs
    conditions.unixSeconds = loop.wallMs / 1000
    conditions.isLogUnwritable = audit.isUnwritable && conditions.policy.settings.log.refusesWhenUnwritable
  }

  func turnEnded() { audit.flush() }

  func mailArrived() {
    for message in mailbox.drain() {
      switch message {
      case .policy(let policy, let gate, let hosts, let token): replace(policy, gate, hosts, token)
      case .sandboxes(let policy): conditions.policy = policy
      case .question(let question, let token): answer(question, token)
      case .adopt(let sockets, let token): adopt(sockets, token)
      case .dismiss(let sandbox, let isCut, let token): dismiss(sandbox, isCut: isCut, token)
      case .probing(let sandbox, let isOver, let token): noteProbing(sandbox, isOver: isOver, token)
      case .surroundings(let gate, let hosts):
        conditions.gate = gate
        resolver.replaceHosts(hosts)
      case .verified(let verified): deliver(verified)
      case .wake(let slot): session(at: slot)?.resume()
      case .answered(let id): liveSessions.first { $0.id == id }?.approvalAnswered()
      case .tokens: wakePaced()
      case .drain: drain()
      case .stop: stop()
      }
    }
  }

  private func replace(_ inForce: PolicyInForce, _ gate: GateAddresses, _ hosts: HostsTable, _ token: UInt64) {
    let policy = inForce.policy
    conditions.policy = policy
    conditions.explainsDenials = inForce.explainsDenials
    intercept = inForce.intercept
    listenersTLS = inForce.listeners
    content = inForce.content
    conditions.gate = gate
    resolver.replaceHosts(hosts)
    do throws(SystemError) {
      try resolver.replaceSettings(policy.settings)
    } catch {
      Messages.warn("the resolver stays as it was: \(error); \(Server.replaced)")
    }
    desk?.judgeWaitingAnew()
    let before = audit.counters.lines(.revoked)
    tellAll(.policyReplaced)
    report(token, .replaced(cut: Int(clamping: audit.counters.lines(.revoked) - before)))
  }

  /// Notes a paced session that may wait for the store of shared limits; the store's answer wakes it.
  func noteFetching(_ slot: Slot) {
    if conditions.policy.leaseBell != nil, fetching.count < Self.fetchingMax { fetching.append(slot) }
  }

  private func wakePaced() {
    let waiting = fetching
    fetching.removeAll(keepingCapacity: true)
    for slot in waiting { session(at: slot)?.tokensCame() }
  }

  private func deliver(_ verified: VerifiedPassword) {
    passwords.remember(verified)
    session(at: verified.asker)?.verified(verified)
  }

  /// Accepts no new connections; open ones may finish.
  private func drain() {
    for listener in listeners { listener.close() }
    listeners.removeAll()
    desk?.close()
    conditions.isDraining = true
    isStopping = true
    for session in liveSessions { session.closeIfQuiet() }
    fronts.drain()
    stopIfDone()
  }

  private func stop() {
    tellAll(.drainEnded)
    for session in liveSessions { session.closeNow() }
    fronts.closeAll()
    desk?.close()
    loop.stop()
  }

  private func tellAll(_ event: Event) {
    for session in liveSessions { session.tellFromOutside(event) }
  }
}

extension Worker: ConnectionAcceptor {
  /// Looks the identity up in the policy in force, so that a renewed certificate is used from its reload on.
  func accepted(_ socket: consuming Descriptor, from peer: SocketAddress, identity: ListenAddress) {
    if let tls = listenersTLS[identity] { accepted(socket, from: peer, tls) }
  }
}

extension Worker: ResolverDelegate {
  func resolved(_ answer: NameAnswer, for slot: Slot, token: UInt64) {
    if let desk, slot == desk.slot { return desk.resolved(answer, token: token) }
    session(at: slot)?.resolved(answer, token: token)
  }

  func resolved(_ records: [[UInt8]], absence: Absence, for slot: Slot, token: UInt64) {
    desk?.resolved(records, absence: absence, token: token)
  }
}
