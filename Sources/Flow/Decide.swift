// Step "decide": identifies the client, checks the rules and takes a token. No name is resolved before a rule allows
// the request. It relies on Policy for the verdict and the buckets; a refusal costs no token.
import Policy
import Wire

extension Flow {
  mutating func identify(_ conditions: borrowing Conditions) -> Action {
    // Only a proxy client can be asked for a password. Other clients get the rules for unidentified clients.
    guard needsCredentials, opening == .proxy else { return decide(conditions) }
    guard let buffers, let credentials = buffers.credentials(),
      let client = conditions.policy.client(source: source, user: credentials.user)
    else { return refuseCredentials(conditions) }
    self.client = client
    state = .authenticating
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.headMs
    return .authenticate
  }

  /// The password for `Action.authenticate`, which the Gate verifies off the loop.
  package var presentedPassword: [UInt8] { buffers?.credentials()?.password ?? [] }

  mutating func authenticated(_ isRight: Bool, _ conditions: borrowing Conditions) -> Action {
    guard isRight else {
      client = conditions.policy.fallback
      return refuseCredentials(conditions)
    }
    return buffers?.socks == nil ? decide(conditions) : acceptSOCKSUser(conditions)
  }

  mutating func refuseCredentials(_ conditions: borrowing Conditions) -> Action {
    refuse(.notAuthenticated, conditions)
  }

  mutating func decide(_ conditions: borrowing Conditions) -> Action {
    guard let target else { return .wait }
    if target.host.isGate { return askGate(conditions) }
    if via == .http { buffers?.keepRequestLine() }
    let judgement = judge(
      target, .due, .policy(client.network), conditions.moment, conditions.policy.placeholders,
      approval: approvalStanding(of: target, conditions))
    heldConcurrency = judgement.slot
    if let finding = judgement.note { note(finding, via == .http && finding.isOfInspectedRule ? requestLine : nil) }
    switch judgement.verdict {
    case .allow(let rule, let path):
      self.rule = rule
      buffers?.judgedPath = path
      buffers?.approvedBy = judgement.approvedBy
      return dial(conditions)
    case .pace(let rule, let untilMs):
      self.rule = rule
      state = .pacing(sinceMs: pacedSinceMs ?? conditions.nowMs)
      deadlineMs = untilMs
      return .wait
    case .ask(let subject, let finding): return ask(subject, finding, conditions)
    case .refuse(let finding): return refuse(finding, conditions)
    }
  }

  /// Judges this flow's request.
  func judge(
    _ target: Target, _ payment: JudgedRequest.Payment, _ rules: JudgedRequest.Rules, _ moment: Moment,
    _ placeholders: Placeholders? = nil, approval: ApprovalStanding = .off
  ) -> Judgement {
    var request = JudgedRequest(
      via == .http ? .plain : .tunnel, target: target, rules: rules, isReportOnly: isReportOnly)
    request.payment = payment
    request.pacedSinceMs = pacedSinceMs
    request.approval = approval
    request.offersECH = via == .tls && buffers?.offersECH == true
    guard via == .http else { return Judge.judge(request, RequestLine(), moment) }
    request.carriesPlaceholder = placeholders.map { buffers?.carries($0) == true } ?? false
    return Judge.judge(request, requestLine, moment)
  }

  /// The request line of a plain request, kept even when its head is gone.
  var requestLine: RequestLine {
    if case .relaying(let tunnel) = state, case .upgraded(let line) = tunnel.content { return line }
    return buffers?.requestLine ?? RequestLine()
  }

  private var pacedSinceMs: UInt64? {
    if case .pacing(let sinceMs) = state { sinceMs } else { nil }
  }

  /// Called before the first byte goes to the upstream: a request that waited is checked against the current time,
  /// log and drain. A newer policy was applied when it arrived. Nil if the request may go out.
  mutating func refuseIfTooLate(_ conditions: borrowing Conditions) -> Action? {
    guard let target, case .refuse(let finding) = judge(target, .paid, .rule(rule), conditions.moment).verdict else {
      return nil
    }
    return refuse(finding, conditions)
  }

  // MARK: - The refusal

  mutating func refuse(
    _ reason: Reason, _ conditions: borrowing Conditions, line: SourceLine? = nil, address: IPAddress? = nil,
    detail: String? = nil, isClientSlow: Bool = false, isHeadTooLarge: Bool = false
  ) -> Action {
    var finding = Finding(reason, line: line, detail: detail)
    finding.isHeadTooLarge = isHeadTooLarge
    return refuse(finding, conditions, address: address, isClientSlow: isClientSlow)
  }

  mutating func refuse(
    _ finding: Finding, _ conditions: borrowing Conditions, address: IPAddress? = nil,
    isClientSlow: Bool = false
  ) -> Action {
    let reason = finding.reason
    // No target was named, so the log gets the connection's original destination.
    if target == nil, case .redirected(let address, let port, let name) = opening {
      via = .address
      target = Target(host: name.map(Host.name) ?? .address(address), port: port)
    }
    var outcome = Outcome(reason.logEvent, reason, line: finding.line, address: address)
    outcome.bucket = finding.bucket
    outcome.explain(finding.detail)
    if isClientSlow { outcome.event = .denied }
    let mayGoOn = mayServeNext(after: reason)
    // Close attempts that are under way; an idle upstream of the last request may serve the next one.
    let keepUpstream = !state.isDialling
    var unsaid: Refusal?
    if let buffers, !state.hasAnsweredConnect {
      var refusal = Refusal(reason, target: target, client: client.name)
      refusal.detail = finding.detail
      refusal.retryAfterSeconds = finding.retryAfterSeconds
      refusal.isClientSlow = isClientSlow
      refusal.isHeadTooLarge = finding.isHeadTooLarge
      refusal.requestID = finding.approvalID
      refusal.closes = !mayGoOn
      refusal.isToAPI = finding.isOfInspectedRule && via == .http
      if via == .http { refusal.form = buffers.refusalForm }
      refusal.isToHEAD = via == .http && target != nil && buffers.request.isHEAD
      if refusal.isToAPI { outcome.request = LoggedRequest(requestLine, status: refusal.status) }
      if mayExplain(refusal, conditions) {
        end(outcome)
        return explainInTunnel(refusal, conditions)
      }
      if !say(refusal) { unsaid = refusal }
    }
    let ending = refusedEnding
    end(outcome)
    if let unsaid { return awaitLanguage(for: unsaid, conditions) }
    if !mayGoOn { return .close(ending) }
    return awaitNextRequest(keepUpstream: keepUpstream, conditions)
  }

  /// A refused CONNECT ends its connection. So does a request with a body, since the body would have to be read.
  private func mayServeNext(after reason: Reason) -> Bool {
    guard let buffers, via == .http, target != nil, !state.isExchanging else { return false }
    guard case .none = buffers.request.body, buffers.request.keepAlive else { return false }
    return reason.row.keepsConnection
  }

  mutating func awaitNextRequest(keepUpstream: Bool, _ conditions: borrowing Conditions) -> Action {
    guard let buffers else { return .close(.graceful) }
    buffers.dropHead()
    buffers.beginNextRequest()
    ordinal &+= 1
    state = .readingHead
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.keepAliveMs
    return .nextRequest(keepUpstream: keepUpstream)
  }
}
