// The reasons that can end an open tunnel: its ends, its limits, its rule's expiry, a reload, a drain.
// It relies on the Gate to move the bytes; this file decides the end and the log line.
import Policy
import Wire

extension Flow {
  mutating func beginRelay(_ content: Tunnel.Content, _ conditions: borrowing Conditions) -> Action {
    // A tunnel in state `peeking` has been open since then.
    let openedMs = state.isPeeking ? state.openedMs : conditions.nowMs
    state = .relaying(Tunnel(content: content, openedMs: openedMs))
    lastActivityMs = conditions.nowMs
    deadlineMs = relayDeadlineMs(conditions)
    return isInspected ? .intercept : .relay(up: true, down: true)
  }

  mutating func onRelaying(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .relayEnded:
      end(Outcome(.closed))
      return .close(.graceful)
    case .upstreamReset, .clientReset:
      end(Outcome(.closed))
      return .close(.cut)
    case .uploadLimited, .downloadLimited:
      end(Outcome(.limited, .rateLimited))
      return .close(.cut)
    case .drainEnded:
      end(Outcome(.closed, .shutdown))
      return .close(.cut)
    case .gateFailed:
      end(Outcome(.failed, .tooMany))
      return .close(.cut)
    case .upstreamUntrusted(let detail): return explain(.upstreamUntrusted, detail, conditions)
    case .upstreamFailed(let detail): return explain(.connectFailed, detail, conditions)
    case .deadlinePassed: return relayDeadlinePassed(conditions)
    default: return .wait
    }
  }

  mutating func relayDeadlinePassed(_ conditions: borrowing Conditions) -> Action {
    if let expiresAt = rule?.expiresAt, conditions.unixSeconds >= expiresAt {
      return replaced(.expired, rule?.line, conditions)
    }
    let dueMs = relayDeadlineMs(conditions)
    if conditions.nowMs < dueMs {
      deadlineMs = dueMs
      return .wait
    }
    end(Outcome(.closed, .timeout))
    return .close(.cut)
  }

  /// The earliest of the idle timeout, the tunnel's lifetime and the rule's expiry.
  func relayDeadlineMs(_ conditions: borrowing Conditions) -> UInt64 {
    var dueMs = lastActivityMs + conditions.policy.settings.timeouts.idleMs
    if let lifetimeMs = rule?.tunnelLifetimeMs { dueMs = min(dueMs, state.openedMs + UInt64(lifetimeMs)) }
    if let expiresAt = rule?.expiresAt {
      let leftSeconds = UInt64(max(0, expiresAt - conditions.unixSeconds))
      dueMs = min(dueMs, conditions.nowMs + leftSeconds.multipliedReportingOverflow(by: 1000).partialValue)
    }
    return dueMs
  }

  // MARK: - Reload

  /// Judges an open connection again; a connection that the new policy refuses is cut.
  mutating func policyReplaced(_ conditions: borrowing Conditions) -> Action {
    switch state {
    case .readingHead, .readingProxyHeader, .readingRedirected, .ended:
      identifySource(conditions)
      return .wait
    case .readingSOCKS where client.proxyUser == nil:
      identifySource(conditions)
      return .wait
    case .readingSOCKS, .readingQuestion:
      // The client is authenticated; its target is not known yet.
      guard let client = successor(conditions) else { return refuse(.notAllowed, conditions) }
      self.client = client
      return .wait
    case .authenticating: return identityReplaced(conditions)
    case .refusing, .explaining: return .wait
    case .awaiting:
      guard let client = successor(conditions) else { return refuse(.notAllowed, conditions) }
      self.client = client
      return decide(conditions)
    default: break
    }
    guard let target, let client = successor(conditions) else {
      return replaced(.notAllowed, nil, conditions)
    }
    self.client = client
    // A full disk or a drain refuses new tunnels, not open ones.
    var moment = conditions.moment
    (moment.isDraining, moment.isLogUnwritable) = (false, false)
    let judgement = judge(target, .paid, .policy(client.network), moment)
    switch judgement.verdict {
    case .allow(let rule, let path):
      self.rule = rule
      buffers?.judgedPath = path
      buffers?.approvedBy = judgement.approvedBy
    case .refuse(let finding): return replaced(finding, conditions)
    case .pace, .ask: preconditionFailure("nothing is to be paid, or asked, on a reload")
    }
    // An inspecting rule cannot judge an open opaque tunnel.
    if isOpaque, rule?.isInspected == true { return replaced(.notAllowed, rule?.line, conditions) }
    guard let rule, !isReportOnly else { return rearmed(conditions) }
    if let address, let reason = screen(address, target, rule, conditions) {
      return replaced(reason, Screening.line(reason, address, port: target.port, rule: rule), conditions)
    }
    // A rule's protocol applies to tunnels, not to an upgraded plain request.
    if via != .http && rule.wireProtocol(port: target.port) == .tls {
      if isOpaque && !isHeldToTLS { return replaced(.notTLS, rule.line, conditions) }
      // The first bytes are still to come, and are checked against the new rule.
      if case .peeking(let isAnswered, _) = state {
        state = .readingHello(isAnswered: isAnswered)
        deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.helloMs
      }
    }
    if case .dialling(let dial) = state {
      dial.isRuleReplaced = true
      dial.attempts.screen { screen($0, target, rule, conditions) }
    }
    return rearmed(conditions)
  }

  private var isOpaque: Bool {
    if case .relaying(let tunnel) = state, case .opaque = tunnel.content { true } else { false }
  }

  /// The SNI of a redirected connection is its target.
  private var isHeldToTLS: Bool {
    guard case .relaying(let tunnel) = state, case .opaque(let isHeld) = tunnel.content else { return false }
    return isHeld || via == .tls
  }

  /// Sets the deadline again: the new rule may expire sooner, or limit a tunnel's lifetime.
  private mutating func rearmed(_ conditions: borrowing Conditions) -> Action {
    switch state {
    case .relaying, .exchanging: deadlineMs = relayDeadlineMs(conditions)
    case .peeking: deadlineMs = min(deadlineMs, relayDeadlineMs(conditions))
    default: break
    }
    return .wait
  }

  /// Handles a reload while the password is verified: the client is not known yet, and only an answer for the same
  /// hash may count.
  private mutating func identityReplaced(_ conditions: borrowing Conditions) -> Action {
    guard let client = successor(conditions), client.passwordHash == self.client.passwordHash else {
      client = conditions.policy.fallback
      return refuseCredentials(conditions)
    }
    self.client = client
    return .wait
  }

  /// The same client in the new policy: by its authenticated user, else by its sandbox or its source.
  private func successor(_ conditions: borrowing Conditions) -> Client? {
    if sandbox == nil, let user = client.proxyUser { return conditions.policy.client(source: source, user: user) }
    guard case .client(let client) = conditions.policy.identify(source: source, sandbox: sandbox) else { return nil }
    return client
  }

  /// `sluice close`: cuts an open tunnel; refuses a request without an upstream.
  mutating func operatorCloses(_ conditions: borrowing Conditions) -> Action {
    isLetOut ? replaced(.shutdown, rule?.line, conditions) : .wait
  }

  private mutating func replaced(_ reason: Reason, _ line: SourceLine?, _ conditions: borrowing Conditions) -> Action {
    replaced(Finding(reason, line: line), conditions)
  }

  private mutating func replaced(_ finding: Finding, _ conditions: borrowing Conditions) -> Action {
    let isOpen = state.hasAnsweredConnect || state.isExchanging
    if !isOpen { return refuse(finding, conditions) }
    end(Outcome(.revoked, finding.reason, line: finding.line))
    return .close(.cut)
  }
}
