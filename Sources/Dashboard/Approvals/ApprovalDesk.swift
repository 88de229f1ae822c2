// The page of approvals: sessions, the list as the gate has it, and decisions on their way to the gate.
// It relies on a closure that asks the gate and may block: each question has a thread of its own, a few at once.
import HTTPService
package import Kernel
package import Wire

package struct GateAnswer: Sendable {
  package var lines: [JSONValue] = []
  package var members: JSONValue?
  /// Why the gate could not be asked, or would not do it.
  package var problem: String?

  package init() {}
}

package final class ApprovalDesk {
  package typealias Ask = @Sendable (JSONValue) -> GateAnswer

  private struct Answered: Sendable {
    let number: Int
    let answer: GateAnswer
  }

  private static let questionsMax = 8
  /// Pages that ask for the list at the same time have one answer.
  private static let freshMs: UInt64 = 500

  private let ask: Ask
  private let trusted: [HostName]
  private let say: (String) -> Void
  private let url: String
  private let mailbox: Mailbox<Answered>
  private var sessions = ApprovalSessions()
  private var number = 0
  private var waiting: [Int: [HTTPConnection]] = [:]
  private var listNumber: Int?
  private var latest: (body: [UInt8], atMs: UInt64)?

  /// `say` prints the address that opens the next session.
  package init(
    url: String, trusted: [HostName], ask: @escaping Ask, say: @escaping (String) -> Void
  ) throws(SystemError) {
    (self.url, self.trusted, self.ask, self.say) = (url, trusted, ask, say)
    mailbox = try Mailbox()
  }

  var fd: CInt { mailbox.fd }

  package func announce() { say("approvals are decided at \(url)approvals?token=\(sessions.token)") }

  /// False: the request is for another page.
  func answers(_ connection: HTTPConnection, _ head: RequestHead, _ bytes: Span<UInt8>) -> Bool {
    let nowMs = Clock.monotonicMs()
    guard let request = ApprovalRequest(head, bytes, isOpen: { sessions.isOpen($0, nowMs: nowMs) }) else {
      return false
    }
    switch request {
    case .problem(let status, let text): connection.reply(PageReply.problem(status, text, isHEAD: false))
    case .wrongMethod(let allowed):
      connection.reply(PageReply.problem(405, "this is for \(allowed)", isHEAD: false, allowed: allowed))
    case .open(let token): connection.reply(open(token, nowMs))
    case .list: list(connection, nowMs)
    case .approve(let id, let grant):
      decide(connection, "approve", [JSONMember("id", .text(id)), JSONMember("for", .text(grant))])
    case .release(let id):
      decide(connection, "review", [JSONMember("id", .text(id)), JSONMember("decision", .text("release"))])
    case .refuse(let id, let isAlways):
      let always = isAlways ? [JSONMember("always", .bool(true))] : []
      decide(connection, "refuse", [JSONMember("id", .text(id))] + always)
    }
    return true
  }

  private func open(_ token: String, _ nowMs: UInt64) -> [UInt8] {
    guard let secret = sessions.open(with: token, nowMs: nowMs) else {
      return PageReply.problem(
        403, "this address has opened its session; the terminal shows the next one", isHEAD: false)
    }
    // An address that is read in a history or over a shoulder cannot be used again.
    say(
      "a browser may decide now, for \(ApprovalSessions.sessionMs / 3_600_000) hours; for another one: "
        + "\(url)approvals?token=\(sessions.token)")
    let age = ApprovalSessions.sessionMs / 1000
    return PageReply.redirect(
      to: ApprovalRequest.path,
      cookie:
        "\(ApprovalSessions.cookie)=\(secret); Path=\(ApprovalRequest.path); Max-Age=\(age); HttpOnly; SameSite=Strict")
  }

  // MARK: - Questions to the gate

  private func list(_ connection: HTTPConnection, _ nowMs: UInt64) {
    if let latest, nowMs - latest.atMs < Self.freshMs { return reply(connection, latest.body) }
    if let listNumber { return waiting[listNumber, default: []].append(connection) }
    listNumber = question(
      connection,
      .object([JSONMember("command", .text("approvals")), JSONMember("limit", .number(ApprovalWords.shownMax))]))
  }

  private func decide(_ connection: HTTPConnection, _ command: String, _ members: [JSONMember]) {
    latest = nil
    _ = question(connection, .object([JSONMember("command", .text(command))] + members))
  }

  /// The number of the question; nil where too many are under way.
  private func question(_ connection: HTTPConnection, _ request: JSONValue) -> Int? {
    number &+= 1
    let (ask, mailbox, number) = (ask, mailbox, number)
    guard waiting.count < Self.questionsMax else {
      connection.reply(PageReply.problem(503, "the gate is being asked already", isHEAD: false))
      return nil
    }
    do throws(SystemError) {
      try Threads.start(name: "ask-gate") { mailbox.post(Answered(number: number, answer: ask(request))) }
    } catch {
      connection.reply(PageReply.problem(503, "the gate cannot be asked: \(error)", isHEAD: false))
      return nil
    }
    waiting[number] = [connection]
    return number
  }

  func mailArrived() {
    for answered in mailbox.drain() {
      let connections = waiting.removeValue(forKey: answered.number) ?? []
      let body: [UInt8]
      if answered.number == listNumber {
        listNumber = nil
        body = Self.list(answered.answer, trusted)
        latest = (body, Clock.monotonicMs())
      } else {
        body = Self.decision(answered.answer)
      }
      for connection in connections { reply(connection, body) }
    }
  }

  /// A connection that is gone hears nothing.
  func ended(_ connection: HTTPConnection) {
    for (number, connections) in waiting { waiting[number] = connections.filter { $0 !== connection } }
  }

  private func reply(_ connection: HTTPConnection, _ body: [UInt8]) {
    connection.reply(PageReply.whole(200, type: "application/json", body, isHEAD: false))
  }

  private static func list(_ answer: GateAnswer, _ trusted: [HostName]) -> [UInt8] {
    var members = [JSONMember("entries", .list(ApprovalWords.entries(answer.lines, trusted: trusted)))]
    if let problem = answer.problem { members.append(JSONMember("problem", .text(problem))) }
    for name in ["enabled", "more", "wait_ms"] {
      if let value = answer.members?[name] { members.append(JSONMember(name, value)) }
    }
    return JSONValue.object(members).line
  }

  private static func decision(_ answer: GateAnswer) -> [UInt8] {
    let problem = answer.problem.map { [JSONMember("problem", .text($0))] } ?? []
    return JSONValue.object([JSONMember("ok", .bool(answer.problem == nil))] + problem).line
  }
}
