// HTTP/1.1 inside a tunnel: one exchange after the other, each request judged, bodies passed on as they come.
// It relies on Wire for heads, as strictly as for plain HTTP, and on TunnelRequests for the verdict.
import Flow
import Policy
import Wire

/// ```
///   reading ---> waiting (token | approval | filter | body) ---> exchanging (request: body, done)
///      ^ |          |                                    |       (answer:  head, body, done)
///      | +----------+---- refused, and no next one       |
///      |            +--------------------> closing <-----+------------ relaying <--- 101
///      |                                                 |
///      +---------------- both sides done ----------------+---> handingBack   of a plain exchange, which goes on in
///                                                                            the flow
/// ```
final class HTTP1Bridge: Bridge {
  enum State {
    /// The next request's head; since its first byte.
    case reading(sinceMs: UInt64?)
    /// The head is there, and nothing of the request is at the upstream.
    case waiting(Wait)
    case exchanging(RequestStep, AnswerStep)
    case relaying(RelayEnds)
    /// Bytes that were written leave, and nothing else happens.
    case closing
    case handingBack
  }

  enum Wait {
    case token(untilMs: UInt64, sinceMs: UInt64)
    /// A person is asked.
    case approval
    /// A filter asked for time.
    case filter
    /// A filter wants it whole first: see `collected`.
    case body
  }

  enum RequestStep { case body, done }

  enum AnswerStep {
    /// Behind so many interim heads.
    case head(interims: Int)
    /// From when on a pause of the upstream is counted.
    case body(quietSinceMs: UInt64)
    case done
  }

  enum Step {
    case worked
    case idle
    case end(Event)
  }

  static let roundsMax = 16
  static let interimMax = 64

  let client: any PlainStream
  let upstream: (any PlainStream)?
  let buffer: ReadBuffer
  var requests: TunnelRequests
  var state = State.reading(sinceMs: nil)
  var request = RequestHead(defaultPort: 443)
  var response = ResponseHead()
  /// Bytes of the client that no step has used, from the offset on; of the upstream likewise.
  var input = Unread()
  var answer = Unread()
  var up = BodyPipe()
  var down = BodyPipe()
  var filter: (any RequestFilter)?
  var headLength = 0
  /// The form for the current request; it outlives the head, since a refusal can follow an upstream's failure.
  private var refusalForm = RefusalForm()
  var keepsConnection = false
  var hasClientEnded = false
  var deadlineMs = UInt64.max
  var collected: CollectedBody?
  /// Of the request that is under way.
  private(set) var line = RequestLine()
  private var judgedPath: [UInt8]?
  /// The rule that let it out, or had it wait.
  private var judgedBy: AllowRule?

  init(
    client: any PlainStream, upstream: (any PlainStream)?, requests: TunnelRequests, buffer: ReadBuffer,
    input early: [UInt8] = []
  ) {
    if requests.kind == .plain { request = RequestHead() }
    input.append(early.span)
    self.client = client
    self.upstream = upstream
    self.requests = requests
    self.buffer = buffer
  }

  deinit { filter?.ended() }

  func takeOutcomes() -> [Outcome] { requests.takeOutcomes() }

  /// What the client said behind an exchange that is over.
  func takeInput() -> [UInt8] { input.takeAll() }

  func advance(_ tick: Tick) -> TunnelProgress {
    deadlineMs = .max
    defer { checkInvariants() }
    if let step = recheck(tick), case .end(let event) = step { return .event(event) }
    for _ in 0..<Self.roundsMax {
      if !client.flush() { return .event(.clientReset) }
      var step: Step
      switch state {
      case .closing:
        if client.hasPending { return .waiting }
        client.end()
        return .event(.relayEnded)
      case .handingBack: return client.hasPending ? .waiting : .event(.exchangeEnded)
      case .relaying(let ends): step = relay(ends, tick)
      case .reading, .waiting, .exchanging:
        if let upstream, !upstream.flush() {
          step = upstreamBroke(tick)
        } else {
          step = exchange(tick)
        }
      }
      switch step {
      case .worked: continue
      case .idle: return .waiting
      case .end(let event): return .event(event)
      }
    }
    return .again
  }

  private func exchange(_ tick: Tick) -> Step {
    let step: Step =
      switch state {
      case .reading(let sinceMs): readRequestHead(sinceMs, tick)
      case .waiting(.token(let untilMs, _)):
        tick.nowMs >= untilMs || tick.rule !== judgedBy ? judgeRequest(tick) : wait(untilMs: untilMs)
      case .waiting(.approval): client.hasPeerEnded ? .end(.clientReset) : judgeRequest(tick)
      case .waiting(.filter): judgedBy === tick.rule ? awaitPerson() ?? offerAgain(tick) : offerAgain(tick)
      case .waiting(.body): collect(tick)
      case .exchanging(.body, _): moveRequestBody(tick)
      case .exchanging(.done, _): watchClient()
      case .relaying, .closing, .handingBack: .idle
      }
    guard case .idle = step else { return step }
    return switch state {
    case .reading, .waiting: watchUpstream(tick)
    case .exchanging(_, .head(let interims)): readAnswerHead(interims, tick)
    case .exchanging(_, .body(let quietSinceMs)): moveAnswerBody(quietSinceMs, tick)
    case .exchanging(_, .done): finishExchange(tick)
    case .relaying, .closing, .handingBack: .idle
    }
  }

  private func requestIsOut() {
    if case .exchanging(_, let answer) = state { state = .exchanging(.done, answer) }
  }

  func answerIs(at step: AnswerStep) {
    if case .exchanging(let request, _) = state { state = .exchanging(request, step) }
  }

  /// Of debug builds.
  private func checkInvariants() {
    switch state {
    case .reading: assert(filter == nil && collected == nil && !down.holdsHead, "a next request has its own beginning")
    case .waiting(.body): assert(collected != nil, "a body that is waited for is kept")
    case .exchanging(_, .body): assert(collected == nil, "what was kept is out")
    case .exchanging: assert(collected == nil && !down.holdsHead, "a head is held in front of its body alone")
    case .waiting, .relaying, .closing, .handingBack: break
    }
  }

  var isOneRequest: Bool { requests.kind == .plain }

  func wait(untilMs: UInt64) -> Step {
    deadlineMs = min(deadlineMs, untilMs)
    return .idle
  }

  // MARK: - The request

  private func readRequestHead(_ sinceMs: UInt64?, _ tick: Tick) -> Step {
    guard !client.hasPending else { return .idle }
    if let sinceMs, tick.nowMs >= sinceMs + tick.headMs {
      return refuse(requests.refuse(.timeout, tick, detail: "The request's head did not come to its end"))
    }
    if input.isEmpty || request.isPartlyRead {
      guard client.isReadable else { return sinceMs.map { wait(untilMs: $0 + tick.headMs) } ?? .idle }
      switch buffer.read(from: client) {
      case .bytes(let count): buffer.withBytes(0..<count) { input.append($0) }
      case .blocked: return .idle
      case .ended, .truncated: return clientLeft()
      case .failed: return .end(.clientReset)
      }
    }
    if sinceMs == nil {
      state = .reading(sinceMs: tick.nowMs)
      input.compact()
      requests.beginRequest()
    }
    switch input.parse({ request.parse($0, bytesMax: tick.headBytesMax) }) {
    case .incomplete: return .worked
    case .malformed(let problem):
      return refuse(requests.refuse(.badRequest, tick, detail: "\(problem)", isHeadTooLarge: problem.isTooLarge))
    case .complete(let length):
      headLength = length
      input.parse { bytes in
        line.keep(request, in: bytes)
        refusalForm = RefusalForm(request, in: bytes)
      }
      return judgeRequest(tick)
    }
  }

  /// Between two requests that is how a connection ends.
  private func clientLeft() -> Step {
    hasClientEnded = true
    return .end(.relayEnded)
  }

  private func judgeRequest(_ tick: Tick, _ payment: JudgedRequest.Payment = .due) -> Step {
    switch request.form {
    case .origin, .asterisk: break
    case .absolute where isOneRequest: break
    case .connect, .absolute:
      return refuse(requests.refuse(.badRequest, tick, detail: "Inside a tunnel ask for /PATH, with Host"))
    }
    var pacedSinceMs: UInt64?
    if case .waiting(.token(_, let sinceMs)) = state { pacedSinceMs = sinceMs }
    let verdict = requests.judge(
      line, named: request.originHost, pacedSinceMs: pacedSinceMs, ordinal: requests.ordinal,
      tick, isOneRequest ? .paid : payment)
    if case .waiting(.approval) = state { tick.approvals?.settle(verdict, ordinal: requests.ordinal) }
    switch verdict {
    case .allow(let path):
      judgedPath = path
      if judgedBy !== tick.rule { filter?.ruleChanged(to: tick.rule) }
      if filter == nil || judgedBy !== tick.rule && tick.rule.map({ filter?.keeps(under: $0) }) != true {
        endFilter()
        filter = tick.rule.flatMap { tick.filter(for: $0, requests) }
      }
      judgedBy = tick.rule
      return offerHead(tick)
    case .refuse: return refuse(verdict)
    case .pace(let untilMs):
      judgedBy = tick.rule
      state = .waiting(.token(untilMs: untilMs, sinceMs: pacedSinceMs ?? tick.nowMs))
      return wait(untilMs: untilMs)
    case .await(let untilMs):
      state = .waiting(.approval)
      return client.hasPeerEnded ? .end(.clientReset) : wait(untilMs: untilMs)
    }
  }

  /// A request that waited is held to the policy, the clock, the log and the drain of the moment at which it leaves.
  func offerAgain(_ tick: Tick) -> Step { judgeRequest(tick, .paid) }

  /// For a WebSocket too.
  private func recheck(_ tick: Tick) -> Step? {
    guard isUnderWay, let judgedBy, judgedBy !== tick.rule else { return nil }
    self.judgedBy = tick.rule
    filter?.ruleChanged(to: tick.rule)
    // The flow holds its own request to the policy.
    guard !isOneRequest, requests.recheck(line, ordinal: requests.ordinal, tick) != nil else { return nil }
    return .end(.clientReset)
  }

  /// Something of the request is at the upstream.
  private var isUnderWay: Bool {
    switch state {
    case .exchanging, .relaying: true
    case .reading, .waiting, .closing, .handingBack: false
    }
  }

  /// The head goes out, changed by the filter where there is one.
  private func offerHead(_ tick: Tick) -> Step {
    guard let upstream else { return .end(.relayEnded) }
    // RFC 9112 section 9.2: what it said unasked would be taken for the answer to this request.
    if case .worked = watchUpstream(tick) { return .worked }
    var out: [UInt8] = []
    let write = { (bytes: Span<UInt8>) in
      self.request.writeUpstream(from: bytes, to: self.requests.target, judgedPath: self.judgedPath, into: &out)
    }
    if let collected { write(collected.head.span) } else { input.parse(write) }
    var body = request.body
    if let filter {
      var head = MessageHead(http1: out)
      head.body = collected?.bytes
      switch filter.requestHead(&head, hasBody: body != .none) {
      case .pass: break
      case .refuse(let reason, let detail): return refuse(requests.refuse(reason, tick, line: line, detail: detail))
      case .wait, .end:
        state = .waiting(.filter)
        return awaitPerson() ?? .idle
      case .collect(let bytesMax): return beginCollecting(bytesMax: bytesMax)
      }
      if collected != nil { return sendCollected(head) }
      let rewritesLength = filter.changesRequestLength && body != .none
      if rewritesLength { head.frameAsChunks() }
      out.removeAll(keepingCapacity: true)
      guard head.appendHTTP1(to: &out) else {
        return refuse(requests.malformedHead(tick, line: line))
      }
      up = BodyPipe(body, writesChunks: rewritesLength || body == .chunked)
      if rewritesLength { body = .chunked }
    } else if collected != nil {
      return sendCollected(MessageHead(http1: out))
    } else {
      up = BodyPipe(body)
    }
    guard upstream.write(out) else { return upstreamBroke(tick) }
    input.drop(headLength)
    response = ResponseHead()
    state = .exchanging(body == .none ? .done : .body, .head(interims: 0))
    return .worked
  }

  /// Head and body at once; the body is framed by its length.
  private func sendCollected(_ head: MessageHead) -> Step {
    var head = head
    for name in ["content-length", "transfer-encoding", "expect"] as [StaticString] { head.remove(name) }
    let body = collected?.bytes ?? []
    head.fields.append(
      MessageHead.Field(name: Array("content-length".utf8), value: Array("\(body.count)".utf8)))
    var out: [UInt8] = []
    guard head.appendHTTP1(to: &out), let upstream, upstream.write(out + body) else { return .end(.upstreamReset) }
    collected = nil
    response = ResponseHead()
    state = .exchanging(.done, .head(interims: 0))
    return .worked
  }

  private func moveRequestBody(_ tick: Tick) -> Step {
    guard let upstream else { return .end(.relayEnded) }
    guard !up.hasEnded else {
      requestIsOut()
      return .worked
    }
    guard !upstream.isFull else { return .idle }
    let filtering: BodyPipe.Filter? = filter.map(BodyPipe.Filter.request)
    let step: BodyPipe.Step
    if let filtering, up.isHeld {
      if let step = awaitPerson() { return step }
      step = up.ask(upstream, filtering)
      if case .held = step { return .idle }
      if case .more = step { return .worked }
    } else {
      if let step = fillInput(tick) { return step }
      step = input.parse { bytes in
        filtering.map { up.pass(bytes, to: upstream, $0) } ?? up.pass(bytes, to: upstream)
      }
    }
    switch step {
    case .more: input.drop(.max)
    case .held(let count):
      input.drop(count)
      return awaitPerson() ?? .idle
    case .ended(let count):
      input.drop(count)
      requestIsOut()
    // A request does not end before its end.
    case .malformed, .cutShort:
      return refuseMidway(.badRequest, "The framing of the body is broken", tick)
    case .refused(let reason, let detail): return refuseMidway(reason, detail, tick)
    case .sinkBroke: return upstreamBroke(tick)
    }
    return .worked
  }

  /// Reads on in the client's body, as far as its rate goes; nil: there is something to use.
  func fillInput(_ tick: Tick) -> Step? {
    guard input.isEmpty else { return nil }
    guard client.isReadable else { return .idle }
    switch buffer.read(from: client) {
    case .bytes(let count):
      buffer.withBytes(0..<count) { input.append($0) }
      return nil
    case .blocked: return .idle
    case .ended, .truncated, .failed: return .end(.clientReset)
    }
  }

  /// A part of the body is out: the upstream must not take it for the whole.
  private func refuseMidway(_ reason: Reason, _ detail: String?, _ tick: Tick) -> Step {
    let verdict = requests.refuse(reason, tick, line: line, detail: detail)
    switch state {
    case .exchanging(_, .body) where !down.holdsHead, .exchanging(_, .done): return .end(.clientReset)
    default: return refuse(verdict)
    }
  }

  /// The request is out: what the client sends now waits, but its end is heard.
  private func watchClient() -> Step {
    guard client.hasPeerEnded, client.isReadable, !hasClientEnded, input.count < ReadBuffer.byteCount else {
      return .idle
    }
    switch buffer.read(from: client) {
    case .bytes(let count):
      buffer.withBytes(0..<count) { input.append($0) }
      return .worked
    case .blocked: return .idle
    case .ended, .truncated:
      // The client may wait for the answer all the same.
      hasClientEnded = true
      return .idle
    case .failed: return .end(.clientReset)
    }
  }

  // MARK: - Refusals

  /// Says it, and goes on where the next request can be told from this one.
  func refuse(_ verdict: RequestVerdict) -> Step {
    guard case .refuse(let refused) = verdict else { return .idle }
    var refusal = refused.refusal
    let isHeadWhole = headLength > 0
    let mayGoOn =
      isHeadWhole && request.body == .none && request.keepAlive && requests.standing == nil
      && refusal.reason.keepsConnection
    refusal.closes = !mayGoOn
    refusal.isToHEAD = (isHeadWhole || isUnderWay) && request.isHEAD
    refusal.form = refusalForm
    var reply: [UInt8] = []
    refusal.write(into: &reply)
    endFilter()
    guard client.writeOwn(reply) else { return .end(.clientReset) }
    guard mayGoOn else {
      state = .closing
      return .worked
    }
    input.drop(headLength)
    return endExchange()
  }

  func endFilter() {
    filter?.ended()
    filter = nil
  }

  /// The next request follows on this connection; behind a plain exchange, the flow reads it.
  func endExchange() -> Step {
    beginNext()
    if isOneRequest { state = .handingBack }
    return .worked
  }

  func beginNext() {
    endFilter()
    headLength = 0
    judgedPath = nil
    refusalForm = RefusalForm()
    collected = nil
    (up, down) = (BodyPipe(), BodyPipe())
    state = .reading(sinceMs: nil)
  }

  /// What an upstream that went away leaves its client with.
  func upstreamBroke(_ tick: Tick, _ detail: String? = nil) -> Step {
    switch state {
    case .reading, .waiting:
      // Whoever asks next hears why, in place of an end without a word.
      if let problem = upstream?.problem, requests.ordinal == 0, input.isEmpty { return .end(.upstreamFailed(problem)) }
      // Nothing was asked of it: the client may ask again on a new connection.
      state = .closing
      return .worked
    case .exchanging(_, .head),
      .exchanging(_, .body) where down.holdsHead:
      return refuse(requests.noAnswer(tick, line: line, detail: upstream?.problem ?? detail))
    case .exchanging, .relaying, .closing, .handingBack:
      _ = requests.noAnswer(tick, line: line, detail: detail)
      return .end(.upstreamReset)
    }
  }
}
