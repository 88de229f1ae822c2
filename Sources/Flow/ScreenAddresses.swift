// Steps "resolve", "screen" and "connect": the judged target becomes one screened address that is connected to.
// It relies on Policy.Screening for each address and on Dialling for the order; a name is asked for once.
import Policy
import Wire

extension Flow {
  mutating func dial(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, let target, let rule else { return .wait }
    if let standing = buffers.standing, via == .http, !rule.checksContent, standing.target == target,
      screen(standing.address, target, rule, conditions) == nil
    {
      address = standing.address
      buffers.usesStanding = true
      return sendRequest(conditions)
    }
    buffers.standing = nil
    state = .dialling
    buffers.dialDeadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.connectMs
    deadlineMs = buffers.dialDeadlineMs
    switch target.host {
    case .name(let name):
      buffers.dialling = Dialling()
      return .resolve(name)
    case .address(let address):
      if let reason = screenOrNote(address, target, rule, conditions) {
        return refuse(
          reason, conditions, line: Screening.line(reason, address, port: target.port, rule: rule), address: address)
      }
      buffers.dialling = Dialling(address)
      return dialNext(conditions)
    }
  }

  mutating func answered(_ answer: NameAnswer, _ conditions: borrowing Conditions) -> Action {
    take(answer, conditions)
    return dialNext(conditions)
  }

  /// What passes the screening will be dialled; of what does not, report mode takes a note.
  mutating func take(_ answer: NameAnswer, _ conditions: borrowing Conditions) {
    if answer.addresses.isEmpty {
      buffers?.dialling?.answered(answer, nowMs: conditions.nowMs) { _ in nil }
      return
    }
    guard let buffers, let target, let rule else { return }
    var refused: [(Reason, IPAddress)] = []
    let reportOnly = isReportOnly
    buffers.dialling?.answered(answer, nowMs: conditions.nowMs) { address in
      guard let reason = Self.screen(address, target, rule, conditions) else { return nil }
      refused.append((reason, address))
      return reportOnly && reason != .loop ? nil : reason
    }
    if reportOnly, let (reason, address) = refused.first(where: { $0.0 != .loop }) {
      note(reason, line: Screening.line(reason, address, port: target.port, rule: rule), address: address)
    }
  }

  mutating func attemptFailed(_ code: Int32, _ conditions: borrowing Conditions) -> Action {
    buffers?.dialling?.attemptFailed(code: code)
    return dialNext(conditions)
  }

  mutating func dialDeadlinePassed(_ conditions: borrowing Conditions) -> Action {
    guard let buffers else { return .wait }
    if conditions.nowMs >= buffers.dialDeadlineMs {
      return refuse(.timeout, conditions, address: buffers.dialling?.lastTried)
    }
    return dialNext(conditions)
  }

  private mutating func dialNext(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, let target, buffers.dialling != nil else { return .wait }
    deadlineMs = buffers.dialDeadlineMs
    switch buffers.dialling?.next(nowMs: conditions.nowMs) ?? .exhausted {
    case .connect(let address):
      if let dialling = buffers.dialling, dialling.hasMoreToTry {
        deadlineMs = min(buffers.dialDeadlineMs, dialling.startsNextAtMs)
      }
      return .connect(address, port: target.port)
    case .wait(let untilMs):
      if let untilMs { deadlineMs = min(buffers.dialDeadlineMs, untilMs) }
      return .wait
    case .exhausted: return dialFailed(conditions)
    }
  }

  private mutating func dialFailed(_ conditions: borrowing Conditions) -> Action {
    guard let dialling = buffers?.dialling else { return refuse(.connectFailed, conditions) }
    if dialling.lastFailure != nil { return refuse(.connectFailed, conditions, address: dialling.lastTried) }
    if let (reason, address) = dialling.refused, let target, let rule {
      return refuse(
        reason, conditions, line: Screening.line(reason, address, port: target.port, rule: rule), address: address)
    }
    return refuse(.resolveFailed, conditions)
  }

  /// What was checked is what is connected: the peer that the kernel names is the address that was screened.
  mutating func connected(_ dialled: IPAddress, _ peer: IPAddress, _ conditions: borrowing Conditions) -> Action {
    guard dialled == peer else { return refuse(.addressRefused, conditions, address: peer) }
    // The rule is another one since the attempt began.
    if buffers?.isRuleReplaced == true, let target, let rule, let reason = screen(dialled, target, rule, conditions),
      reason == .loop || !isReportOnly
    {
      return refuse(
        reason, conditions, line: Screening.line(reason, dialled, port: target.port, rule: rule), address: dialled)
    }
    address = dialled
    buffers?.dialling = nil
    if via == .http { return sendRequest(conditions) }
    buffers?.dropHead()
    // The SNI of a redirected connection is its target already.
    return via == .tls ? openTunnel(conditions) : openConnect(conditions)
  }

  // MARK: - Screening

  private mutating func screenOrNote(
    _ address: IPAddress, _ target: Target, _ rule: AllowRule, _ conditions: borrowing Conditions
  ) -> Reason? {
    guard let reason = screen(address, target, rule, conditions) else { return nil }
    // The gate never connects to itself, whatever the mode: that loop would not end.
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
