// Step "read target" of a SOCKS 5 client (RFC 1928): greeting, password if needed, request.
// It relies on Wire for the messages; the target is judged like that of a CONNECT.
import Policy
import Wire

/// The message that comes next.
package enum SOCKSStep { case greeting, password, request }

/// The state of a SOCKS negotiation, as far as a refusal needs it.
struct SOCKSNegotiation {
  /// The message read last, which a refusal answers.
  var step = SOCKSStep.greeting
  /// The reply for an error that only SOCKS has.
  var reply: SOCKSReply?
  var presented: SOCKSCredentials?
}

extension Flow {
  mutating func beginSOCKS(_ conditions: borrowing Conditions) -> Action {
    buffers?.socks = SOCKSNegotiation()
    expect(.greeting)
    return readSOCKS(.greeting, conditions)
  }

  private mutating func expect(_ step: SOCKSStep) {
    state = .readingSOCKS(step)
    buffers?.socks?.step = step
  }

  mutating func onReadingSOCKS(_ step: SOCKSStep, _ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .clientSent: return readSOCKS(step, conditions)
    case .clientEnded: return refuseHead("The connection ended inside the SOCKS negotiation", conditions)
    case .deadlinePassed: return refuse(.timeout, conditions, isClientSlow: true)
    case .drainEnded: return refuse(.shutdown, conditions)
    case .upstreamReset, .clientReset: return endSilently()
    default: return .wait
    }
  }

  private mutating func readSOCKS(_ step: SOCKSStep, _ conditions: borrowing Conditions) -> Action {
    guard let buffers, buffers.hasInput else { return .wait }
    switch step {
    case .greeting: return take(buffers.read(SOCKSGreeting.parse), conditions) { $0.choose($1, $2) }
    case .password: return take(buffers.read(SOCKSCredentials.parse), conditions) { $0.verify($1, $2) }
    case .request: return take(buffers.read(SOCKSRequest.parse), conditions) { $0.follow($1, $2) }
    }
  }

  private mutating func take<Message>(
    _ result: SOCKSResult<Message>, _ conditions: borrowing Conditions,
    _ next: (inout Flow, Message, borrowing Conditions) -> Action
  ) -> Action {
    switch result {
    case .incomplete: return .wait
    case .malformed(let problem):
      buffers?.socks?.reply = problem.reply
      return refuseHead("\(problem)", conditions)
    case .complete(let message, let byteCount):
      buffers?.drop(byteCount)
      return next(&self, message, conditions)
    }
  }

  private mutating func choose(_ greeting: SOCKSGreeting, _ conditions: borrowing Conditions) -> Action {
    if needsCredentials && !greeting.offersPassword { return refuseCredentials(conditions) }
    if !needsCredentials && greeting.offersNoAuthentication { return answer(.noAuthentication, then: .request) }
    if greeting.offersPassword { return answer(.password, then: .password) }
    return refuseHead("The client offers no SOCKS method that the gate knows", conditions)
  }

  private mutating func answer(_ method: SOCKSMethod, then step: SOCKSStep) -> Action {
    var reply: [UInt8] = []
    SOCKS5.write(method, into: &reply)
    buffers?.reply(reply)
    expect(step)
    return .reply
  }

  private mutating func verify(_ credentials: SOCKSCredentials, _ conditions: borrowing Conditions) -> Action {
    buffers?.socks?.presented = credentials
    // A client may send credentials that were not asked for, as in HTTP.
    guard needsCredentials else { return acceptSOCKSUser(conditions) }
    guard let client = conditions.policy.client(source: source, user: credentials.user) else {
      return refuseCredentials(conditions)
    }
    self.client = client
    state = .authenticating
    deadlineMs = conditions.nowMs + conditions.policy.settings.timeouts.headMs
    return .authenticate
  }

  mutating func acceptSOCKSUser(_ conditions: borrowing Conditions) -> Action {
    needsCredentials = false
    var reply: [UInt8] = []
    SOCKS5.writeAuthentication(isRight: true, into: &reply)
    buffers?.reply(reply)
    expect(.request)
    return .reply
  }

  private mutating func follow(_ request: SOCKSRequest, _ conditions: borrowing Conditions) -> Action {
    switch request {
    case .connect(let target):
      via = .connect
      self.target = target
      // Since the greeting, a reload may require a password of clients at this address.
      return needsCredentials ? refuseCredentials(conditions) : decide(conditions)
    case .bind, .udpAssociate, .other:
      buffers?.socks?.reply = .commandNotSupported
      return refuseHead("Of SOCKS the gate speaks CONNECT alone: no BIND, no UDP", conditions)
    }
  }

  /// Writes a refusal in the form of the current negotiation step.
  func sayInSOCKS(_ refusal: Refusal) {
    guard let buffers, let negotiation = buffers.socks else { return }
    var reply: [UInt8] = []
    switch negotiation.step {
    case .greeting: SOCKS5.write(SOCKSMethod.noneAcceptable, into: &reply)
    case .password: SOCKS5.writeAuthentication(isRight: false, into: &reply)
    case .request: SOCKS5.write(negotiation.reply ?? refusal.reason.row.socks, into: &reply)
    }
    buffers.reply(reply)
  }
}
