// Step "read target": an HTTP/1 head becomes a target, under a byte limit and a deadline.
// It relies on Wire.RequestHead for strict parsing, and refuses requests that a proxy must not get.
import Policy
import Wire

extension Flow {
  mutating func onReadingHead(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    let hasBytes = hasInput && buffers?.holdsEmptyLinesAlone != true
    switch event {
    case .clientSent: return readHead(conditions)
    case .clientEnded:
      if !hasBytes { return endSilently() }
      return refuseHead("The connection ended inside the request head", conditions)
    case .deadlinePassed:
      // A quiet connection between two requests ends silently; a client that never finishes a head gets a timeout.
      if !hasBytes && ordinal > 0 { return endSilently() }
      return refuse(.timeout, conditions, isClientSlow: true)
    case .drainEnded:
      return hasBytes ? refuse(.shutdown, conditions) : endSilently()
    case .upstreamReset, .clientReset: return endSilently()
    case .gateFailed: return refuse(.tooMany, conditions)
    default: return .wait
    }
  }

  mutating func endSilently() -> Action {
    end()
    return .close(.graceful)
  }

  mutating func readHead(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, hasInput else { return .wait }
    if ordinal == 0 && opening == .proxy && buffers.firstByte == SOCKS5.version { return beginSOCKS(conditions) }
    if ordinal > 0 && target != nil { beginHead(conditions) }
    switch buffers.parseRequest(bytesMax: conditions.policy.settings.limits.headBytes) {
    case .incomplete: return .wait
    case .malformed(let problem):
      return refuse(.badRequest, conditions, detail: "\(problem)", isHeadTooLarge: problem.isTooLarge)
    case .complete: break
    }
    switch buffers.request.form {
    case .connect(let target):
      via = .connect
      self.target = target
    case .absolute(let target):
      via = .http
      self.target = target
    case .origin, .asterisk: break
    }
    switch (opening, buffers.request.form) {
    case (.redirected(_, let port, _), .origin), (.redirected(_, let port, _), .asterisk):
      return readOriginHost(port, conditions)
    case (.redirected, _):
      return refuseHead("Redirected connections are no proxy requests: ask for /PATH, with Host", conditions)
    case (.proxy, .origin), (.proxy, .asterisk):
      return refuseHead("This is a proxy: ask with CONNECT, or with http://HOST/PATH", conditions)
    case (.proxy, _): return identify(conditions)
    }
  }

  /// Reads a request in origin form: Host gives the host, the connection's destination gives the port.
  private mutating func readOriginHost(_ port: UInt16, _ conditions: borrowing Conditions) -> Action {
    guard let named = buffers?.request.originHost else { return .wait }
    via = .http
    target = Target(host: named.host, port: port)
    guard !isTunnelToGate || named.host.isGate else {
      return refuseHead("This connection is to the gate itself, and Host names another", conditions)
    }
    // A Host without a port means port 80.
    guard named.port == port || named.port == 80 else {
      return refuseHead("Host names another port than the one that was connected to", conditions)
    }
    return identify(conditions)
  }

  /// Starts a further request on a kept connection.
  private mutating func beginHead(_ conditions: borrowing Conditions) {
    target = nil
    rule = nil
    hasNoted = false
    address = nil
    // The policy may have been replaced since the last request.
    identifySource(conditions)
    startedNs = conditions.nowNs
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.headMs
  }

  mutating func refuseHead(_ detail: String, _ conditions: borrowing Conditions) -> Action {
    refuse(.badRequest, conditions, detail: detail)
  }
}
