// Step "decide": who asks, may it, and is there a token left. Nothing is resolved before this says yes.
// It relies on Policy for the verdict and the buckets; a refusal costs no token.
import Policy
import Wire

extension Flow {
  /// A request that would be paced for longer than this in all is refused: no client waits for it, and one that has
  /// gone would keep its place for as long as others take the tokens.
  static var paceMsMax: UInt64 { 60_000 }

  mutating func identify(_ conditions: borrowing Conditions) -> Action {
    // Only a proxy can ask for a password: others have the rules of who is no client.
    guard needsCredentials, opening == .proxy else { return decide(conditions) }
    guard let buffers, let credentials = buffers.credentials(),
      let client = conditions.policy.client(source: source, user: credentials.user)
    else { return refuseCredentials(conditions) }
    self.client = client
    state = .authenticating
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.headMs
    return .authenticate
  }

  /// What the Gate verifies, off the loop, for `Action.authenticate`.
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
    if conditions.isDraining { return refuse(.shutdown, conditions) }
    if conditions.isLogUnwritable { return refuse(.logUnwritable, conditions) }
    switch client.network.judge(target, nowUnix: conditions.unixSeconds) {
    case .allow(let rule): self.rule = rule
    case .refuse(let reason, let line):
      guard isReportOnly else { return refuse(reason, conditions, line: line) }
      note(reason, line: line)
      rule = client.network.reportRule
    }
    if let reason = openingProblem {
      guard isReportOnly else { return refuse(reason, conditions, detail: Self.detail(ofOpening: reason)) }
      note(reason)
    }
    if via == .http, let inspection = rule?.inspection, let (reason, detail) = buffers?.judge(inspection) {
      guard isReportOnly else { return refuse(reason, conditions, line: rule?.line, detail: detail) }
      note(reason, line: rule?.line)
    }
    // Also in report mode: it stands for a credential, which goes out over verified TLS alone.
    if via == .http, buffers?.carries(conditions.policy.placeholders) == true {
      return refuse(
        .secretRefused, conditions, line: rule?.line,
        detail:
          "It carries the placeholder of a credential, and credentials leave over verified TLS alone; ask by https")
    }
    return takeToken(conditions)
  }

  /// Inside an inspected tunnel each request takes one, and so the tunnel itself takes none.
  private var takesToken: Bool { via == .http || rule?.isInspected != true }

  /// The slot of `concurrent` is taken first, so that a refusal for its sake costs no token.
  mutating func takeToken(_ conditions: borrowing Conditions) -> Action {
    guard let rule else { return .wait }
    if let concurrent = rule.concurrent {
      if concurrent.enter() {
        heldConcurrency = concurrent
      } else if isReportOnly {
        note(.tooMany)
      } else {
        return refuse(.tooMany, conditions, retryAfterSeconds: 1)
      }
    }
    guard let bucket = rule.requests, takesToken, case .empty(let retryAfterNs) = bucket.take(nowNs: conditions.nowNs)
    else {
      return dial(conditions)
    }
    if isReportOnly {
      note(.rateLimited)
      return dial(conditions)
    }
    let waitMs = retryAfterNs / 1_000_000 + 1
    let sinceMs = buffers?.pacedSinceMs ?? conditions.nowMs
    if rule.onLimit == .pace && conditions.nowMs + retryAfterNs / 1_000_000 <= sinceMs + Self.paceMsMax {
      buffers?.pacedSinceMs = sinceMs
      heldConcurrency?.leave()
      heldConcurrency = nil
      state = .pacing
      deadlineMs = conditions.nowMs + waitMs
      return .wait
    }
    return refuse(.rateLimited, conditions, retryAfterSeconds: (waitMs + 999) / 1000)
  }

  /// What a connection opened with, held to the rule that its target led to. A plain request on the proxy port is no TLS
  /// either.
  var openingProblem: Reason? {
    guard let rule, let target, let buffers else { return nil }
    if via == .tls && buffers.offersECH && !rule.allowsECH { return .echRefused }
    if via == .http && rule.wireProtocol(port: target.port) == .tls { return .notTLS }
    return nil
  }

  private static func detail(ofOpening reason: Reason) -> String? {
    reason == .notTLS ? "It came as plain HTTP; ask for https://" : nil
  }

  // MARK: - The refusal

  mutating func refuse(
    _ reason: Reason, _ conditions: borrowing Conditions, line: SourceLine? = nil, address: IPAddress? = nil,
    detail: String? = nil, retryAfterSeconds: UInt64? = nil, isClientSlow: Bool = false, isHeadTooLarge: Bool = false
  ) -> Action {
    // Nothing named a target: the log says where the connection went.
    if target == nil, case .redirected(let address, let port, let name) = opening {
      via = .address
      target = Target(host: name.map(Host.name) ?? .address(address), port: port)
    }
    var outcome = Outcome(reason.logEvent, reason, line: line, address: address)
    outcome.explain(detail)
    if reason == .rateLimited, let bucket = rule?.requests {
      let level = bucket.level(nowNs: conditions.nowNs)
      outcome.bucket = BucketLevel(tokens: level.tokens, capacity: level.capacity, perMinute: level.perMinute)
    }
    if isClientSlow { outcome.event = .denied }
    let mayGoOn = mayServeNext(after: reason)
    var mustWait = false
    if let buffers, !hasAnsweredConnect {
      var refusal = Refusal(reason, target: target, client: client.name)
      refusal.detail = detail
      refusal.retryAfterSeconds = retryAfterSeconds ?? (reason == .shutdown || reason == .logUnwritable ? 1 : nil)
      refusal.isClientSlow = isClientSlow
      refusal.isHeadTooLarge = isHeadTooLarge
      refusal.closes = !mayGoOn
      refusal.isToHEAD = via == .http && target != nil && buffers.request.isHEAD
      if mayExplain(refusal, conditions) {
        end(outcome)
        return explainInTunnel(refusal, conditions)
      }
      mustWait = !say(refusal)
    }
    end(outcome)
    if mustWait { return awaitLanguage(conditions) }
    if !mayGoOn { return .close(.graceful) }
    return awaitNextRequest(keepUpstream: true, conditions)
  }

  /// A refused CONNECT and any malformed request end their connection; so does a request whose body would have to be read.
  private func mayServeNext(after reason: Reason) -> Bool {
    guard let buffers, via == .http, target != nil, !buffers.hasClientEnded else { return false }
    guard case .none = buffers.request.body, buffers.request.keepAlive else { return false }
    switch reason {
    case .notAllowed, .notAuthenticated, .deniedByRule, .expired, .rateLimited, .tooMany, .methodRefused, .pathRefused,
      .notApproved:
      return state == .readingHead || state == .authenticating
    default: return false
    }
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

extension Reason {
  package var logEvent: LogEvent {
    switch self {
    case .rateLimited, .tooMany: .limited
    case .resolveFailed, .connectFailed, .timeout, .upstreamUntrusted, .credentialFailed: .failed
    case .secretRefused: .flagged
    default: .denied
    }
  }
}
