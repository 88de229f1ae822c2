// The judge: decides if a request may go out. A tunnel, a plain HTTP request, a request inside an inspected tunnel
// and a stream of HTTP/2 are all judged here, and nowhere else. It relies on Policy for rules and buckets, and holds
// no state.
package import Policy
package import Wire

/// The surroundings that the judge may use.
package struct Moment: Sendable {
  package var nowMs: UInt64
  package var nowNs: UInt64
  package var unixSeconds: Int64
  package var isDraining: Bool
  package var isLogUnwritable: Bool

  package init(
    nowMs: UInt64, nowNs: UInt64, unixSeconds: Int64, isDraining: Bool = false, isLogUnwritable: Bool = false
  ) {
    (self.nowMs, self.nowNs, self.unixSeconds) = (nowMs, nowNs, unixSeconds)
    (self.isDraining, self.isLogUnwritable) = (isDraining, isLogUnwritable)
  }
}

/// One request as the judge sees it, without its method and path.
package struct JudgedRequest {
  package enum Kind: Sendable {
    /// A CONNECT, a SOCKS request or a redirected connection; its content is not visible here.
    case tunnel
    /// A plain HTTP request, sent without TLS.
    case plain
    /// A request inside an inspected tunnel. The tunnel holds the slot of `concurrent`.
    case inspected
  }

  package enum Rules {
    case policy(NetworkPolicy)
    /// The rule that allowed the tunnel or the request. Nil if a reload removed it.
    case rule(AllowRule?)

    /// The stand-in rule by which report mode lets unmatched requests out.
    var inReportMode: AllowRule? {
      switch self {
      case .policy(let network): network.reportRule
      case .rule(let rule): rule
      }
    }
  }

  package enum Payment: Sendable {
    /// A token and a slot are to be taken.
    case due
    /// The request was allowed before, and is only checked for changes since then.
    case paid
  }

  package let kind: Kind
  package let target: Target
  package let rules: Rules
  package let isReportOnly: Bool
  package var payment = Payment.due
  /// The authority that a request inside a tunnel names. Nil if it names none, or two.
  package var named: Target?
  /// A redirected ClientHello offers Encrypted ClientHello.
  package var offersECH = false
  /// The head of a plain request holds the placeholder of a credential.
  package var carriesPlaceholder = false
  /// When the request first found no token.
  package var pacedSinceMs: UInt64?
  /// The state of the request's approval.
  package var approval = ApprovalStanding.off

  package init(_ kind: Kind, target: Target, rules: Rules, isReportOnly: Bool) {
    (self.kind, self.target, self.rules, self.isReportOnly) = (kind, target, rules, isReportOnly)
  }
}

package enum ApprovalStanding: Sendable {
  /// No person is asked.
  case off
  case open
  case answered(ApprovalAnswer)
}

/// A refusal, or in report mode what enforce mode would have refused.
package struct Finding: Sendable {
  package var reason: Reason
  package var line: SourceLine?
  package var detail: String?
  package var retryAfterSeconds: UInt64?
  /// The bucket's level, if no token was left.
  package var bucket: BucketLevel?
  /// The matched rule inspects, so the client can read HTTP answers inside its tunnel.
  package var isOfInspectedRule = false
  /// The head exceeds its limit, which has a status of its own (RFC 6585 section 5).
  package var isHeadTooLarge = false
  /// The approval entry of the request.
  package var approvalID: String?

  package init(_ reason: Reason, line: SourceLine? = nil, detail: String? = nil, retryAfterSeconds: UInt64? = nil) {
    (self.reason, self.line, self.detail) = (reason, line, detail)
    // Suggest a retry: a gate that restarts, or whose log recovers, may allow the next try.
    self.retryAfterSeconds = retryAfterSeconds ?? (reason == .shutdown || reason == .logUnwritable ? 1 : nil)
  }
}

package struct Judgement {
  package enum Verdict {
    /// `path` is sent in place of the client's spelling; nil: as received.
    case allow(AllowRule, path: [UInt8]?)
    /// No token is left, and the rule says to wait: judge again at that time.
    case pace(AllowRule, untilMs: UInt64)
    /// No rule matches: ask for an approval, and judge again at its answer.
    case ask(ApprovalSubject, Finding)
    case refuse(Finding)
  }

  package fileprivate(set) var verdict: Verdict
  /// The slot of `concurrent` that was taken. Its holder releases it exactly once.
  package fileprivate(set) var slot: ConcurrencyLimit?
  /// The first thing that enforce mode would have refused.
  package fileprivate(set) var note: Finding?
  /// The approval that allows what the rule itself would refuse.
  package fileprivate(set) var approvedBy: SourceLine?
}

/// The order of the checks: authority against target, drain, log, rule and its end, what the connection opened with,
/// method and path, placeholders, `concurrent`, token. A refusal costs no token, so the token comes last.
package enum Judge {
  /// Limit of the total pacing time. No client waits longer, and a client that has gone would hold its place while
  /// others take the tokens.
  package static let paceMsMax: UInt64 = 60_000
  /// A shared bucket that cannot be reached is given up after this time.
  private static let fetchMsMax: UInt64 = 1_000

  /// `line` is empty for a tunnel.
  package static func judge(_ request: JudgedRequest, _ line: RequestLine, _ moment: Moment) -> Judgement {
    var judgement = decide(request, line, moment)
    if case .refuse(let finding) = judgement.verdict { judgement.verdict = askOrRefuse(finding, request, line) }
    return judgement
  }

  private static func decide(_ request: JudgedRequest, _ line: RequestLine, _ moment: Moment) -> Judgement {
    // A request for another authority is not let out in report mode either: it would go to the wrong upstream.
    if request.kind == .inspected, request.named != request.target {
      return refusal(Finding(.authorityMismatch))
    }
    if moment.isDraining { return refusal(Finding(.shutdown)) }
    if moment.isLogUnwritable { return refusal(Finding(.logUnwritable)) }
    var note: Finding?
    let rule: AllowRule
    switch find(request, moment) {
    case .allow(let found): rule = found
    case .refuse(let reason, let line):
      guard request.isReportOnly, let substitute = request.rules.inReportMode else {
        return refusal(Finding(reason, line: line))
      }
      note = Finding(reason, line: line)
      rule = substitute
    }
    var spelling: [UInt8]?
    var approved: ApprovedRequest?
    if let finding = look(into: request, rule, line, &spelling) {
      approved = approval(of: finding, request, rule, line, moment, &spelling)
      guard approved != nil || request.isReportOnly else { return refusal(finding, of: rule) }
      if approved == nil, note == nil {
        note = finding
        note?.isOfInspectedRule = rule.isInspected
      }
    }
    // Also in report mode: the placeholder stands for a credential, and a credential leaves over verified TLS only.
    if request.kind == .plain, request.carriesPlaceholder {
      return refusal(Finding(.secretRefused, line: rule.line, detail: placeholderDetail), of: rule)
    }
    return pay(request, rule, spelling, note, approved, moment)
  }

  /// Asks for an approval if no rule matches, or refuses.
  private static func askOrRefuse(
    _ finding: Finding, _ request: JudgedRequest, _ line: RequestLine
  ) -> Judgement.Verdict {
    if case .off = request.approval { return .refuse(finding) }
    guard !request.isReportOnly, request.payment == .due, let subject = ApprovalSubject(of: finding, request, line)
    else { return .refuse(finding) }
    var refused = finding
    switch request.approval {
    case .off: break
    case .open, .answered(.waiting): return .ask(subject, finding)
    case .answered(.recorded(let id)): refused.approvalID = id
    case .answered(.notApproved(let id)):
      refused = Finding(.notApproved, line: finding.line)
      refused.approvalID = id
    case .answered(.full):
      refused.detail = finding.detail ?? "No approval was asked for: too many requests wait for one"
    }
    return .refuse(refused)
  }

  /// The approval that is needed in addition to the matched rule.
  private static func approval(
    of finding: Finding, _ request: JudgedRequest, _ rule: AllowRule, _ line: RequestLine, _ moment: Moment,
    _ spelling: inout [UInt8]?
  ) -> ApprovedRequest? {
    guard finding.reason == .methodRefused || finding.reason == .pathRefused else { return nil }
    return line.read { method, path in
      guard
        let (approved, judged) = rule.approval(
          method: method, target: path, overrides: line.overrides, of: request.target, nowUnix: moment.unixSeconds,
          isPaid: request.payment == .paid)
      else { return nil }
      if let judged { spelling = judged.bytes + path.array(from: judged.queryStart) }
      return approved
    }
  }

  private static func refusal(_ finding: Finding, of rule: AllowRule? = nil) -> Judgement {
    var finding = finding
    finding.isOfInspectedRule = rule?.isInspected == true
    return Judgement(verdict: .refuse(finding))
  }

  private static func find(_ request: JudgedRequest, _ moment: Moment) -> Verdict {
    switch request.rules {
    case .policy(let network): return network.judge(request.target, nowUnix: moment.unixSeconds)
    case .rule(let rule?):
      return rule.isExpired(nowUnix: moment.unixSeconds) ? .refuse(.expired, rule.line) : .allow(rule)
    case .rule(nil): return .refuse(.notAllowed, nil)
    }
  }

  /// Checks the request itself against the rule.
  private static func look(
    into request: JudgedRequest, _ rule: AllowRule, _ line: RequestLine, _ spelling: inout [UInt8]?
  ) -> Finding? {
    if request.offersECH && !rule.allowsECH { return Finding(.echRefused, line: rule.line) }
    if request.kind == .plain, rule.wireProtocol(port: request.target.port) == .tls {
      return Finding(.notTLS, line: rule.line, detail: "It came as plain HTTP; ask for https://")
    }
    guard request.kind != .tunnel, let inspection = rule.inspection else { return nil }
    return line.read { method, path in
      switch inspection.judge(method: method, target: path, overrides: line.overrides) {
      case .allow(let judged):
        if let judged { spelling = judged.bytes + path.array(from: judged.queryStart) }
        return nil
      case .refuse(let reason, let detail): return Finding(reason, line: rule.line, detail: detail)
      }
    }
  }

  /// Takes the slot of `concurrent` first, so that a refusal for lack of a slot costs no token.
  private static func pay(
    _ request: JudgedRequest, _ rule: AllowRule, _ path: [UInt8]?, _ note: Finding?, _ approved: ApprovedRequest?,
    _ moment: Moment
  ) -> Judgement {
    var judgement = Judgement(verdict: .allow(rule, path: path), note: note, approvedBy: approved?.line)
    guard request.payment == .due else { return judgement }
    // Where requests are not visible, an approval for one request counts for one tunnel.
    let uses = approved?.approval.uses ?? (request.kind == .inspected ? nil : rule.approval?.uses)
    if let uses, !uses.take() { return refusal(Finding(.notAllowed)) }
    judgement = payLimits(request, rule, judgement, moment)
    if let uses {
      if case .allow = judgement.verdict { return judgement }
      uses.give()
    }
    return judgement
  }

  private static func payLimits(
    _ request: JudgedRequest, _ rule: AllowRule, _ allowed: Judgement, _ moment: Moment
  ) -> Judgement {
    var judgement = allowed
    if request.kind != .inspected, let concurrent = rule.concurrent {
      switch concurrent.enter(nowNs: moment.nowNs) {
      case .entered: judgement.slot = concurrent
      case .full where request.isReportOnly: judgement.note = judgement.note ?? Finding(.tooMany, line: rule.line)
      case .fetching where request.isReportOnly: break
      case .full: return refusal(Finding(.tooMany, line: rule.line, retryAfterSeconds: 1), of: rule)
      case .fetching: return fetch(request, rule, moment, judgement, or: .tooMany)
      }
    }
    // Inside an inspected tunnel each request takes a token, and so the tunnel itself takes none.
    guard !(request.kind == .tunnel && rule.isInspected), let bucket = rule.requests else { return judgement }
    switch bucket.take(nowNs: moment.nowNs) {
    case .taken: break
    case .fetching where request.isReportOnly: break
    case .empty where request.isReportOnly: judgement.note = judgement.note ?? Finding(.rateLimited, line: rule.line)
    case .fetching: return fetch(request, rule, moment, judgement, or: .rateLimited)
    case .empty(let retryAfterNs): return starve(request, rule, bucket, retryAfterNs, moment, judgement)
    }
    return judgement
  }

  /// The store of shared limits is being asked for a token or a slot: the request waits like a paced one.
  private static func fetch(
    _ request: JudgedRequest, _ rule: AllowRule, _ moment: Moment, _ begun: Judgement, or reason: Reason
  ) -> Judgement {
    begun.slot?.leave()
    let waitMsMax = rule.onLimit == .pace ? paceMsMax : fetchMsMax
    guard moment.nowMs < (request.pacedSinceMs ?? moment.nowMs) + waitMsMax else {
      return refusal(Finding(reason, line: rule.line, detail: fetchDetail, retryAfterSeconds: 1), of: rule)
    }
    return Judgement(verdict: .pace(rule, untilMs: moment.nowMs + 1), note: begun.note)
  }

  /// Handles an empty bucket: pace or refuse.
  private static func starve(
    _ request: JudgedRequest, _ rule: AllowRule, _ bucket: RequestBucket, _ retryAfterNs: UInt64, _ moment: Moment,
    _ begun: Judgement
  ) -> Judgement {
    var judgement = begun
    judgement.slot?.leave()
    judgement.slot = nil
    let retryAfterMs = retryAfterNs / 1_000_000
    // Round up: a millisecond too early would find no token.
    let waitMs = retryAfterMs + 1
    if rule.onLimit == .pace, moment.nowMs + retryAfterMs <= (request.pacedSinceMs ?? moment.nowMs) + paceMsMax {
      judgement.verdict = .pace(rule, untilMs: moment.nowMs + waitMs)
      return judgement
    }
    var finding = Finding(.rateLimited, line: rule.line, retryAfterSeconds: (waitMs + 999) / 1000)
    let level = bucket.level(nowNs: moment.nowNs)
    finding.bucket = BucketLevel(tokens: level.tokens, capacity: level.capacity, perMinute: level.perMinute)
    return refusal(finding, of: rule)
  }

  private static let fetchDetail = "The gates of this group share the limit, and their store did not answer in time"

  private static let placeholderDetail =
    "It carries the placeholder of a credential, and credentials leave over verified TLS alone; ask by https"
}

extension Span<UInt8> {
  /// The bytes from `start` on; empty if `start` is behind the end.
  package func array(from start: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(extracting(droppingFirst: Swift.min(start, count)))
    return bytes
  }
}
