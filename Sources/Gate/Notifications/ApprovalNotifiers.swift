// Receivers of approvals: the webhooks and commands that the policy names are told of requests that need a person.
// It relies on NotificationQueue for retries and limits. A notification holds no path and no query, which may be
// secret, and of the client's own words a harmless part.
import Flow
import Intercept
import Kernel
import Policy
import Synchronization
import Wire

/// Called on the main thread.
final class ApprovalNotifiers {
  private typealias Notifier = Settings.Approvals.Notifier

  private static let commandTimeoutMs: UInt64 = 10_000
  private static let noteCharactersMax = 200

  private let credentials: GateCredentials
  private let gate: String
  /// The command that the caller's desktop is told by.
  private let desktop: [String]?
  private var receivers: [(notifier: Notifier, queue: NotificationQueue)] = []
  /// nil: programs are started as they are needed. Else by these alone, as the gate can start none any more.
  private var helpers: [[String]: CommandHelper]?

  init(_ credentials: GateCredentials, gate: String, desktop: [String]?) {
    (self.credentials, self.gate, self.desktop) = (credentials, gate, desktop)
  }

  private func notifiers(of policy: Policy) -> [Notifier] {
    guard let approvals = policy.settings.approvals else { return [] }
    return approvals.notify + (desktop.map { [.command($0)] } ?? [])
  }

  /// Before the gate gives up starting programs, and before it has threads.
  func keepPrograms(_ policy: Policy) throws(SystemError) {
    let hidden = policy.credentials.flatMap(\.secretVariables)
    var all: [[String]: CommandHelper] = [:]
    for case .command(let words) in notifiers(of: policy) where all[words] == nil {
      all[words] = try CommandHelper(words, hiding: hidden, timeoutMs: Self.commandTimeoutMs)
    }
    helpers = all
  }

  /// At the start, and with each new policy: what waits for a receiver that stays is sent.
  func take(_ policy: Policy) {
    var next: [(notifier: Notifier, queue: NotificationQueue)] = []
    let hidden = policy.credentials.flatMap(\.secretVariables)
    for notifier in notifiers(of: policy) where !next.contains(where: { $0.notifier == notifier }) {
      let queue = receivers.first { $0.notifier == notifier }?.queue ?? queue(notifier, hiding: hidden)
      next.append((notifier, queue))
    }
    receivers = next
  }

  func tell(_ event: ApprovalEvent) {
    guard !receivers.isEmpty else { return }
    let (nowMs, wallMs) = (Clock.monotonicMs(), Clock.wallMs())
    for (_, queue) in receivers {
      queue.add(nowMs: nowMs) { leftOut in
        Notification(
          id: "\(event.entry.id)-\(event.verdict.rawValue)-\(wallMs)",
          body: Self.body(event, gate: gate, wallMs: wallMs, leftOut: leftOut))
      }
    }
  }

  private func queue(_ notifier: Notifier, hiding hidden: [String]) -> NotificationQueue {
    let credentials = credentials
    switch notifier {
    case .webhook(let url, let secretFile):
      let webhook = Webhook(url: url, secretFile: secretFile)
      // An address may hold a token of its receiver.
      let name = HTTPPost(url: url).map { "\($0.target)" } ?? "a webhook"
      return NotificationQueue(
        "approvals: \(name)",
        deliver: { notification in
          webhook.deliver(notification) { target throws(CredentialProblem) in try credentials.addresses(of: target) }
        }, tell: { Messages.warn($0) })
    case .command(let words):
      let helper = helpers.map { $0[words] }
      return NotificationQueue(
        "approvals: \(words[0])",
        deliver: { Self.run(words, $0.body, hiding: hidden, helper) }, tell: { Messages.warn($0) })
    }
  }

  /// `helper`: nil where programs may be started; nil in it where none was kept for these words.
  private static func run(
    _ words: [String], _ body: [UInt8], hiding hidden: [String], _ helper: CommandHelper??
  ) -> Delivery {
    let ended: ChildProcess.Printed
    do throws(SystemError) {
      switch helper {
      case .some(.some(let helper)): ended = try helper.run(input: body)
      case .some(.none):
        return .refused(
          "this gate has confined itself, and starts no program that its policy did not name then; restart it")
      case .none:
        ended = try ChildProcess.output(of: words, hiding: hidden, input: body, timeoutMs: commandTimeoutMs)
      }
    } catch {
      return .failed("cannot be run: \(error)")
    }
    switch ended {
    case .output: return .done
    case .status(let status): return .failed("it ended with status \(status)")
    case .tookTooLong: return .failed("it took longer than \(commandTimeoutMs / 1000) seconds, and was ended")
    }
  }

  // MARK: - What is told

  static func body(_ event: ApprovalEvent, gate: String, wallMs: Int64, leftOut: Int) -> [UInt8] {
    let (entry, key) = (event.entry, event.entry.key)
    var time: [UInt8] = []
    Timestamp.append(unixMilliseconds: wallMs, to: &time)
    var members = [
      JSONMember("v", .number(1)), JSONMember("event", .text("approval")),
      JSONMember("verdict", .text(event.verdict.rawValue)),
      JSONMember("time", .text(String(decoding: time, as: UTF8.self))),
      JSONMember("gate", .text(gate)), JSONMember("id", .text(entry.id)), JSONMember("client", .text(key.client)),
      JSONMember("host", .text("\(key.subject.target.host)")),
      JSONMember("port", .number(Int(clamping: key.subject.target.port))),
      JSONMember("reason", .text(entry.reason.rawValue)), JSONMember("count", .number(entry.count)),
    ]
    if let request = key.subject.request { members.append(JSONMember("method", .text(request.method))) }
    if let sheet = entry.sheet { members.append(JSONMember("found", .list(sheet.found.map { .text($0) }))) }
    if let note = entry.note {
      let harmless = note.unicodeScalars.filter(JSONText.isHarmless).prefix(noteCharactersMax)
      members.append(JSONMember("note", .text(String(String.UnicodeScalarView(harmless)))))
    }
    if let decision = entry.decision, event.verdict == .approved || event.verdict == .refused {
      members.append(JSONMember("by", .text(decision.by)))
      if let word = decision.grant?.text ?? decision.review?.rawValue { members.append(JSONMember("for", .text(word))) }
    }
    if leftOut > 0 { members.append(JSONMember("left_out", .number(leftOut))) }
    var body: [UInt8] = []
    JSONValue.object(members).append(to: &body)
    return body
  }
}
