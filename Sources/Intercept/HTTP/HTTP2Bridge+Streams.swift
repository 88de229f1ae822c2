// One stream's way through the bridge: its head judged and passed on, its bodies, its trailers, its end.
// It relies on HTTP2Bridge for the two sessions; nothing here blocks or calls a session's `pump`.
import CNGHTTP2
import Flow
import Policy
import Wire

extension HTTP2Bridge: HTTP2Events {
  func headCame(_ session: HTTP2Session, _ id: Int32, isRequest: Bool, endsStream: Bool) {
    if session.isServer {
      if isRequest { requestCame(id, endsStream: endsStream) } else { trailersCame(from: session, id) }
    } else if let stream = byUpstream[id] {
      if stream.hasFinalHead { trailersCame(from: session, id) } else { answerCame(stream, endsStream: endsStream) }
    }
  }

  // MARK: - Requests

  private func requestCame(_ id: Int32, endsStream: Bool) {
    requests.beginRequest()
    let stream = HTTP2Stream(clientID: id, ordinal: requests.ordinal)
    byClient[id] = stream
    stream.up.isEnded = endsStream
    stream.isHEAD = server.block.withValue(.method) { $0.isText("HEAD") }
    if server.block.isTooLarge {
      let detail = "\(HeadProblem.tooLarge(bytesMax: tick.headBytesMax))"
      return refuse(stream, requests.refuse(.badRequest, tick, detail: detail, isHeadTooLarge: true))
    }
    begin(stream, server.block, endsStream: endsStream, .due)
  }

  func begin(_ stream: HTTP2Stream, _ block: FieldBlock, endsStream: Bool, _ payment: JudgedRequest.Payment) {
    var method = block.value(.method) ?? []
    if method.span.isText("CONNECT") {
      // RFC 8441: it is the GET of an upgrade in HTTP/1.1, and is judged as that.
      guard block.withValue(.connectProtocol, { $0.isText("websocket") }), upstream?.peerTakesProtocols != false else {
        return refuse(
          stream,
          requests.refuse(
            .badRequest, tick, ordinal: stream.ordinal, detail: "No CONNECT inside a tunnel, but for a WebSocket"))
      }
      method = Array("GET".utf8)
    }
    var overrides = MethodOverrides()
    block.forEachField { name, value, _ in
      overrides.note(name: name, value: value)
      stream.refusalForm.note(name: name, value: value)
    }
    block.withValue(.path) { stream.line.keep(method: method.span, path: $0, overrides: overrides) }
    let verdict = requests.judge(
      stream.line, named: named(block), pacedSinceMs: stream.pacedSinceMs, ordinal: stream.ordinal, tick, payment)
    if stream.isAwaiting { tick.approvals?.settle(verdict, ordinal: stream.ordinal) }
    stream.isAwaiting = false
    switch verdict {
    case .refuse: refuse(stream, verdict)
    case .await(let untilMs):
      stream.isAwaiting = true
      wait(stream, block, endsStream: endsStream, untilMs: untilMs)
    case .pace(let untilMs):
      stream.pacedSinceMs = stream.pacedSinceMs ?? tick.nowMs
      stream.judgedBy = tick.rule
      wait(stream, block, endsStream: endsStream, untilMs: untilMs)
    case .allow(let path):
      stream.isPaid = true
      if stream.judgedBy !== tick.rule { stream.filter?.ruleChanged(to: tick.rule) }
      if stream.filter == nil
        || stream.judgedBy !== tick.rule && tick.rule.map({ stream.filter?.keeps(under: $0) }) != true
      {
        stream.endFilter()
        stream.filter = tick.rule.flatMap { tick.filter(for: $0, requests) }
      }
      stream.judgedBy = tick.rule
      var block = block
      if let path { block.set(.path, path) }
      offer(stream, block, endsStream: endsStream)
    }
  }

  /// What the request says its target is; nil where it says two, or none.
  private func named(_ block: FieldBlock) -> Target? {
    guard block.count(.authority) + block.count(.host) > 0, block.count(.host) <= 1 else { return nil }
    func target(_ kind: FieldBlock.Kind) -> Target? {
      // An authority that cannot be read names no target.
      block.withValue(kind) { try? Authority.parse($0, defaultPort: 443) }
    }
    guard block.count(.authority) > 0 else { return target(.host) }
    let named = target(.authority)
    return block.count(.host) == 0 || target(.host) == named ? named : nil
  }

  /// The head goes out, changed by the filter where there is one.
  func offer(_ stream: HTTP2Stream, _ judged: FieldBlock, endsStream: Bool) {
    var block = judged
    if let filter = stream.filter {
      var head = block.head
      switch filter.requestHead(&head, hasBody: !endsStream) {
      case .pass: break
      case .refuse(let reason, let detail):
        return refuse(stream, requests.refuse(reason, tick, line: stream.line, ordinal: stream.ordinal, detail: detail))
      // Asked again when the session gets its next turn.
      case .wait, .end:
        if let untilMs = filter.awaitsPersonUntilMs() { deadlineMs = min(deadlineMs, untilMs) }
        return wait(stream, judged, endsStream: endsStream, untilMs: tick.nowMs)
      case .collect:
        return refuse(
          stream,
          requests.refuse(
            .badRequest, tick, line: stream.line, ordinal: stream.ordinal,
            detail: "Its body has to be there whole to be signed; over HTTP/2 the gate keeps none: use HTTP/1.1"))
      }
      if filter.changesRequestLength, !endsStream { head.remove("content-length") }
      guard block.take(head) else {
        return refuse(stream, requests.malformedHead(tick, line: stream.line, ordinal: stream.ordinal))
      }
    }
    let authority = authorityText
    block.drop(.host)
    if block.count(.authority) > 0 {
      block.set(.authority, authority)
    } else {
      block.append(":authority", authority, isFirst: true)
    }
    block.set(.scheme, Array("https".utf8))
    block.append("via", Array("2 sluice".utf8))
    guard let upstream, let id = upstream.request(block, hasBody: !endsStream) else {
      return server.reset(stream.clientID, code: NGHTTP2_REFUSED_STREAM.rawValue)
    }
    stream.upstreamID = id
    byUpstream[id] = stream
    passEarly(stream)
  }

  private var authorityText: [UInt8] {
    var text: [UInt8] = []
    if requests.target.port == 443 { requests.target.host.append(to: &text) } else { requests.target.append(to: &text) }
    return text
  }

  /// Answers the stream here; what its body still brings is dropped.
  func refuse(_ stream: HTTP2Stream, _ verdict: RequestVerdict) {
    guard case .refuse(let refused) = verdict else { return }
    var refusal = refused.refusal
    refusal.isToHEAD = stream.isHEAD
    refusal.form = stream.refusalForm
    let (status, fields, body) = refusal.message
    var block = FieldBlock()
    block.append(":status", Array("\(status)".utf8))
    for field in fields { block.append(Array(field.name.utf8), Array(field.value.utf8), isSensitive: false) }
    stream.isRefused = true
    stream.endFilter()
    server.giveBack(stream.up.discard(), stream.clientID)
    upstream?.giveBack(stream.down.discard(), stream.upstreamID)
    if stream.upstreamID != 0, byUpstream.removeValue(forKey: stream.upstreamID) != nil {
      upstream?.reset(stream.upstreamID, code: NGHTTP2_CANCEL.rawValue)
    }
    server.tls.exempt(body.count)
    stream.down.append(body)
    stream.down.isEnded = true
    _ = server.respond(stream.clientID, block, hasBody: !body.isEmpty)
    if requests.standing != nil { leave() }
  }

  // MARK: - Answers

  private func answerCame(_ stream: HTTP2Stream, endsStream: Bool) {
    guard let upstream else { return }
    var block = upstream.block
    block.dropOurs()
    block.append("via", Array("2 sluice".utf8))
    if block.isTooLarge { return answerBroke(stream) }
    guard block.status >= 200 else {
      stream.interimHeads += 1
      guard stream.interimHeads <= Self.interimMax, block.status != 101 else { return answerBroke(stream) }
      if let filter = stream.filter {
        var head = block.head
        filter.interimHead(&head)
        guard block.take(head) else { return answerBroke(stream) }
      }
      _ = server.interim(stream.clientID, block)
      return
    }
    if let filter = stream.filter {
      var head = block.head
      if case .refuse(let reason, let detail) = filter.answerHead(&head, hasBody: !endsStream) {
        return refuse(stream, requests.refuse(reason, tick, line: stream.line, ordinal: stream.ordinal, detail: detail))
      }
      let isHeld = filter.holdsAnswerHead && !endsStream
      if filter.changesAnswerLength, !endsStream, !isHeld { head.remove("content-length") }
      guard block.take(head) else { return answerBroke(stream) }
      if isHeld {
        stream.hasFinalHead = true
        stream.heldHead = block
        if let pauseMs = filter.answerPauseMs {
          stream.pauseEndsMs = tick.nowMs + pauseMs
          pausing.append(stream)
        }
        return
      }
    }
    stream.hasFinalHead = true
    stream.down.isEnded = endsStream
    _ = server.respond(stream.clientID, block, hasBody: !endsStream)
  }

  func answerBroke(_ stream: HTTP2Stream) {
    refuse(stream, requests.noAnswer(tick, line: stream.line, ordinal: stream.ordinal))
  }

  // MARK: - Bodies

  func dataCame(_ session: HTTP2Session, _ id: Int32, _ bytes: UnsafeBufferPointer<UInt8>) {
    guard let stream = session.isServer ? byClient[id] : byUpstream[id], !stream.isRefused else {
      return session.giveBack(bytes.count, id)
    }
    if session.isServer { stream.up.owe(bytes.count) } else { stream.down.owe(bytes.count) }
    if stream.filter != nil || session.isServer && stream.waiting != nil {
      return filter(stream, isUp: session.isServer, unsafe Array(bytes), isLast: false)
    }
    if session.isServer {
      unsafe stream.up.append(bytes)
      wakeUp(stream)
    } else {
      unsafe stream.down.append(bytes)
      wakeDown(stream)
    }
  }

  func bodyEnded(_ session: HTTP2Session, _ id: Int32) {
    guard let stream = session.isServer ? byClient[id] : byUpstream[id] else { return }
    if stream.isRefused {
      stream.up.isEnded = stream.up.isEnded || session.isServer
      return
    }
    endBody(of: stream, isUp: session.isServer)
  }

  private func trailersCame(from session: HTTP2Session, _ id: Int32) {
    guard let stream = session.isServer ? byClient[id] : byUpstream[id], !stream.isRefused else { return }
    var trailers = session.block
    if !session.isServer {
      trailers.dropOurs()
      if let filter = stream.filter {
        var head = trailers.head
        filter.answerTrailers(&head)
        if !trailers.take(head) { return answerBroke(stream) }
      }
    }
    if session.isServer { stream.up.trailers = trailers } else { stream.down.trailers = trailers }
    endBody(of: stream, isUp: session.isServer)
  }

  private func endBody(of stream: HTTP2Stream, isUp: Bool) {
    if stream.filter != nil || isUp && stream.waiting != nil { return filter(stream, isUp: isUp, [], isLast: true) }
    if isUp {
      stream.up.isEnded = true
      wakeUp(stream)
    } else {
      stream.down.isEnded = true
      wakeDown(stream)
    }
  }

  func refuseMidway(_ stream: HTTP2Stream, _ reason: Reason, _ detail: String?) {
    cut(stream, requests.refuse(reason, tick, line: stream.line, ordinal: stream.ordinal, detail: detail))
  }

  /// Ends a stream of which something has gone out.
  func cut(_ stream: HTTP2Stream, _ verdict: RequestVerdict) {
    guard stream.hasFinalHead, stream.heldHead == nil else { return refuse(stream, verdict) }
    // A part of the answer is out: it must not look whole.
    stream.isRefused = true
    stream.endFilter()
    server.giveBack(stream.up.discard(), stream.clientID)
    upstream?.giveBack(stream.down.discard(), stream.upstreamID)
    server.reset(stream.clientID, code: NGHTTP2_CANCEL.rawValue)
  }

  func wakeUp(_ stream: HTTP2Stream) {
    guard stream.up.isDeferred else { return }
    stream.up.isDeferred = false
    upstream?.resume(stream.upstreamID)
  }

  func wakeDown(_ stream: HTTP2Stream) {
    guard stream.down.isDeferred else { return }
    stream.down.isDeferred = false
    server.resume(stream.clientID)
  }

  func bodyWanted(
    _ session: HTTP2Session, _ id: Int32, _ buffer: UnsafeMutablePointer<UInt8>, room: Int
  ) -> BodyPiece {
    guard let stream = session.isServer ? byClient[id] : byUpstream[id] else { return .broken }
    if session.isServer {
      let (taken, returned) = unsafe stream.down.take(into: buffer, room: room)
      upstream?.giveBack(returned, stream.upstreamID)
      let piece = piece(&stream.down, taken)
      // RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted.
      if case .bytes(_, isLast: true, _) = piece, stream.isRefused, !stream.up.isEnded {
        server.reset(id, code: NGHTTP2_NO_ERROR.rawValue)
      }
      return piece
    }
    let (taken, returned) = unsafe stream.up.take(into: buffer, room: room)
    server.giveBack(returned, stream.clientID)
    return piece(&stream.up, taken)
  }

  private func piece(_ body: inout HTTP2Body, _ taken: Int) -> BodyPiece {
    if body.isEnded && body.count == 0 { return .bytes(taken, isLast: true, trailers: body.trailers) }
    if taken > 0 { return .bytes(taken, isLast: false, trailers: nil) }
    body.isDeferred = true
    return .later
  }

  // MARK: - Ends

  func streamClosed(_ session: HTTP2Session, _ id: Int32, code: UInt32) {
    if session.isServer { closedByClient(id, code) } else { closedByUpstream(id, code) }
  }

  private func closedByClient(_ id: Int32, _ code: UInt32) {
    guard let stream = byClient.removeValue(forKey: id) else { return }
    if stream.isAwaiting { tick.approvals?.withdraw(ordinal: stream.ordinal) }
    // What its filter holds, nobody waits for.
    stream.endFilter()
    server.giveBack(stream.up.discard(), id)
    upstream?.giveBack(stream.down.discard(), stream.upstreamID)
    guard stream.upstreamID != 0, byUpstream.removeValue(forKey: stream.upstreamID) != nil else { return }
    // RFC 9113 section 7: what the client gave up, the upstream need not go on with.
    let passed = code == NGHTTP2_NO_ERROR.rawValue ? NGHTTP2_CANCEL.rawValue : code
    upstream?.reset(stream.upstreamID, code: passed)
  }

  private func closedByUpstream(_ id: Int32, _ code: UInt32) {
    guard let stream = byUpstream.removeValue(forKey: id), byClient[stream.clientID] === stream else { return }
    server.giveBack(stream.up.discard(), stream.clientID)
    if stream.isRefused { return }
    guard stream.down.isEnded || stream.down.isWholeUnfiltered else {
      // Refused by a session that is ending, or reset: the client hears the same.
      let passed = code == NGHTTP2_NO_ERROR.rawValue ? NGHTTP2_INTERNAL_ERROR.rawValue : code
      return server.reset(stream.clientID, code: passed)
    }
    // A whole answer to a request that was not wanted whole (RFC 9113 section 8.1).
    if !stream.up.isEnded { stream.isRefused = true }
  }

  /// What the upstream offers, the client may ask for.
  func settingsCame(_ session: HTTP2Session) {
    guard !session.isServer, session.peerTakesProtocols, !offersProtocols else { return }
    offersProtocols = true
    server.takeProtocols()
  }

  func peerLeaves(_ session: HTTP2Session) {
    // The client opens no more streams; what it has is answered.
    if !session.isServer { leave() }
  }

  func peerMisbehaved(_ session: HTTP2Session) {
    if session.isServer { clientMisbehaved() } else { upstreamMisbehaved() }
  }
}
