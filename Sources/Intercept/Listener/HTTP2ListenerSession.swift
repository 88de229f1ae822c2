// A connection in TLS that carries HTTP/2: each stream is one request, and has a session of its own behind a leg.
// It relies on HTTP2Session for the protocol and its bounds; windows and socket buffers carry a slow reader's pace.
import CNGHTTP2
import Flow
import Kernel
import Policy
import Wire

final class HTTP2ListenerSession {
  private static let roundsMax = 16
  private static let interimMax = 64

  private let tls: TLSStream
  private let session: HTTP2Session
  private let buffer: ReadBuffer
  private unowned let host: any ListenerSessionHost
  private var streams: [Int32: ListenerStream] = [:]
  /// Streams with pending events.
  private var changed: Set<Int32> = []
  /// Answered in whole, while their requests still come.
  private var unheard: Set<Int32> = []
  /// Streams that are over, while their last bytes are on the way to their sessions.
  private var parting: [StreamSocket] = []
  /// Streams whose sessions are over, while the client has not taken all that these said.
  private var left: Set<Int32> = []
  private var untaken = SendDeadline()
  /// Of the turn under way: callbacks come inside it alone.
  private var tick: ListenerTick
  private(set) var deadlineMs = UInt64.max
  /// When the last stream began or ended.
  private var quietSinceMs: UInt64
  private var hasAsked = false
  private var isLeaving = false
  private var hasMisbehaved = false
  private var hasSaidEnd = false

  init?(
    _ tls: TLSStream, buffer: ReadBuffer, _ library: HTTP2Library, _ tick: ListenerTick, _ host: any ListenerSessionHost
  ) {
    guard
      let session = HTTP2Session(
        tls, isServer: true, headBytesMax: tick.headBytesMax, takesProtocols: true, library)
    else { return nil }
    self.tls = tls
    self.session = session
    self.buffer = buffer
    self.host = host
    self.tick = tick
    quietSinceMs = tick.nowMs
    session.events = self
  }

  func legChanged(_ id: Int32) { changed.insert(id) }

  // MARK: - Turns

  func advance(_ tick: ListenerTick) -> ListenerProgress {
    self.tick = tick
    if tick.isDraining || isQuietTooLong { leave() }
    giveUpLeft()
    for _ in 0..<Self.roundsMax {
      guard tls.flush(), let hasRead = readClient() else { return clientBroke() }
      serveLegs()
      endUnheard()
      let pumped = session.pump()
      if pumped == .broke { return clientBroke() }
      if session.isDone || (isLeaving && streams.isEmpty) {
        sayEnd()
        if tls.hasPending { return wait() }
        closeLegs()
        return .ended(hasMisbehaved ? .cut : .graceful)
      }
      if !hasRead && pumped == .nothing && changed.isEmpty { return wait() }
    }
    return .again
  }

  /// An idle client gets the header timeout, then the keep-alive timeout.
  private var isQuietTooLong: Bool { streams.isEmpty && tick.nowMs >= quietDueMs }
  private var quietDueMs: UInt64 { quietSinceMs + (hasAsked ? tick.keepAliveMs : tick.headMs) }

  private func wait() -> ListenerProgress {
    let isServed = left.count < streams.count
    let isTaken = untaken.holds(
      whileWaiting: tls.hasPending, patienceMs: tick.patienceMs(isServed: isServed), nowMs: tick.nowMs
    ) { tls.taken }
    if !isTaken { return clientBroke() }
    deadlineMs = untaken.dueMs
    if streams.isEmpty && !isLeaving { deadlineMs = min(deadlineMs, quietDueMs) }
    for id in left { if let stream = streams[id] { deadlineMs = min(deadlineMs, stream.untaken.dueMs) } }
    return .waiting
  }

  /// A client that reads its connection may still leave one stream's window shut. Where it reads nothing at all, the
  /// deadline of the connection is the one that counts.
  private func giveUpLeft() {
    for id in left {
      guard let stream = streams[id] else { continue }
      let isTaken = stream.untaken.holds(
        whileWaiting: !tls.hasPending, patienceMs: tick.patienceMs(isServed: false), nowMs: tick.nowMs
      ) { stream.taken }
      if !isTaken { session.reset(id, code: NGHTTP2_CANCEL.rawValue) }
    }
  }

  private func sayEnd() {
    guard !hasSaidEnd, !tls.hasPending else { return }
    hasSaidEnd = true
    tls.end()
  }

  private func leave() {
    guard !isLeaving else { return }
    isLeaving = true
    session.leave()
  }

  private func clientBroke() -> ListenerProgress {
    closeLegs()
    return .ended(.cut)
  }

  private func closeLegs() {
    for stream in streams.values { if let leg = stream.leg { host.close(leg, isReset: true) } }
    streams.removeAll()
    left.removeAll()
    for leg in parting { host.close(leg, isReset: false) }
    parting = []
  }

  /// nil: its connection broke, or the protocol did.
  private func readClient() -> Bool? {
    guard tls.isReadable, !tls.isFull else { return false }
    switch buffer.read(from: tls) {
    case .bytes(let count):
      if buffer.withBytes(0..<count, { session.feed($0, nowMs: tick.nowMs) }) { return true }
      peerMisbehaved(session)
      return nil
    case .blocked: return false
    case .ended, .truncated, .failed: return nil
    }
  }

  // MARK: - Sessions

  private func serveLegs() {
    parting.removeAll { leg in
      _ = leg.flush()
      guard leg.pendingCount == 0 || leg.ending != nil else { return false }
      host.close(leg, isReset: false)
      return true
    }
    guard !changed.isEmpty else { return }
    let ids = changed
    changed.removeAll(keepingCapacity: true)
    for id in ids { if let stream = streams[id], let leg = stream.leg { serve(stream, leg) } }
  }

  private func serve(_ stream: ListenerStream, _ leg: StreamSocket) {
    if leg.ending == .cut { return breakOff(stream) }
    if !stream.isServed { isLeft(stream) }
    _ = leg.flush()
    giveBack(stream, leg)
    if !stream.hasFinalHead { readHead(stream, leg) }
    guard stream.hasFinalHead, streams[stream.id] != nil else { return }
    if stream.isDeferred && leg.isReadable {
      stream.isDeferred = false
      session.resume(stream.id)
    }
    if leg.ending != nil { endIfUnheard(stream) }
  }

  /// The session is gone, and what is left is the client's to take.
  private func isLeft(_ stream: ListenerStream) {
    guard left.insert(stream.id).inserted else { return }
    _ = stream.untaken.holds(
      whileWaiting: true, patienceMs: tick.patienceMs(isServed: false), nowMs: tick.nowMs
    ) { stream.taken }
  }

  /// The session is gone, and nobody reads the rest of what the client sends.
  private func endIfUnheard(_ stream: ListenerStream) {
    if stream.hasAnswerEnded && !stream.hasClientEnded { unheard.insert(stream.id) }
  }

  /// Behind the answer's last frame: a reset that is asked for before takes the place of what waits to be sent.
  private func endUnheard() {
    for id in unheard where session.hasEndedOurs(id) {
      unheard.remove(id)
      session.reset(id, code: NGHTTP2_NO_ERROR.rawValue)
    }
  }

  /// RFC 9113 section 8.5: what was cut must not look complete.
  private func breakOff(_ stream: ListenerStream) {
    // A tunnel may have broken before the answer that opened it was read.
    let isTunnel = stream.hasFinalHead ? stream.answer.isTunnel : stream.kind.isTunnel
    let code = isTunnel ? NGHTTP2_CONNECT_ERROR : NGHTTP2_INTERNAL_ERROR
    session.reset(stream.id, code: code.rawValue)
  }

  private func readHead(_ stream: ListenerStream, _ leg: StreamSocket) {
    while !stream.hasFinalHead {
      switch buffer.read(from: leg) {
      case .bytes(let count):
        buffer.withBytes(0..<count) { stream.answer.hear($0) }
        takeHeads(stream)
      case .blocked: return
      case .ended, .truncated, .failed: return breakOff(stream)
      }
      if streams[stream.id] == nil { return }
    }
  }

  private func takeHeads(_ stream: ListenerStream) {
    while true {
      switch stream.answer.readHead(of: stream.kind, bytesMax: tick.headBytesMax) {
      case .incomplete: return
      case .broken: return refuseAnswer(stream)
      case .interim(let block):
        stream.interimHeads += 1
        if stream.interimHeads > Self.interimMax { return refuseAnswer(stream) }
        _ = session.interim(stream.id, block)
      case .final(let block, let hasBody):
        stream.hasFinalHead = true
        _ = session.respond(stream.id, block, hasBody: hasBody)
        if !hasBody { answerEnded(stream) }
        return
      }
    }
  }

  /// An upstream took a WebSocket upgrade without having read it.
  private func refuseAnswer(_ stream: ListenerStream) {
    stream.hasFinalHead = true
    if let leg = stream.leg { host.close(leg, isReset: true) }
    breakOff(stream)
  }

  private func answerEnded(_ stream: ListenerStream) {
    stream.hasAnswerEnded = true
    // RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted.
    if !stream.answer.isTunnel || stream.leg?.ending != nil { endIfUnheard(stream) }
  }

  /// Windows open again as far as the session took what came.
  private func giveBack(_ stream: ListenerStream, _ leg: StreamSocket) {
    let taken = stream.owed - min(stream.owed, leg.pendingCount)
    stream.owed -= taken
    session.giveBack(taken, stream.id)
  }
}

// MARK: - What the session tells

extension HTTP2ListenerSession: HTTP2Events {
  func headCame(_ session: HTTP2Session, _ id: Int32, isRequest: Bool, endsStream: Bool) {
    // Trailers of a request go no further (RFC 9110 section 6.5.1); they end it.
    guard isRequest else { return bodyEnded(session, id) }
    hasAsked = true
    if session.block.isTooLarge {
      let problem = HeadProblem.tooLarge(bytesMax: session.headBytesMax)
      host.record(.badRequest, "\(problem)")
      return answer(id, "\(problem)", endsStream: endsStream, isHeadTooLarge: true)
    }
    switch InnerRequest.make(session.block, endsStream: endsStream) {
    case .success(let request): begin(id, request, endsStream: endsStream)
    case .failure(.unspeakable):
      host.record(.badRequest, "HTTP/2 head that cannot be written as a request of HTTP/1.1")
      session.reset(id, code: NGHTTP2_PROTOCOL_ERROR.rawValue, isPeersFault: true)
    case .failure(.unknownProtocol):
      let detail = "Of protocols in CONNECT only websocket is known"
      host.record(.badRequest, detail)
      answer(id, detail, endsStream: endsStream)
    }
  }

  private func begin(_ id: Int32, _ request: InnerRequest, endsStream: Bool) {
    switch host.openLeg(for: id) {
    case .notNow: session.reset(id, code: NGHTTP2_REFUSED_STREAM.rawValue)
    case .tooMany: answer(id, canned: Flow.tooManyReply, endsStream: endsStream)
    case .leg(let leg):
      streams[id] = ListenerStream(id, request.kind, leg, InnerAnswer(), hasClientEnded: endsStream)
      _ = leg.write(request.bytes)
      if endsStream, request.kind.isTunnel { leg.end() }
    }
  }

  private func answer(_ id: Int32, _ detail: String, endsStream: Bool, isHeadTooLarge: Bool = false) {
    var refusal = Refusal(.badRequest, target: nil, client: Policy.fallbackName)
    refusal.detail = detail
    refusal.isHeadTooLarge = isHeadTooLarge
    var reply: [UInt8] = []
    refusal.write(into: &reply)
    answer(id, canned: reply, endsStream: endsStream)
  }

  private func answer(_ id: Int32, canned: [UInt8], endsStream: Bool) {
    let stream = ListenerStream(
      id, .message(isChunked: false, isHEAD: false), nil, InnerAnswer(canned: canned), hasClientEnded: endsStream)
    streams[id] = stream
    isLeft(stream)
    takeHeads(stream)
  }

  func dataCame(_ session: HTTP2Session, _ id: Int32, _ bytes: UnsafeBufferPointer<UInt8>) {
    guard let stream = streams[id], let leg = stream.leg else { return session.giveBack(bytes.count, id) }
    stream.owed += bytes.count
    let isChunked = stream.kind.isChunked
    if isChunked { _ = leg.write(Array("\(String(bytes.count, radix: 16))\r\n".utf8)) }
    _ = unsafe leg.write(UnsafeRawBufferPointer(bytes))
    if isChunked { _ = leg.write(Array("\r\n".utf8)) }
    giveBack(stream, leg)
  }

  func bodyEnded(_ session: HTTP2Session, _ id: Int32) {
    guard let stream = streams[id], !stream.hasClientEnded else { return }
    stream.hasClientEnded = true
    guard let leg = stream.leg else { return }
    if stream.kind.isChunked { _ = leg.write(Array("0\r\n\r\n".utf8)) }
    if stream.kind.isTunnel { leg.end() }
  }

  func bodyWanted(
    _ session: HTTP2Session, _ id: Int32, _ buffer: UnsafeMutablePointer<UInt8>, room: Int
  ) -> BodyPiece {
    guard let stream = streams[id] else { return .broken }
    // What that means for the stream is said when its leg has its turn.
    if stream.leg?.ending == .cut { return .later }
    switch unsafe stream.answer.fill(UnsafeMutableRawBufferPointer(start: buffer, count: room), from: stream.leg) {
    case .later:
      stream.isDeferred = true
      return .later
    case .broken: return .broken
    case .bytes(let count, let isLast):
      stream.taken += count
      if isLast { answerEnded(stream) }
      return .bytes(count, isLast: isLast, trailers: nil)
    }
  }

  func streamClosed(_ session: HTTP2Session, _ id: Int32, code: UInt32) {
    guard let stream = streams.removeValue(forKey: id) else { return }
    unheard.remove(id)
    left.remove(id)
    session.giveBack(stream.owed, id)
    quietSinceMs = tick.nowMs
    let isWhole = code == NGHTTP2_NO_ERROR.rawValue
    guard let leg = stream.leg else { return }
    if isWhole && leg.pendingCount > 0 && leg.ending == nil {
      parting.append(leg)
    } else {
      host.close(leg, isReset: !isWhole)
    }
  }

  func settingsCame(_ session: HTTP2Session) {}

  /// The client opens no more streams; what it has goes on.
  func peerLeaves(_ session: HTTP2Session) { leave() }

  func peerMisbehaved(_ session: HTTP2Session) {
    guard !hasMisbehaved else { return }
    hasMisbehaved = true
    host.record(.badRequest, "HTTP/2 broken by the client (RFC 9113)")
  }
}
