// Step "read target" of a redirected connection: its destination address, its ClientHello or its HTTP head names the
// target. It relies on the Gate for the destination; that address is never dialled unless a rule names it.
import Policy
import Wire

extension Flow {
  mutating func onReadingRedirected(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .accepted: return readDestination(conditions)
    case .destinationNamed(let name):
      guard case .redirected(let address, let port, _) = opening else { return .wait }
      opening = .redirected(to: address, port: port, name: name)
      return readDestination(conditions)
    case .clientSent: return readOpening(conditions)
    default: return onUnread(event, inside: "its first message", conditions)
    }
  }

  /// Tries the destination address before any byte arrives: if the server speaks first, the client may send nothing.
  mutating func readDestination(_ conditions: borrowing Conditions) -> Action {
    guard case .redirected(let address, let port, let name) = opening else { return .wait }
    let destination = Target(host: name.map(Host.name) ?? .address(address), port: port)
    if conditions.gate.isListener(address, port) {
      via = .address
      target = destination
      return refuse(.loop, conditions, address: address)
    }
    // A sandbox redirects all of its connections here. If no rule names the port, no host name would help, so refuse
    // early. On web ports clients speak first: read on, so that the log gets the name.
    let isHopeless =
      sandbox != nil && port != 80 && port != 443 && !isReportOnly && !client.network.mayAllow(port: port)
    if name == nil && !isHopeless && !isNamedByRule(destination, conditions) {
      return hasInput ? readOpening(conditions) : .wait
    }
    via = .address
    target = destination
    return identify(conditions)
  }

  private func isNamedByRule(_ destination: Target, _ conditions: borrowing Conditions) -> Bool {
    guard client.network.namesAddresses,
      case .allow(let rule) = client.network.judge(destination, nowUnix: conditions.unixSeconds)
    else {
      return false
    }
    return rule.pattern == .exact(destination.host)
  }

  private mutating func readOpening(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, let first = buffers.firstByte else { return .wait }
    let form = buffers.replyForm
    if form == .http {
      state = .readingHead
      return readHead(conditions)
    }
    // A zero byte begins neither HTTP nor TLS: the verdict is clear, and only the form of its reply needs more bytes.
    guard form != nil || first == 0 else { return .wait }
    switch buffers.parseHello(bytesMax: conditions.policy.settings.limits.helloBytes) {
    case .incomplete: return .wait
    case .notTLS: return refuseOpening(.notTLS, nil, conditions)
    case .malformed(let problem):
      return refuseOpening(problem.isBeforeHello ? .notTLS : .badRequest, "\(problem)", conditions)
    case .complete(let hello):
      via = .tls
      buffers.offersECH = hello.offersECH
      return readServerName(hello.serverName, conditions)
    }
  }

  private mutating func readServerName(
    _ serverName: ClientHello.ServerName, _ conditions: borrowing Conditions
  ) -> Action {
    guard case .redirected(_, let port, _) = opening else { return .wait }
    switch serverName {
    case .name(let name):
      target = Target(host: .name(name), port: port)
      return identify(conditions)
    case .none: return refuseOpening(.noSNI, nil, conditions)
    case .refused(let problem): return refuseOpening(.noSNI, "\(problem)", conditions)
    }
  }

  /// Refuses or, in report mode, lets out a connection that names no target. The log gets its destination.
  private mutating func refuseOpening(
    _ reason: Reason, _ detail: String?, _ conditions: borrowing Conditions
  ) -> Action {
    guard case .redirected(let address, let port, _) = opening else { return .wait }
    if via != .tls { via = .address }
    target = Target(host: .address(address), port: port)
    guard isReportOnly else { return refuse(reason, conditions, detail: detail) }
    note(reason)
    return identify(conditions)
  }
}
