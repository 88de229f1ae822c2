// Where the DNS queries of one loop are answered: it reads a query, acts on the verdict, and keeps what waits for
// Names.
// It relies on DNSDatagramSocket and DNSConnection to bring queries and to carry replies back; it owns no socket.
import Flow
import Kernel
import Policy
import Wire

final class DNSServer: Source, DNSQueryHandler {
  private struct Question {
    let query: DNSQuery
    let peer: DNSClient
    /// Under the policy in force.
    var client: Client
    let owner: ShareOwner
    let bytesMax: Int
  }

  private struct Waiting {
    var question: Question
    let name: HostName
    var rules: [AllowRule]
    let asker: DNSRequester
    let lookup: NameLookup
    var v4: NameAnswer?
    var v6: NameAnswer?

    var found: Found { Found(question: question, name: name, rules: rules, v4: v4, v6: v6) }
  }

  /// The known facts of a name's addresses, and the rules that allow them.
  private struct Found {
    let question: Question
    let name: HostName
    let rules: [AllowRule]
    var v4: NameAnswer?
    var v6: NameAnswer?

    /// Nil until known.
    var families: (asked: [IPAddress], other: [IPAddress]) {
      let (four, six) = (v4?.addresses ?? [], v6?.addresses ?? [])
      return question.query.type == .a ? (four, six) : (six, four)
    }

    /// Of a name without an address: that it is not there counts when nobody failed to say so.
    var absence: Absence {
      guard let v4 = v4?.absence, let v6 = v6?.absence, v4 != .failure, v6 != .failure else { return .failure }
      return v4 == .name || v6 == .name ? .name : .address
    }
  }

  /// Look-ups under way; a query beyond them fails at once.
  private static let waitingMax = 1024
  private static let streamReplyBytesMax = 65_535

  private unowned let worker: Worker
  private let synthetic: SyntheticNames
  /// The resolver knows by it whom an answer is for.
  private(set) var slot = Slot.none
  private let datagrams = Datagrams()
  private var responders: [DNSDatagramSocket] = []
  /// By slot index.
  private var streams: [Int: DNSConnection] = [:]
  private var waiting: [UInt64: Waiting] = [:]
  private var share = FairShare()
  /// When each is answered at the latest, in the order in which they came; those up to `firstDue` are answered.
  private var due: [(token: UInt64, atMs: UInt64)] = []
  private var firstDue = 0
  private var lastToken: UInt64 = 0

  init(worker: Worker) {
    self.worker = worker
    synthetic = worker.shared.syntheticNames
    slot = worker.loop.register(self)
  }

  // MARK: - Who brings queries

  func serveDatagrams(_ socket: consuming Descriptor, sandbox: String?, isShared: Bool) throws(SystemError) {
    let responder = DNSDatagramSocket(
      socket: socket, sandbox: sandbox, isShared: isShared, desk: self, datagrams: datagrams, loop: worker.loop)
    try responder.begin()
    responders.append(responder)
  }

  func accepted(_ socket: consuming Descriptor, from peer: DNSClient) {
    let policy = worker.conditions.policy
    let owner = policy.shareOwner(source: peer.source, sandbox: peer.sandbox)
    guard worker.takePlace(for: owner) else {
      return worker.record(DNSOutcome(.limited, .tooMany), client: client(of: peer, policy), from: peer.source)
    }
    let stream = DNSConnection(
      socket: socket, peer: peer, owner: owner, desk: self, tools: worker.tools, loop: worker.loop)
    guard let slot = stream.begin() else { return worker.shared.givePlace(by: owner) }
    streams[slot.index] = stream
  }

  func ended(_ slot: Slot, _ owner: ShareOwner, hasWaiting: Bool) {
    let stream = streams.removeValue(forKey: slot.index)
    worker.loop.release(slot)
    worker.shared.givePlace(by: owner)
    guard hasWaiting, let stream else { return }
    abandon { asker in
      if case .stream(let other) = asker { other === stream } else { false }
    }
  }

  /// How long a stream may take from one query to the next.
  var queryTimeoutMs: UInt64 { worker.conditions.policy.settings.timeouts.headMs }

  /// No query is taken any more, and none is left waiting.
  func close() {
    failWaiting()
    for responder in responders { responder.close() }
    responders.removeAll()
    for stream in streams.values { stream.close() }
  }

  /// A sandbox is gone: its sockets are closed, and what it asked for is not looked up any longer.
  func dismiss(_ sandbox: String) {
    for responder in responders where responder.sandbox == sandbox { responder.close() }
    abandon { if case .datagram(let responder, _) = $0 { responder.sandbox == sandbox } else { false } }
    responders.removeAll { $0.sandbox == sandbox }
    for stream in streams.values where stream.peer.sandbox == sandbox { stream.close() }
  }

  private func client(of peer: DNSClient, _ policy: Policy) -> Client {
    // A query carries no password: whoever would need one gets what the fallback's rules say.
    guard case .client(let client) = policy.identify(source: peer.source, sandbox: peer.sandbox) else {
      return policy.fallback
    }
    return client
  }

  // MARK: - One query

  func ask(
    _ message: Span<UInt8>, from peer: DNSClient, isDatagram: Bool, into out: inout [UInt8],
    asker: @autoclosure () -> DNSRequester
  ) -> DNSAsked {
    let policy = worker.conditions.policy
    worker.audit.count { $0.queries &+= 1 }
    switch DNSQuery.parse(message) {
    case .drop: return .dropped
    case .answerable(let head, let code):
      head.write(code, into: &out)
      // By asking for an unknown version of EDNS a client finds out which one is known.
      if code != .badVersion {
        worker.record(DNSOutcome(.denied, .badRequest), client: client(of: peer, policy), from: peer.source)
      }
      return .answered
    case .query(let query):
      let question = Question(
        query: query, peer: peer, client: client(of: peer, policy),
        owner: policy.shareOwner(source: peer.source, sandbox: peer.sandbox),
        bytesMax: isDatagram ? query.udpBytesMax : Self.streamReplyBytesMax)
      return ask(question, worker.conditions, into: &out, asker: asker())
    }
  }

  private func ask(
    _ question: Question, _ conditions: borrowing Conditions, into out: inout [UInt8],
    asker: @autoclosure () -> DNSRequester
  ) -> DNSAsked {
    // What could not be recorded is not answered; nor is it a refusal, since the client may ask again.
    guard !conditions.isLogUnwritable && !conditions.isDraining else {
      fail(question, nil, into: &out)
      return .answered
    }
    var note: DNSOutcome?
    let verdict = DNSVerdict.decide(
      question.query, client: question.client, owner: question.owner,
      isInSandbox: question.peer.sandbox != nil, conditions, synthetic, note: &note)
    if let note { worker.record(note, client: question.client, from: question.peer.source) }
    if case .refuse(.notAllowed, _) = verdict { recordForApproval(question, conditions) }
    switch verdict {
    case .resolve(let name, let rules): return look(up: name, rules, question, into: &out, asker: asker())
    case .records(let name): return look(up: name, [], isForRecords: true, question, into: &out, asker: asker())
    default: break
    }
    answer(question, verdict, into: &out)
    return .answered
  }

  /// All that is known at once.
  private func answer(_ question: Question, _ verdict: DNSVerdict, into out: inout [UInt8]) {
    switch verdict {
    case .address(let address): answer(question, [address], into: &out)
    case .pointer(let name):
      question.query.pointer(to: name, ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
    case .noData: question.query.noData(ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
    case .refuse(let reason, let line):
      refuse(question, DNSOutcome(.denied, reason, host: question.query.name, line: line), into: &out)
    case .refuseAt(let address, let reason, let line):
      worker.record(
        DNSOutcome(.denied, reason, host: question.query.name, line: line), client: question.client,
        from: question.peer.source)
      question.query.answer(
        addresses: address.map { [$0] } ?? [], extendedError: filtered(reason), ttlSeconds: ttlSeconds, into: &out,
        bytesMax: question.bytesMax)
    case .full:
      if synthetic.isFirstToFindItFull() { Messages.warn(Self.full(synthetic.namesMax)) }
      fail(question, DNSOutcome(.limited, .tooMany, host: question.query.name), into: &out)
    case .resolve, .records: fail(question, nil, into: &out)
    }
  }

  private static func full(_ namesMax: Int) -> String {
    "all \(namesMax) synthetic addresses, or one client's share of them, are in use; new names are not answered until one is free. Allow more with "
      + "`limits: {synthetic_names: …}` and `dns: {networks: …}`"
  }

  /// A look-up does not wait: the client would ask again, or elsewhere. What it asked for is listed under the port that
  /// most names are asked for; the connection itself waits when it comes.
  private func recordForApproval(_ question: Question, _ conditions: borrowing Conditions) {
    guard conditions.policy.settings.approvals != nil, question.query.type.family != nil,
      let name = question.query.name, !worker.audit.isProbe(question.client.name, nil)
    else { return }
    let subject = ApprovalSubject(Target(host: .name(name), port: 443))
    let asked = ApprovalQuestion(
      ApprovalKey(client: question.client.name, subject: subject), reason: .notAllowed, via: "dns")
    let now = ApprovalRegistry.Time(ms: conditions.nowMs, unixMs: worker.loop.wallMs)
    _ = worker.shared.approvals.change { $0.ask(asked, by: nil, now) }
  }

  // MARK: - Look-ups

  private func look(
    up name: HostName, _ rules: [AllowRule], isForRecords: Bool = false, _ question: Question,
    into out: inout [UInt8], asker: DNSRequester
  ) -> DNSAsked {
    let sharing = worker.conditions.policy.sharing
    lastToken += 1
    var resolution = Resolver.Resolution.full
    if share.take(of: Self.waitingMax, for: question.owner, sharing) {
      resolution =
        isForRecords
        ? worker.resolver.records(
          of: name, question.query.type, for: slot, token: lastToken, owner: question.owner, sharing)
        : worker.resolver.resolve(name, for: slot, token: lastToken, owner: question.owner, sharing)
      guard case .pending(let lookup) = resolution else {
        share.give(by: question.owner)
        return finish(question, name, rules, resolution, into: &out)
      }
      waiting[lastToken] = Waiting(question: question, name: name, rules: rules, asker: asker, lookup: lookup)
      armDeadline(for: lastToken)
      return .waiting
    }
    return finish(question, name, rules, resolution, into: &out)
  }

  private func finish(
    _ question: Question, _ name: HostName, _ rules: [AllowRule], _ resolution: Resolver.Resolution,
    into out: inout [UInt8]
  ) -> DNSAsked {
    if case .ready(let v4, let v6) = resolution {
      finish(Found(question: question, name: name, rules: rules, v4: v4, v6: v6), into: &out)
    } else {
      fail(question, DNSOutcome(.limited, .tooMany, host: name), into: &out)
    }
    return .answered
  }

  func resolved(_ answer: NameAnswer, token: UInt64) {
    guard var entry = waiting[token] else { return }
    switch answer.family {
    case .v4: entry.v4 = answer
    case .v6: entry.v6 = answer
    }
    waiting[token] = entry
    if isDecided(entry.found) { finish(token) }
  }

  /// The whole answer to a question for records.
  func resolved(_ records: [[UInt8]], absence: Absence, token: UInt64) {
    guard let entry = takeWaiting(token) else { return }
    var reply: [UInt8] = []
    if records.isEmpty {
      absent(entry.question, entry.name, absence, into: &reply)
    } else {
      let question = entry.question
      question.query.answer(records: records, ttlSeconds: ttlSeconds, into: &reply, bytesMax: question.bytesMax)
    }
    entry.asker.send(reply)
  }

  /// Whoever asked gives up, or asks again, in about this time: a later answer is of no use.
  private func armDeadline(for token: UInt64) {
    let resolver = worker.conditions.policy.settings.resolver
    due.append((token, worker.loop.nowMs + resolver.timeoutMs * UInt64(resolver.attempts)))
    dropAnswered()
    worker.loop.setDeadline(slot, atMs: due[firstDue].atMs)
  }

  private func dropAnswered() {
    while firstDue < due.count && waiting[due[firstDue].token] == nil { firstDue += 1 }
    guard firstDue > 64 && firstDue > due.count / 2 || firstDue == due.count else { return }
    due.removeFirst(firstDue)
    firstDue = 0
  }

  func deadlinePassed() {
    while firstDue < due.count && due[firstDue].atMs <= worker.loop.nowMs {
      let token = due[firstDue].token
      // A reply may let a stream ask on, and that goes through this list too.
      firstDue += 1
      finish(token)
    }
    dropAnswered()
    if !due.isEmpty { worker.loop.setDeadline(slot, atMs: due[firstDue].atMs) }
  }

  private func finish(_ token: UInt64) {
    guard let entry = takeWaiting(token) else { return }
    var reply: [UInt8] = []
    finish(entry.found, into: &reply)
    entry.asker.send(reply)
  }

  /// The query waits no more: nobody looks its name up for it.
  private func takeWaiting(_ token: UInt64) -> Waiting? {
    guard let entry = waiting.removeValue(forKey: token) else { return nil }
    share.give(by: entry.question.owner)
    worker.resolver.forget(entry.lookup, for: slot, token: token)
    return entry
  }

  /// Whoever asked is gone.
  private func abandon(where isGone: (DNSRequester) -> Bool) {
    for (token, entry) in waiting where isGone(entry.asker) { _ = takeWaiting(token) }
  }

  /// Nothing else that may come would change the reply: a server slow with AAAA does not hold up A.
  private func isDecided(_ entry: Found) -> Bool {
    if entry.v4 != nil && entry.v6 != nil { return true }
    let asked = entry.families.asked
    return !DNSVerdict.screen(asked, entry.name, entry.rules, worker.conditions.gate).good.isEmpty
  }

  /// A name with addresses only in the other family has no data.
  private func finish(_ entry: Found, into out: inout [UInt8]) {
    let question = entry.question
    let (asked, other) = entry.families
    if asked.isEmpty && other.isEmpty {
      return absent(question, entry.name, entry.absence, into: &out)
    }
    let gate = worker.conditions.gate
    var (good, refused) = DNSVerdict.screen(asked, entry.name, entry.rules, gate)
    if let refused {
      var outcome = DNSOutcome(
        .denied, refused.reason, host: entry.name,
        line: entry.rules.first.map { Screening.line(refused.reason, refused.address, port: 0, rule: $0) })
      outcome.address = refused.address
      if question.client.network.isReportOnly {
        good = asked
        outcome.wouldDeny = true
        worker.record(outcome, client: question.client, from: question.peer.source)
      } else if good.isEmpty {
        // NXDOMAIN would hide the other family's addresses too.
        if DNSVerdict.screen(other, entry.name, entry.rules, gate).good.isEmpty {
          return refuse(question, outcome, into: &out)
        }
        worker.record(outcome, client: question.client, from: question.peer.source)
      }
    }
    answer(question, good, into: &out)
  }

  /// A drain ends all look-ups under way.
  private func failWaiting() {
    for token in waiting.keys {
      guard let entry = takeWaiting(token) else { continue }
      var reply: [UInt8] = []
      fail(entry.question, nil, into: &reply)
      entry.asker.send(reply)
    }
  }

  /// The policy is another one: what waits is held to it, and goes on waiting where it may.
  func judgeWaitingAnew() {
    for (token, entry) in waiting {
      var question = entry.question
      question.client = client(of: question.peer, worker.conditions.policy)
      // What report mode lets pass was written down when it was asked.
      var note: DNSOutcome?
      let verdict = DNSVerdict.decide(
        question.query, client: question.client, owner: question.owner,
        isInSandbox: question.peer.sandbox != nil, worker.conditions, synthetic, note: &note)
      switch verdict {
      case .resolve(_, let rules):
        waiting[token]?.question = question
        waiting[token]?.rules = rules
        continue
      case .records:
        waiting[token]?.question = question
        continue
      default: break
      }
      _ = takeWaiting(token)
      var reply: [UInt8] = []
      answer(question, verdict, into: &reply)
      entry.asker.send(reply)
    }
  }

  // MARK: - Source: it waits for the resolver only

  func ready(_ readiness: Readiness, tag: UInt8) {}
  func resume() {}

  // MARK: - Replies

  private var ttlSeconds: UInt32 { worker.conditions.policy.settings.dns.ttlSeconds }

  private func answer(_ question: Question, _ addresses: [IPAddress], into out: inout [UInt8]) {
    question.query.answer(
      addresses: addresses, ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
  }

  /// NXDOMAIN, with the reason for whoever can read it: a filtered name that says so is no broken network.
  private func refuse(_ question: Question, _ outcome: DNSOutcome, into out: inout [UInt8]) {
    worker.record(outcome, client: question.client, from: question.peer.source)
    question.query.failure(
      .nameError, extendedError: filtered(outcome.reason), ttlSeconds: ttlSeconds, into: &out,
      bytesMax: question.bytesMax)
  }

  private func filtered(_ reason: Reason) -> DNSExtendedError {
    var text: [UInt8] = []
    text.append("egress policy: ")
    text += reason.rawValue.utf8
    return DNSExtendedError(code: DNSExtendedError.filtered, text: text)
  }

  /// The upstream's own word on a name without an address, passed on: this is no refusal.
  private func absent(_ question: Question, _ name: HostName, _ absence: Absence, into out: inout [UInt8]) {
    let outcome = DNSOutcome(.failed, .resolveFailed, host: name)
    switch absence {
    case .failure: fail(question, outcome, into: &out)
    case .name:
      worker.record(outcome, client: question.client, from: question.peer.source)
      question.query.failure(.nameError, ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
    case .address: question.query.noData(ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
    }
  }

  private func fail(_ question: Question, _ outcome: DNSOutcome?, into out: inout [UInt8]) {
    if let outcome { worker.record(outcome, client: question.client, from: question.peer.source) }
    question.query.failure(.serverFailure, into: &out, bytesMax: question.bytesMax)
  }
}
