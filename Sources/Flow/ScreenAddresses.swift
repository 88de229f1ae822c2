// Steps "resolve", "screen" and "connect": the judged target becomes one connected, screened address.
// It relies on Policy.Screening for each address and on Dialling for the order; a name is resolved once.
import Policy
import Wire

extension Flow {
  mutating func dial(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, let target, let rule else { return .wait }
    if let standing = buffers.standing, via == .http, !rule.checksContent, standing.target == target,
      screen(standing.address, target, rule, conditions) == nil
    {
      address = standing.address
      return sendRequest(by: .kept, conditions)
    }
    buffers.standing = nil
    switch target.host {
    case .name(let name):
      begin(Dialling(), conditions)
      return .resolve(name)
    case .address(let address):
      let dial = begin(Dialling(address), conditions)
      if let reason = screenOrNote(address, target, rule, conditions) {
        return refuse(
          reason, conditions, line: Screening.line(reason, address, port: target.port, rule: rule), address: address)
      }
      return dialNext(dial, conditions)
    }
  }

  @discardableResult
  mutating func begin(
    _ attempts: Dialling, isSecond: Bool = false, _ conditions: borrowing Conditions
  ) -> Dial {
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.connectMs
    let dial = Dial(attempts, deadlineMs: deadlineMs, isSecond: isSecond)
    state = .dialling(dial)
    return dial
  }

  mutating func onDialling(_ dial: Dial, _ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .answered(let answer): take(answer, dial, conditions)
    case .resolved(let v4, let v6):
      take(NameAnswer(family: .v6, addresses: v6), dial, conditions)
      take(NameAnswer(family: .v4, addresses: v4), dial, conditions)
    case .attemptFailed(let code): dial.attempts.attemptFailed(code: code)
    case .connected(let dialled, let peer): return connected(dial, dialled, peer, conditions)
    case .deadlinePassed where conditions.nowMs >= dial.deadlineMs:
      return refuse(.timeout, conditions, address: dial.attempts.lastTried)
    case .deadlinePassed: break
    case .clientSent, .clientEnded: return .wait
    default: return onUnfinished(event, conditions)
    }
    return dialNext(dial, conditions)
  }

  /// Screens an answer: passing addresses will be dialled; report mode logs the others.
  private mutating func take(_ answer: NameAnswer, _ dial: Dial, _ conditions: borrowing Conditions) {
    if answer.addresses.isEmpty {
      dial.attempts.answered(answer, nowMs: conditions.nowMs) { _ in nil }
      return
    }
    guard let target, let rule else { return }
    var refused: [(Reason, IPAddress)] = []
    let reportOnly = isReportOnly
    dial.attempts.answered(answer, nowMs: conditions.nowMs) { address in
      guard let reason = Self.screen(address, target, rule, conditions) else { return nil }
      refused.append((reason, address))
      return reportOnly && reason != .loop ? nil : reason
    }
    if reportOnly, let (reason, address) = refused.first(where: { $0.0 != .loop }) {
      note(reason, line: Screening.line(reason, address, port: target.port, rule: rule), address: address)
    }
  }

  private mutating func dialNext(_ dial: Dial, _ conditions: borrowing Conditions) -> Action {
    guard let target else { return .wait }
    deadlineMs = dial.deadlineMs
    switch dial.attempts.next(nowMs: conditions.nowMs) {
    case .connect(let address):
      if dial.attempts.hasMoreToTry { deadlineMs = min(dial.deadlineMs, dial.attempts.startsNextAtMs) }
      return .connect(address, port: target.port)
    case .wait(let untilMs):
      if let untilMs { deadlineMs = min(dial.deadlineMs, untilMs) }
      return .wait
    case .exhausted: return dialFailed(dial.attempts, conditions)
    }
  }

  private mutating func dialFailed(_ attempts: Dialling, _ conditions: borrowing Conditions) -> Action {
    if attempts.lastFailure != nil { return refuse(.connectFailed, conditions, address: attempts.lastTried) }
    if let (reason, address) = attempts.refused, let target, let rule {
      return refuse(
        reason, conditions, line: Screening.line(reason, address, port: target.port, rule: rule), address: address)
    }
    return refuse(.resolveFailed, conditions)
  }

  /// Verifies that the connected peer, as the kernel names it, is the screened address.
  private mutating func connected(
    _ dial: Dial, _ dialled: IPAddress, _ peer: IPAddress, _ conditions: borrowing Conditions
  ) -> Action {
    guard dialled == peer else { return refuse(.addressRefused, conditions, address: peer) }
    // The rule has changed since the attempt began.
    if dial.isRuleReplaced, let target, let rule, let reason = screen(dialled, target, rule, conditions),
      reason == .loop || !isReportOnly
    {
      return refuse(
        reason, conditions, line: Screening.line(reason, dialled, port: target.port, rule: rule), address: dialled)
    }
    address = dialled
    if via == .http { return sendRequest(by: dial.isSecond ? .second : .first, conditions) }
    buffers?.dropHead()
    // The SNI of a redirected connection is its target already.
    return via == .tls ? openTunnel(conditions) : openConnect(conditions)
  }

  // MARK: - Screening

  private mutating func screenOrNote(
    _ address: IPAddress, _ target: Target, _ rule: AllowRule, _ conditions: borrowing Conditions
  ) -> Reason? {
    guard let reason = screen(address, target, rule, conditions) else { return nil }
    // The gate never connects to itself in any mode: that loop would not end.
    if reason == .loop || !isReportOnly { return reason }
    note(reason, line: Screening.line(reason, address, port: target.port, rule: rule), address: address)
    return nil
  }

  func screen(
    _ address: IPAddress, _ target: Target, _ rule: AllowRule, _ conditions: borrowing Conditions
  ) -> Reason? {
    Self.screen(address, target, rule, conditions)
  }

  static func screen(
    _ address: IPAddress, _ target: Target, _ rule: AllowRule, _ conditions: borrowing Conditions
  ) -> Reason? {
    Screening.check(address, port: target.port, host: target.host, rule: rule, gate: conditions.gate)
  }
}
