// The answer's way back in HTTP/1.1, and what follows a 101.
// It relies on HTTP1Bridge for the state; an answer's framing is trusted as little as a request's.
import Flow
import Policy
import Wire

extension HTTP1Bridge {
  /// nil where no person is asked. Who shuts down its sending side meanwhile is taken for one that has left.
  func awaitPerson() -> Step? {
    guard let untilMs = filter?.awaitsPersonUntilMs() else { return nil }
    return client.hasPeerEnded || hasClientEnded ? .end(.clientReset) : wait(untilMs: untilMs)
  }

  /// Nothing was asked of it: whatever it says, it will not serve the next request.
  func watchUpstream(_ tick: Tick) -> Step {
    guard let upstream, upstream.isReadable else { return .idle }
    switch buffer.read(from: upstream) {
    case .blocked: return .idle
    case .bytes, .ended, .truncated, .failed:
      // A request that is being read was not asked of it either.
      state = .closing
      return .worked
    }
  }

  func readAnswerHead(_ interims: Int, _ tick: Tick) -> Step {
    guard let upstream, !client.hasPending else { return .idle }
    if answer.isEmpty || response.isPartlyRead {
      guard upstream.isReadable else { return .idle }
      switch buffer.read(from: upstream) {
      case .bytes(let count): buffer.withBytes(0..<count) { answer.append($0) }
      case .blocked: return .idle
      case .ended, .truncated, .failed: return upstreamBroke(tick)
      }
    }
    if !response.isPartlyRead { answer.compact() }
    switch answer.parse({ response.parse($0, bytesMax: tick.headBytesMax) }) {
    case .incomplete: return .worked
    case .malformed(let problem): return upstreamBroke(tick, "Its answer is malformed: \(problem)")
    case .complete(let length):
      if response.isInterim { return passInterim(length, interims, tick) }
      return beginAnswer(length, tick)
    }
  }

  private func passInterim(_ length: Int, _ interims: Int, _ tick: Tick) -> Step {
    guard interims < Self.interimMax else { return upstreamBroke(tick) }
    answerIs(at: .head(interims: interims + 1))
    if request.minorVersion > 0 {
      var out = answerHead(keepAlive: true)
      if let filter {
        var head = MessageHead(http1: out)
        filter.interimHead(&head)
        out.removeAll(keepingCapacity: true)
        guard head.appendHTTP1(to: &out) else { return upstreamBroke(tick) }
      }
      guard client.write(out) else { return .end(.clientReset) }
    }
    answer.drop(length)
    response = ResponseHead()
    return .worked
  }

  private func beginAnswer(_ length: Int, _ tick: Tick) -> Step {
    let isUpgrade = response.isWebSocketUpgrade
    if response.status == 101 && !(isUpgrade && request.upgradesToWebSocket) { return upstreamBroke(tick) }
    let body = isUpgrade ? BodyLength.none : response.body(toHEAD: request.isHEAD)
    // A 1.0 client cannot read chunks.
    if case .chunked = body, request.minorVersion == 0 { return upstreamBroke(tick) }
    var isRequestDone = false
    if case .exchanging(.done, _) = state { isRequestDone = true }
    keepsConnection =
      response.keepAlive && body != .untilClose && request.keepAlive && !hasClientEnded && !tick.isDraining
      && isRequestDone
    if let filter, !isUpgrade {
      if let step = filterAnswerHead(filter, body, tick) { return step }
      answer.drop(length)
      answerIs(at: body == .none ? .done : .body(quietSinceMs: tick.nowMs))
      return .worked
    }
    down = BodyPipe(body)
    var out = answerHead(keepAlive: keepsConnection || isUpgrade)
    answer.drop(length)
    if isUpgrade {
      state = .relaying(RelayEnds())
      if let filter, !filterUpgrade(filter, &out) { return upstreamBroke(tick) }
    } else {
      answerIs(at: body == .none ? .done : .body(quietSinceMs: tick.nowMs))
      if body != .none, !takeFirstOfBody(into: &out) {
        // The answer's head has not gone: the client is told what is wrong.
        answerIs(at: .head(interims: 0))
        return upstreamBroke(tick, "Its answer is malformed: the chunks of its body (RFC 9112 section 7.1)")
      }
    }
    return client.write(out) ? .worked : .end(.clientReset)
  }

  /// False: what the filter made of it is no head.
  private func filterUpgrade(_ filter: any RequestFilter, _ out: inout [UInt8]) -> Bool {
    var head = MessageHead(http1: out)
    guard case .pass = filter.answerHead(&head, hasBody: false) else { return false }
    if !filter.watchesRelay { endFilter() }
    out.removeAll(keepingCapacity: true)
    return head.appendHTTP1(to: &out)
  }

  private func answerHead(keepAlive: Bool) -> [UInt8] {
    var out: [UInt8] = []
    answer.parse {
      response.writeDownstream(
        from: $0, keepAlive: keepAlive, toMinorVersion: request.minorVersion, toHEAD: request.isHEAD, into: &out)
    }
    return out
  }

  /// What came behind the head goes out with it, in one record and one call. False: it is malformed.
  private func takeFirstOfBody(into out: inout [UInt8]) -> Bool {
    guard !answer.isEmpty else { return true }
    switch answer.parse({ down.pass($0, into: &out) }) {
    case .more: answer.drop(.max)
    case .ended(let count):
      answer.drop(count)
      answerIs(at: .done)
    default: return false
    }
    return true
  }

  private func filterAnswerHead(_ filter: any RequestFilter, _ body: BodyLength, _ tick: Tick) -> Step? {
    var out: [UInt8] = []
    answer.parse {
      response.writeDownstream(
        from: $0, keepAlive: keepsConnection, toMinorVersion: request.minorVersion, toHEAD: request.isHEAD, into: &out)
    }
    var head = MessageHead(http1: out)
    if case .refuse(let reason, let detail) = filter.answerHead(&head, hasBody: body != .none) {
      keepsConnection = false
      headLength = 0
      return refuse(requests.refuse(reason, tick, line: line, detail: detail))
    }
    if filter.holdsAnswerHead, body != .none {
      if filter.changesAnswerLength, request.minorVersion == 0 { keepsConnection = false }
      let mayChunk = request.minorVersion > 0 && body != .untilClose
      down = BodyPipe(body) {
        filter.answerHeadLeaves(&head)
        // Trailers may follow.
        if body == .chunked { head.remove("content-length") }
        let writesChunks = head["content-length"] == nil && mayChunk
        if writesChunks { head.frameAsChunks() } else { head.remove("transfer-encoding") }
        var out: [UInt8] = []
        return head.appendHTTP1(to: &out) ? (out, writesChunks) : nil
      }
      return nil
    }
    var writesChunks = body == .chunked
    if filter.changesAnswerLength, body != .none, body != .untilClose {
      if request.minorVersion > 0 {
        head.frameAsChunks()
        writesChunks = true
      } else {
        head.remove("content-length")
        keepsConnection = false
      }
    }
    down = BodyPipe(body, writesChunks: writesChunks)
    out.removeAll(keepingCapacity: true)
    guard head.appendHTTP1(to: &out) else {
      _ = requests.noAnswer(tick, line: line)
      return .end(.upstreamReset)
    }
    return client.write(out) ? nil : .end(.clientReset)
  }

  func moveAnswerBody(_ quietSinceMs: UInt64, _ tick: Tick) -> Step {
    guard let upstream else { return .end(.relayEnded) }
    let filtering: BodyPipe.Filter? = filter.map(BodyPipe.Filter.answer)
    guard !down.hasEnded else {
      // A body of no bytes: the head that waits for them goes out all the same.
      if down.holdsHead, let end = down.end(to: client, filtering) { return ended(end, tick) }
      answerIs(at: .done)
      return .worked
    }
    guard !client.isFull else { return .idle }
    if let filtering, down.isHeld {
      if let step = awaitPerson() { return step }
      let step = down.ask(client, filtering)
      switch step {
      case .held: return awaitPerson() ?? .idle
      case .more: return .worked
      case .ended:
        answerIs(at: .done)
        return .worked
      default: return ended(step, tick)
      }
    }
    if answer.isEmpty {
      guard upstream.isReadable else { return paused(quietSinceMs, tick) }
      switch buffer.read(from: upstream) {
      case .bytes(let count): return pass(count, filtering, tick)
      case .blocked: return paused(quietSinceMs, tick)
      case .ended where down.endsWithConnection:
        keepsConnection = false
        if let end = down.end(to: client, filtering) { return ended(end, tick) }
        answerIs(at: .done)
        return .worked
      // Without a close_notify, what lasts until the end may have been cut short by anyone.
      case .ended, .truncated, .failed: return upstreamBroke(tick)
      }
    }
    let step = answer.parse { bytes in
      filtering.map { down.pass(bytes, to: client, $0) } ?? down.pass(bytes, to: client)
    }
    switch step {
    case .more: answer.drop(.max)
    case .held(let count): answer.drop(count)
    case .ended(let count):
      answer.drop(count)
      answerIs(at: .done)
    default: return ended(step, tick)
    }
    return .worked
  }

  /// Nothing has come: a filter that holds the answer back does so for a bounded time.
  private func paused(_ quietSinceMs: UInt64, _ tick: Tick) -> Step {
    guard let filter, let pauseMs = filter.answerPauseMs else { return .idle }
    guard tick.nowMs >= quietSinceMs + pauseMs else { return wait(untilMs: quietSinceMs + pauseMs) }
    let step = down.pause(client, BodyPipe.Filter(body: { chunk, _ in filter.answerPaused(&chunk) }))
    if case .more = step { return .worked }
    return ended(step, tick)
  }

  /// The usual case: what was read goes out of the buffer that it was read into.
  private func pass(_ count: Int, _ filtering: BodyPipe.Filter?, _ tick: Tick) -> Step {
    // A head that is held leaves so long after it came; what is held of a body, so long after its last bytes.
    if !down.holdsHead { answerIs(at: .body(quietSinceMs: tick.nowMs)) }
    let step = buffer.withBytes(0..<count) { bytes in
      filtering.map { down.pass(bytes, to: client, $0) } ?? down.pass(bytes, to: client)
    }
    switch step {
    case .more: return .worked
    case .held(let used):
      if used < count { buffer.withBytes(used..<count) { answer.append($0) } }
      return .worked
    case .ended(let used):
      if used < count { buffer.withBytes(used..<count) { answer.append($0) } }
      answerIs(at: .done)
      return .worked
    default: return ended(step, tick)
    }
  }

  private func ended(_ step: BodyPipe.Step, _ tick: Tick) -> Step {
    switch step {
    case .sinkBroke: return .end(.clientReset)
    case .held: return awaitPerson() ?? .idle
    case .cutShort:
      // The rest of it would have to be read to reach the next answer.
      endFilter()
      state = .closing
      return .worked
    case .refused(let reason, let detail):
      let verdict = requests.refuse(reason, tick, line: line, detail: detail)
      guard down.holdsHead else { return .end(.clientReset) }
      // What is left of the answer stands where the next one would.
      headLength = 0
      return refuse(verdict)
    default: return upstreamBroke(tick)
    }
  }

  func finishExchange(_ tick: Tick) -> Step {
    guard keepsConnection, answer.isEmpty, case .exchanging(.done, _) = state else {
      state = .closing
      return .worked
    }
    return endExchange()
  }

  // MARK: - WebSocket

  struct RelayEnds {
    var client = false
    var upstream = false
  }

  /// Bytes both ways, as they come.
  func relay(_ before: RelayEnds, _ tick: Tick) -> Step {
    guard let upstream else { return .end(.relayEnded) }
    guard upstream.flush() else { return .end(.upstreamReset) }
    let one = move(from: client, &input, to: upstream, tick)
    let other = move(from: upstream, &answer, to: client, tick)
    for step in [one, other] { if case .end(.relayEnded) = step { continue } else if case .end = step { return step } }
    var ends = before
    if case .end = one { ends.client = true }
    if case .end = other { ends.upstream = true }
    state = .relaying(ends)
    if ends.client || ends.upstream {
      if client.hasPending || upstream.hasPending { return .idle }
      upstream.end()
      state = .closing
      return .worked
    }
    if case .worked = one { return .worked }
    return other
  }

  /// TLS ends both directions at once in practice: the end of one side is the end.
  private func move(
    from source: any PlainStream, _ early: inout Unread, to sink: any PlainStream, _ tick: Tick
  ) -> Step {
    guard !sink.isFull else { return .idle }
    let broke = Step.end(sink === client ? .clientReset : .upstreamReset)
    if !early.isEmpty {
      let end = early.parse { carry($0, from: source, to: sink, tick, broke) }
      early.drop(.max)
      return end ?? .worked
    }
    guard source.isReadable else { return .idle }
    switch buffer.read(from: source) {
    case .bytes(let count):
      if filter == nil { return buffer.write(0..<count, to: sink) ? .worked : broke }
      return buffer.withBytes(0..<count) { carry($0, from: source, to: sink, tick, broke) } ?? .worked
    case .blocked: return .idle
    case .ended: return .end(.relayEnded)
    case .truncated, .failed: return .end(source === client ? .clientReset : .upstreamReset)
    }
  }
}

extension HTTP1Bridge {
  /// Bytes of one side on their way to the other, through a filter that watches them; nil: they have gone on.
  private func carry(
    _ bytes: Span<UInt8>, from source: any PlainStream, to sink: any PlainStream, _ tick: Tick, _ broke: Step
  ) -> Step? {
    guard let filter else { return sink.write(bytes) ? nil : broke }
    var chunk: [UInt8] = []
    chunk.append(bytes)
    if case .refuse(let reason, let detail) = filter.relayed(&chunk, fromClient: source === client) {
      _ = requests.refuse(reason, tick, line: line, detail: detail)
      return .end(.clientReset)
    }
    return chunk.isEmpty || sink.write(chunk) ? nil : broke
  }
}

extension MessageHead {
  /// The length that was announced need not be the one that comes out.
  mutating func frameAsChunks() {
    remove("content-length")
    remove("transfer-encoding")
    fields.append(Field(name: Array("transfer-encoding".utf8), value: Array("chunked".utf8)))
  }
}
