// Drives one Flow with chosen events and clocks, plays the Gate's part, and holds the flow to the invariants.
// It relies on nothing but its choices, so that a seed replays a run.
import Flow
package import Policy
package import Wire

/// A broken invariant, with the steps that led there.
package struct Violation: Error, CustomStringConvertible {
  package let text: String
  package let trace: [String]
  package var description: String { "\(text)\n" + trace.suffix(40).joined(separator: "\n") }
}

package struct FlowSimulation: ~Copyable {
  private var flow: Flow
  private var conditions: Conditions
  private var trace: [String] = []
  private var outcomes = 0
  private var requests = 1
  private var hasEnded = false
  /// What the Gate would have under way.
  private var dialled: [IPAddress] = []
  private var isAsked = false
  private var isConnected = false
  private var isRedirected = false
  private var meterUp = BodyMeter(.none)
  private var meterDown = BodyMeter(.none)

  /// `way` chooses how the connection comes in: one of `Script.openings`, with or without a PROXY header.
  package init(policy: Policy, source: IPAddress = .v4(0x0A01_0001), way: Int = 0) {
    conditions = Conditions(policy: policy, gate: GateAddresses(listeners: [(.v4(0x7F00_0001), 3128)], interfaces: []))
    conditions.nowMs = 1_000_000
    conditions.nowNs = 1_000_000_000_000
    conditions.unixSeconds = 1_800_000_000
    let opening = Script.openings[way % Script.openings.count]
    flow = Flow(
      source: source, opening: opening, expectsProxyHeader: way / Script.openings.count % 2 == 1, conditions)
    isRedirected = opening != .proxy
  }

  /// Runs to the flow's end or the last step, and returns how many outcomes it gave.
  package mutating func run<C: Choices>(_ choices: inout C, stepsMax: Int) throws(Violation) -> Int {
    var steps = 0
    if isRedirected { try send(.accepted) }
    while steps < stepsMax && !choices.isExhausted && !hasEnded {
      steps += 1
      advanceClock(&choices)
      try send(event(&choices))
    }
    if !hasEnded { try send(.drainEnded) }
    if !hasEnded {
      conditions.nowMs += 100_000_000
      for _ in 0..<8 where !hasEnded { try send(.deadlinePassed) }
    }
    if !hasEnded && !flow.state.isEnded { throw violation("neither a drain nor a deadline ended it: \(flow.state)") }
    return outcomes
  }

  private mutating func advanceClock<C: Choices>(_ choices: inout C) {
    let stepMs = [0, 1, 10, 60, 300, 5_000, 70_000][choices.next(below: 7)]
    conditions.nowMs += UInt64(stepMs)
    conditions.nowNs += UInt64(stepMs) * 1_000_000
    conditions.unixSeconds += Int64(stepMs / 1000)
  }

  // MARK: - Events

  private mutating func event<C: Choices>(_ choices: inout C) -> Event {
    switch choices.next(below: 16) {
    case 0...5: return clientBytes(&choices)
    case 6: return .clientEnded
    case 7: return conditions.nowMs >= flow.deadlineMs ? .deadlinePassed : .clientSent
    case 8: return .authenticated(choices.next(below: 2) == 0)
    case 9, 10: return answer(&choices)
    case 11, 12: return attempt(&choices)
    case 13: return upstreamBytes(&choices)
    case 14:
      conditions.isDraining = choices.next(below: 8) == 0
      conditions.isLogUnwritable = choices.next(below: 8) == 0
      conditions.explainsDenials = choices.next(below: 2) == 0
      return .clientSent
    default:
      let rare: [Event] = [
        .upstreamEnded, .requestBodyEnded, .responseBodyEnded, .relayEnded, .upstreamReset, .clientReset,
        .policyReplaced, .gateFailed, .approvalAnswered, .clientLeft,
        .bodyMalformed, .uploadLimited, .downloadLimited, .drainEnded, .operatorCloses, .upstreamUntrusted("expired"),
        .upstreamFailed("no TLS"),
      ]
      return rare[choices.next(below: rare.count)]
    }
  }

  private mutating func clientBytes<C: Choices>(_ choices: inout C) -> Event {
    guard flow.state.wantsClientBytes else { return .policyReplaced }
    let script = Script.client[choices.next(below: Script.client.count)]
    let cut = choices.next(below: 4) == 0 ? choices.next(below: script.count + 1) : script.count
    flow.clientSent(script.span.extracting(first: cut))
    return .clientSent
  }

  private mutating func upstreamBytes<C: Choices>(_ choices: inout C) -> Event {
    guard flow.wantsAnswerHead else { return .upstreamEnded }
    let script = Script.upstream[choices.next(below: Script.upstream.count)]
    flow.upstreamSent(script.span)
    return .upstreamSent
  }

  private mutating func answer<C: Choices>(_ choices: inout C) -> Event {
    guard isAsked else { return .clientSent }
    let pool: [IPAddress] = [
      .v4(0x5DB8_D822), .v4(0xA9FE_A9FE), .v4(0x7F00_0001), .v6(high: 0x2606_4700_0000_0000, low: 1),
      .v6(high: 0, low: 1),
    ]
    let family: Family = choices.next(below: 2) == 0 ? .v4 : .v6
    let picked = (0..<choices.next(below: 4)).map { _ in pool[choices.next(below: pool.count)] }
    if choices.next(below: 4) == 0 { return .resolved(v4: picked, v6: []) }
    return .answered(NameAnswer(family: family, addresses: picked))
  }

  private mutating func attempt<C: Choices>(_ choices: inout C) -> Event {
    guard let address = dialled.popLast() else { return .clientSent }
    switch choices.next(below: 4) {
    case 0: return .attemptFailed(code: 111)
    case 1: return .connected(dialled: address, peer: .v4(0x0101_0101))
    default:
      isConnected = true
      return .connected(dialled: address, peer: address)
    }
  }

  // MARK: - Actions

  private mutating func send(_ event: Event) throws(Violation) {
    var next: Event? = event
    var rounds = 0
    while let event = next {
      next = nil
      rounds += 1
      if rounds > 64 { throw violation("the flow asks for its own events without end") }
      trace.append("\(conditions.nowMs) \(flow.state) <- \(event)")
      let wasEnded = flow.state.isEnded
      let action = flow.handle(event, conditions)
      trace.append("  \(flow.state) -> \(action)")
      if wasEnded, case .wait = action {} else if wasEnded { throw violation("an ended flow acts") }
      next = try perform(action)
      try countOutcome()
      try checkDeadline()
    }
  }

  private mutating func perform(_ action: Action) throws(Violation) -> Event? {
    switch action {
    case .wait, .authenticate: return nil
    case .askApproval(let question):
      guard flow.state.isAwaiting, !conditions.isDraining, question.key.subject.target == flow.target else {
        throw violation("a person is asked about something else")
      }
      if flow.isReportOnly { throw violation("report mode asks") }
      let answers: [ApprovalAnswer] = [
        .waiting(id: "abcde", untilMs: conditions.nowMs + 1_000), .recorded(id: "abcde"), .notApproved(id: "abcde"),
        .full,
      ]
      return .approval(answers[Int(conditions.nowMs % 4)])
    case .nameDestination(let address):
      guard case .v4(let value) = address, value & 1 == 0 else { return .destinationNamed(nil) }
      return .destinationNamed(try? HostName(parsing: Array("auto.example".utf8).span))
    case .reply:
      if flow.takeToClient().isEmpty { throw violation("an answer without bytes") }
      return flow.hasInput ? .clientSent : nil
    case .resolve(let name):
      try checkVerdict()
      guard flow.target?.host == .name(name) else { throw violation("another name is resolved than was judged") }
      isAsked = true
    case .connect(let address, let port):
      try checkVerdict()
      try checkAddress(address, port)
      isConnected = false
      dialled.append(address)
    case .inspectExchange:
      guard isConnected else { throw violation("an exchange begins before its upstream stands") }
      let bytes = flow.takeJudgedRequest()
      if bytes.isEmpty { throw violation("an exchange without a request") }
    case .relay(let up, _):
      guard isConnected else { throw violation("a tunnel opens before its upstream stands") }
      _ = flow.takeToClient()
      if up {
        _ = flow.takeAllForTunnel()
      } else if !flow.takeToUpstream().isEmpty {
        throw violation("bytes for the upstream before the first bytes were checked")
      }
    case .intercept:
      guard isConnected, flow.isInspected else { throw violation("a tunnel is looked into before its upstream stands") }
      if !flow.takeToUpstream().isEmpty { throw violation("bytes for the upstream past its TLS") }
      _ = flow.takeToClient()
      _ = flow.takeAllForTunnel()
    case .explain:
      isConnected = false
      _ = flow.takeToClient()
      if flow.unsaid == nil { throw violation("nothing to explain") }
      _ = flow.takeAllForTunnel()
    case .answerQuestion:
      guard let question = flow.question else { throw violation("nothing to answer") }
      return try perform(flow.answer(question, [0x2e], conditions))
    case .sendRequest(let body):
      guard isConnected else { throw violation("a request is sent before its upstream stands") }
      try checkRequest(flow.takeToUpstream())
      meterUp = BodyMeter(body)
      let taken = flow.takeInput(within: &meterUp)
      if case .malformed = taken.progress { return .bodyMalformed }
      if case .none = body {} else if meterUp.hasEnded { return .requestBodyEnded }
    case .sendInterim:
      _ = flow.takeToClient()
      return flow.hasAnswer ? .upstreamSent : nil
    case .sendResponse(let body):
      _ = flow.takeToClient()
      meterDown = BodyMeter(body)
      let taken = flow.takeAnswer(within: &meterDown)
      if case .malformed = taken.progress { return .bodyMalformed }
      if meterDown.hasEnded { return .responseBodyEnded }
    case .nextRequest(let keepUpstream):
      _ = flow.takeToClient()
      requests += 1
      isAsked = false
      dialled = []
      if !keepUpstream {
        flow.standingUpstreamEnded()
        isConnected = false
      }
      try countOutcome()
      return flow.hasInput ? .clientSent : nil
    case .close:
      _ = flow.takeToClient()
      hasEnded = true
    }
    return nil
  }

  // MARK: - Invariants

  private func checkVerdict() throws(Violation) {
    guard let target = flow.target else { throw violation("work for an upstream without a target") }
    guard case .allow = flow.client.network.judge(target, nowUnix: conditions.unixSeconds) else {
      if flow.isReportOnly { return }
      throw violation("work for an upstream of a refused target \(target)")
    }
  }

  private func checkAddress(_ address: IPAddress, _ port: UInt16) throws(Violation) {
    guard let target = flow.target, let rule = flow.rule else { throw violation("a connect without a rule") }
    let reason = Screening.check(address, port: port, host: target.host, rule: rule, gate: conditions.gate)
    guard let reason, !(flow.isReportOnly && reason != .loop) else { return }
    throw violation("connects to a refused address \(address): \(reason)")
  }

  /// What leaves parses again as one request to the judged host, without the client's credentials.
  private func checkRequest(_ bytes: [UInt8]) throws(Violation) {
    var head = RequestHead()
    guard case .complete(let length) = head.parse(bytes.span, bytesMax: 1 << 20), length == bytes.count else {
      throw violation("what leaves is not one request head: \(String(decoding: bytes, as: UTF8.self))")
    }
    if head.hasProxyAuthorization { throw violation("Proxy-Authorization leaves") }
    if head.originHost != flow.target { throw violation("another Host leaves than was judged") }
  }

  private mutating func countOutcome() throws(Violation) {
    _ = flow.takeNotice()
    if flow.takeOutcome() != nil { outcomes += 1 }
    if outcomes > requests { throw violation("\(outcomes) outcomes for \(requests) requests") }
  }

  private func checkDeadline() throws(Violation) {
    if !flow.state.isEnded && !hasEnded && flow.deadlineMs == .max { throw violation("no deadline in \(flow.state)") }
  }

  private func violation(_ text: String) -> Violation { Violation(text: text, trace: trace) }
}
