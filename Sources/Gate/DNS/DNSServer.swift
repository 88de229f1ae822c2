// Where the DNS queries of one loop are answered: it reads a query, acts on the verdict, and keeps what waits for Names.
// It relies on DNSDatagramSocket and DNSConnection to bring queries and to carry replies back; it owns no socket.
import Flow
import Kernel
import Policy
import Wire

/// Who asks: by address, or by the sandbox that its socket belongs to.
struct DNSClient {
  let source: IPAddress
  let sandbox: String?
}

/// Who gets a reply that was not there at once.
enum DNSRequester {
  case datagram(DNSDatagramSocket, DatagramPath)
  case stream(DNSConnection)

  func send(_ reply: [UInt8]) {
    switch self {
    case .datagram(let responder, let path): responder.send(reply, along: path)
    case .stream(let stream): stream.send(reply)
    }
  }
}

final class DNSServer: Source {
  enum Asked {
    /// The reply was appended.
    case answered
    /// It comes through `DNSRequester`.
    case waiting
    /// What came gets no reply.
    case dropped
  }

  private struct Question {
    let query: DNSQuery
    let client: Client
    let bytesMax: Int
  }

  private struct Waiting {
    let question: Question
    let name: HostName
    let rules: [AllowRule]
    let asker: DNSRequester
    var v4: NameAnswer?
    var v6: NameAnswer?

    /// What is not known yet is none.
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
  /// How many of them are whose.
  private var waitingCounts: [String: Int] = [:]
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
    if worker.shared.opened() > policy.settings.limits.connections {
      worker.shared.closed()
      return worker.record(DNSOutcome(.limited, .tooMany), client: client(of: peer, policy))
    }
    let stream = DNSConnection(socket: socket, peer: peer, desk: self, tools: worker.tools, loop: worker.loop)
    guard let slot = stream.begin() else { return worker.shared.closed() }
    streams[slot.index] = stream
  }

  func ended(_ slot: Slot) {
    streams[slot.index] = nil
    worker.loop.release(slot)
    worker.shared.closed()
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

  /// A sandbox is gone: its sockets are closed. What it asked for may still be looked up, and is told to nobody.
  func dismiss(_ sandbox: String) {
    for responder in responders where responder.sandbox == sandbox { responder.close() }
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
  ) -> Asked {
    let policy = worker.conditions.policy
    worker.audit.count { $0.queries &+= 1 }
    switch DNSQuery.parse(message) {
    case .drop: return .dropped
    case .answerable(let head, let code):
      head.write(code, into: &out)
      // By asking for an unknown version of EDNS a client finds out which one is known.
      if code != .badVersion {
        worker.record(DNSOutcome(.denied, .badRequest), client: client(of: peer, policy))
      }
      return .answered
    case .query(let query):
      let question = Question(
        query: query, client: client(of: peer, policy),
        bytesMax: isDatagram ? query.udpBytesMax : Self.streamReplyBytesMax)
      return ask(question, worker.conditions, into: &out, asker: asker())
    }
  }

  private func ask(
    _ question: Question, _ conditions: borrowing Conditions, into out: inout [UInt8],
    asker: @autoclosure () -> DNSRequester
  ) -> Asked {
    // What could not be recorded is not answered; nor is it a refusal, since the client may ask again.
    guard !conditions.isLogUnwritable && !conditions.isDraining else {
      fail(question, nil, into: &out)
      return .answered
    }
    var note: DNSOutcome?
    let verdict = DNSVerdict.decide(question.query, client: question.client, conditions, synthetic, note: &note)
    if let note { worker.record(note, client: question.client) }
    switch verdict {
    case .address(let address): answer(question, [address], into: &out)
    case .pointer(let name):
      question.query.pointer(to: name, ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
    case .noData: question.query.noData(ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
    case .refuse(let reason, let line):
      refuse(question, DNSOutcome(.denied, reason, host: question.query.name, line: line), into: &out)
    case .full:
      if synthetic.isFirstToFindItFull() { Messages.warn(Self.full(synthetic.namesMax)) }
      fail(question, DNSOutcome(.limited, .tooMany, host: question.query.name), into: &out)
    case .resolve(let name, let rules):
      return look(up: name, rules, question, into: &out, asker: asker())
    }
    return .answered
  }

  private static func full(_ namesMax: Int) -> String {
    "all \(namesMax) synthetic addresses, or one client's half of them, are in use; new names are not answered until one is free. Allow more with "
      + "`limits: {synthetic_names: …}` and `dns: {networks: …}`"
  }

  // MARK: - Look-ups

  private func look(
    up name: HostName, _ rules: [AllowRule], _ question: Question, into out: inout [UInt8], asker: DNSRequester
  ) -> Asked {
    guard mayWait(question.client) else {
      fail(question, DNSOutcome(.limited, .tooMany, host: name), into: &out)
      return .answered
    }
    lastToken += 1
    var entry = Waiting(question: question, name: name, rules: rules, asker: asker)
    switch worker.resolver.resolve(name, for: slot, token: lastToken) {
    case .pending:
      waiting[lastToken] = entry
      waitingCounts[question.client.name, default: 0] += 1
      return .waiting
    case .ready(let v4, let v6):
      entry.v4 = v4
      entry.v6 = v6
      finish(entry, into: &out)
      return .answered
    }
  }

  /// Where clients are told apart, one has half of the places at most.
  private func mayWait(_ client: Client) -> Bool {
    let shareMax = worker.conditions.policy.tellsClientsApart ? Self.waitingMax / 2 : Self.waitingMax
    return waiting.count < Self.waitingMax && waitingCounts[client.name, default: 0] < shareMax
  }

  func resolved(_ answer: NameAnswer, token: UInt64) {
    guard var entry = waiting[token] else { return }
    switch answer.family {
    case .v4: entry.v4 = answer
    case .v6: entry.v6 = answer
    }
    guard isDecided(entry) else {
      waiting[token] = entry
      return
    }
    waiting[token] = nil
    let name = entry.question.client.name
    let left = waitingCounts[name, default: 1] - 1
    waitingCounts[name] = left > 0 ? left : nil
    var reply: [UInt8] = []
    finish(entry, into: &reply)
    entry.asker.send(reply)
  }

  /// Nothing else that may come would change the reply: a server slow with AAAA does not hold up A.
  private func isDecided(_ entry: Waiting) -> Bool {
    if entry.v4 != nil && entry.v6 != nil { return true }
    let asked = entry.families.asked
    return !DNSVerdict.screen(asked, entry.name, entry.rules, worker.conditions.gate).good.isEmpty
  }

  /// What is there in the other family only has no data.
  private func finish(_ entry: Waiting, into out: inout [UInt8]) {
    let question = entry.question
    let (asked, other) = entry.families
    if asked.isEmpty && other.isEmpty {
      return absent(entry, into: &out)
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
        worker.record(outcome, client: question.client)
      } else if good.isEmpty {
        // NXDOMAIN would hide the other family's addresses too.
        if DNSVerdict.screen(other, entry.name, entry.rules, gate).good.isEmpty {
          return refuse(question, outcome, into: &out)
        }
        worker.record(outcome, client: question.client)
      }
    }
    answer(question, good, into: &out)
  }

  /// The end of all look-ups under way: a new policy may refuse their names, or the gate drains.
  func failWaiting() {
    let unanswered = waiting
    waiting = [:]
    waitingCounts = [:]
    for entry in unanswered.values {
      var reply: [UInt8] = []
      fail(entry.question, nil, into: &reply)
      entry.asker.send(reply)
    }
  }

  // MARK: - Source: it waits for the resolver only

  func ready(_ readiness: Readiness, tag: UInt8) {}
  func deadlinePassed() {}
  func resume() {}

  // MARK: - Replies

  private var ttlSeconds: UInt32 { worker.conditions.policy.settings.dns.ttlSeconds }

  private func answer(_ question: Question, _ addresses: [IPAddress], into out: inout [UInt8]) {
    question.query.answer(
      addresses: addresses, ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
  }

  /// NXDOMAIN, with the reason for whoever can read it: a filtered name that says so is no broken network.
  private func refuse(_ question: Question, _ outcome: DNSOutcome, into out: inout [UInt8]) {
    worker.record(outcome, client: question.client)
    var text: [UInt8] = []
    text.append("egress policy: ")
    text += outcome.reason.rawValue.utf8
    question.query.failure(
      .nameError, extendedError: DNSExtendedError(code: DNSExtendedError.filtered, text: text),
      ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
  }

  /// The upstream's own word on a name without an address, passed on: this is no refusal.
  private func absent(_ entry: Waiting, into out: inout [UInt8]) {
    let question = entry.question
    let outcome = DNSOutcome(.failed, .resolveFailed, host: entry.name)
    switch entry.absence {
    case .failure: fail(question, outcome, into: &out)
    case .name:
      worker.record(outcome, client: question.client)
      question.query.failure(.nameError, ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
    case .address: question.query.noData(ttlSeconds: ttlSeconds, into: &out, bytesMax: question.bytesMax)
    }
  }

  private func fail(_ question: Question, _ outcome: DNSOutcome?, into out: inout [UInt8]) {
    if let outcome { worker.record(outcome, client: question.client) }
    question.query.failure(.serverFailure, into: &out, bytesMax: question.bytesMax)
  }
}
