// The requests of one tunnel: each is counted, put to the judge, and what is to be written of it is collected.
// It relies on Flow.Judge for the verdict.
import Flow
import Policy
import Wire

/// What a refused client hears, and what the log says.
struct RefusedRequest {
  var refusal: Refusal
  var outcome: Outcome
}

enum RequestVerdict {
  /// With the path that goes out in place of the client's spelling.
  case allow(path: [UInt8]?)
  case refuse(RefusedRequest)
  /// Ask again then.
  case pace(untilMs: UInt64)
  /// A person is asked: judge again then, and in each turn before.
  case await(untilMs: UInt64)
}

struct TunnelRequests {
  /// Inspected: inside TLS, many. Plain: the one request that the flow let out already.
  let kind: JudgedRequest.Kind
  let target: Target
  let client: String
  /// All requests are answered with it: the target was refused, or its upstream is not to be trusted.
  var standing: Refusal?
  private(set) var outcomes: [Outcome] = []
  /// Counts the requests of the tunnel.
  private(set) var ordinal: UInt32 = 0
  /// The request that is being judged: with HTTP/2 another one than the last.
  private(set) var judged: UInt32 = 0
  /// The request that was judged last is let out by report mode alone.
  private(set) var wouldRefuse = false

  init(_ kind: JudgedRequest.Kind = .inspected, target: Target, client: String) {
    self.kind = kind
    self.target = target
    self.client = client
  }

  mutating func takeOutcomes() -> [Outcome] {
    defer { outcomes = [] }
    return outcomes
  }

  mutating func beginRequest() {
    ordinal &+= 1
    judged = ordinal
  }

  /// `named` is the authority of the request.
  mutating func judge(
    _ line: RequestLine, named: Target?, pacedSinceMs: UInt64?, ordinal: UInt32,
    _ tick: Tick, _ payment: JudgedRequest.Payment = .due
  ) -> RequestVerdict {
    judged = ordinal
    if let standing { return .refuse(RefusedRequest(refusal: standing, outcome: Outcome(.closed))) }
    var request = JudgedRequest(kind, target: target, rules: .rule(tick.rule), isReportOnly: tick.isReportOnly)
    request.named = named
    request.pacedSinceMs = pacedSinceMs
    request.payment = payment
    request.approval = tick.approvals == nil ? .off : .open
    var judgement = Judge.judge(request, line, tick.moment)
    if case .ask(let subject, let finding) = judgement.verdict, let desk = tick.approvals {
      let answer = desk.ask(subject, finding.reason, ordinal: ordinal)
      if case .waiting(_, let untilMs) = answer { return .await(untilMs: untilMs) }
      request.approval = .answered(answer)
      judgement = Judge.judge(request, line, tick.moment)
    }
    // A request that was let out before has its line already.
    if payment == .due {
      wouldRefuse = judgement.note != nil
      if let note = judgement.note {
        var outcome = Outcome(noting: note.reason, line: note.line)
        outcome.request = LoggedRequest(line, status: nil)
        append(outcome)
      }
    }
    switch judgement.verdict {
    case .allow(_, let path): return .allow(path: path)
    case .pace(_, let untilMs): return .pace(untilMs: untilMs)
    case .ask(_, let finding): return .refuse(record(finding, tick, line))
    case .refuse(let finding): return .refuse(record(finding, tick, line))
    }
  }

  /// `ordinal`: of a request that was begun before others. `line`: nil where its head could not be read.
  mutating func refuse(
    _ reason: Reason, _ tick: Tick, line: RequestLine? = nil, ordinal: UInt32? = nil, detail: String? = nil,
    isHeadTooLarge: Bool = false
  ) -> RequestVerdict {
    judged = ordinal ?? self.ordinal
    var finding = Finding(reason, detail: detail)
    finding.isHeadTooLarge = isHeadTooLarge
    return .refuse(record(finding, tick, line))
  }

  /// The upstream's answer is none, or none came.
  mutating func noAnswer(
    _ tick: Tick, line: RequestLine? = nil, ordinal: UInt32? = nil, detail: String? = nil
  ) -> RequestVerdict {
    refuse(
      .connectFailed, tick, line: line, ordinal: ordinal,
      detail: detail ?? "It sent no HTTP answer that the gate can pass on")
  }

  mutating func malformedHead(_ tick: Tick, line: RequestLine, ordinal: UInt32? = nil) -> RequestVerdict {
    refuse(.badRequest, tick, line: line, ordinal: ordinal, detail: "A field that the gate would add is malformed")
  }

  /// A policy came since a request went out: what it says counts at once. A full disk or a drain refuses what is new,
  /// not what stands. The refusal; nil where it stands.
  mutating func recheck(_ line: RequestLine, ordinal: UInt32, _ tick: Tick) -> RequestVerdict? {
    guard standing == nil else { return nil }
    var calm = tick
    (calm.moment.isDraining, calm.moment.isLogUnwritable) = (false, false)
    let verdict = judge(line, named: target, pacedSinceMs: nil, ordinal: ordinal, calm, .paid)
    guard case .refuse = verdict, let last = outcomes.indices.last else { return nil }
    outcomes[last].event = .revoked
    // The client may have had a part of the upstream's answer.
    outcomes[last].request = LoggedRequest(line, status: nil)
    return verdict
  }

  private mutating func record(_ finding: Finding, _ tick: Tick, _ line: RequestLine?) -> RefusedRequest {
    var refusal = Refusal(finding.reason, target: target, client: client)
    refusal.detail = finding.detail
    refusal.hasRule = tick.rule != nil
    refusal.isToAPI = true
    refusal.retryAfterSeconds = finding.retryAfterSeconds
    refusal.isHeadTooLarge = finding.isHeadTooLarge
    refusal.requestID = finding.approvalID
    var outcome = Outcome(finding.reason.logEvent, finding.reason, line: finding.line ?? tick.rule?.line)
    outcome.bucket = finding.bucket
    outcome.explain(finding.detail)
    outcome.request = line.map { LoggedRequest($0, status: refusal.status) }
    append(outcome)
    return RefusedRequest(refusal: refusal, outcome: outcome)
  }

  private mutating func append(_ outcome: Outcome) {
    var outcome = outcome
    outcome.ordinal = judged
    outcomes.append(outcome)
  }
}

extension ApprovalDesk {
  /// A request that waited has its verdict, and leaves the list.
  func settle(_ verdict: RequestVerdict, ordinal: UInt32) {
    if case .await = verdict { return }
    withdraw(ordinal: ordinal)
  }
}

extension Tick {
  func filter(for rule: AllowRule, _ requests: TunnelRequests) -> (any RequestFilter)? {
    filters?.filter(
      for: rule,
      FilteredRequest(
        target: requests.target, client: requests.client, ordinal: requests.judged,
        wouldRefuse: requests.wouldRefuse || wouldRefuseTunnel, isReportOnly: isReportOnly))
  }
}

extension Span<UInt8> {
  /// True if these are the bytes of a literal, as they stand.
  func isText(_ literal: StaticString) -> Bool {
    count == literal.utf8CodeUnitCount && equals(literal, at: 0..<count)
  }
}
