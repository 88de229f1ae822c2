// Checks the first bytes of a CONNECT tunnel against its rule: a ClientHello whose SNI is the target, or any bytes.
// It relies on Wire.ClientHello; the upstream may be connected already, but no byte goes out before the check.
import Policy
import Wire

extension Flow {
  mutating func openConnect(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, let target, let rule else { return .wait }
    // Inspection sees requests, and a tunnel shows them only inside TLS: an inspecting rule requires TLS.
    switch rule.isInspected ? .tls : rule.wireProtocol(port: target.port) {
    case .tcp: return openTunnel(conditions)
    case .tls:
      state = .readingHello(isAnswered: false)
      deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.helloMs
    case .auto:
      state = .peeking(isAnswered: false, openedMs: conditions.nowMs)
      lastActivityMs = conditions.nowMs
      deadlineMs = relayDeadlineMs(conditions)
    }
    // Bytes right behind the CONNECT can be refused with a readable answer, as the CONNECT has no answer yet.
    if buffers.hasInput { return checkHello(conditions) }
    return answerConnect()
  }

  private mutating func answerConnect() -> Action {
    sayEstablished()
    if case .peeking(_, let openedMs) = state {
      state = .peeking(isAnswered: true, openedMs: openedMs)
      return .relay(up: false, down: true)
    }
    state = .readingHello(isAnswered: true)
    return .relay(up: false, down: false)
  }

  mutating func onHello(_ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .clientSent: return checkHello(conditions)
    case .clientEnded:
      // In `auto` a client may send nothing: its end is forwarded like any other.
      if state.isPeeking && !hasInput { return openTunnel(conditions) }
      return refuse(hasInput ? .badRequest : .notTLS, conditions)
    case .deadlinePassed:
      // In `auto` the server may speak first, so the time limits of a tunnel apply.
      if state.isPeeking && !hasInput { return relayDeadlinePassed(conditions) }
      return refuse(.timeout, conditions, isClientSlow: true)
    case .drainEnded: return refuse(.shutdown, conditions)
    case .relayEnded, .upstreamReset, .clientReset, .upstreamEnded:
      end(Outcome(.closed))
      return .close(.cut)
    case .uploadLimited, .downloadLimited: return onRelaying(event, conditions)
    default: return .wait
    }
  }

  private mutating func checkHello(_ conditions: borrowing Conditions) -> Action {
    guard let buffers, buffers.hasInput else { return .wait }
    switch buffers.parseHello(bytesMax: conditions.policy.settings.limits.helloBytes) {
    case .incomplete:
      if state.isPeeking {
        deadlineMs = min(deadlineMs, conditions.nowMs + conditions.policy.settings.timeouts.helloMs)
      }
      return state.hasAnsweredConnect ? .wait : answerConnect()
    case .notTLS: return state.isPeeking ? openTunnel(conditions) : refuseOtherProtocol(conditions)
    case .malformed(let problem):
      return mismatch(
        problem.isBeforeHello ? .notTLS : .badRequest, conditions, isHello: false, detail: "\(problem)")
    case .complete(let hello): return judge(hello, conditions)
    }
  }

  private mutating func judge(_ hello: ClientHello, _ conditions: borrowing Conditions) -> Action {
    guard let target, let rule else { return .wait }
    if hello.offersECH && !rule.allowsECH { return mismatch(.echRefused, conditions) }
    switch hello.serverName {
    case .none:
      if case .address = target.host { return openTunnel(conditions, isHeldToTLS: true) }
      return mismatch(.noSNI, conditions)
    case .name(let name):
      if .name(name) == target.host { return openTunnel(conditions, isHeldToTLS: true) }
      return mismatch(.sniMismatch, conditions, sni: name)
    case .refused: return mismatch(.noSNI, conditions)
    }
  }

  /// Refuses a client that speaks HTTP without TLS in HTTP, even behind the 200 of its CONNECT: the client waits for
  /// an HTTP answer.
  private mutating func refuseOtherProtocol(_ conditions: borrowing Conditions) -> Action {
    guard buffers?.read(HTTPOpening.isRequest) == true else { return mismatch(.notTLS, conditions, isHello: false) }
    let detail =
      rule?.isInspected == true
      ? "The gate looks into the requests of this target, which takes TLS in the tunnel; ask for https://"
      : "This tunnel is for TLS, and plain HTTP came; ask for https://"
    return mismatch(.notTLS, conditions, isHello: false, detail: detail, inHTTP: true)
  }

  private mutating func mismatch(
    _ reason: Reason, _ conditions: borrowing Conditions, isHello: Bool = true, sni: HostName? = nil,
    detail: String? = nil, inHTTP: Bool = false
  ) -> Action {
    if isReportOnly {
      note(reason)
      return openTunnel(conditions, isHeldToTLS: isHello)
    }
    if state.hasAnsweredConnect {
      let form = buffers?.replyForm
      if let form, inHTTP || form.isNative {
        var refusal = Refusal(reason, target: target, client: client.name)
        refusal.detail = detail
        say(refusal, in: inHTTP ? .http : form)
      } else if reason != .notTLS || form == .tls {
        buffers?.reply(reason.alert)
      }
    }
    let action = refuse(reason, conditions, detail: detail)
    mentionSNI(sni)
    return action
  }

  /// Opens the tunnel: bytes of the client may go out from here on. `isHeldToTLS`: a ClientHello was checked.
  mutating func openTunnel(_ conditions: borrowing Conditions, isHeldToTLS: Bool = false) -> Action {
    // An `auto` tunnel is open since its server could speak: a drain or a full disk does not end it.
    if !state.isPeeking, let refusal = refuseIfTooLate(conditions) { return refusal }
    if !state.hasAnsweredConnect { sayEstablished() }
    let content: Tunnel.Content = rule?.isInspected == true ? .inspected : .opaque(isHeldToTLS: isHeldToTLS)
    return beginRelay(content, conditions)
  }

  /// Confirms the tunnel in the client's protocol. A redirected client gets no confirmation, as it asked for none.
  func sayEstablished() {
    guard let buffers, opening == .proxy else { return }
    buffers.reply(buffers.socks == nil ? establishedReply : SOCKS5.reply(.succeeded))
  }
}

private let establishedReply = [UInt8]("HTTP/1.1 200 Connection established\r\n\r\n".utf8)
