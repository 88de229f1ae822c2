// HTTP/2 inside a tunnel: a session with the client, one with the upstream, and each stream judged on its own.
// It relies on HTTP2Session for the protocol and on RequestJudge for the verdict; windows carry a slow reader's pace.
import CNGHTTP2
import Flow
import Policy
import Wire

final class HTTP2Bridge: Bridge {
  private static let roundsMax = 16
  static let interimMax = 64

  let server: HTTP2Session
  /// nil where every stream is refused.
  let upstream: HTTP2Session?
  private let buffer: ReadBuffer
  var judge: RequestJudge
  /// By their number at the client, and at the upstream.
  var byClient: [Int32: HTTP2Stream] = [:]
  var byUpstream: [Int32: HTTP2Stream] = [:]
  var waiting: [HTTP2Stream] = []
  /// Streams with a body that a filter holds back.
  var held: [HTTP2Stream] = []
  /// Streams with an answer that a filter holds back for a bounded time.
  var pausing: [HTTP2Stream] = []
  /// Of the turn under way: callbacks come inside it alone.
  var tick: Tick
  /// WebSockets (RFC 8441), since the upstream said that it takes them.
  var offersProtocols = false
  var deadlineMs = UInt64.max
  private var isLeaving = false
  private var isUpstreamGone = false
  private var isClientCut = false

  init?(
    client: any PlainStream, upstream: (any PlainStream)?, judge: RequestJudge, buffer: ReadBuffer,
    _ library: HTTP2Library,
    _ tick: Tick
  ) {
    guard let server = HTTP2Session(client, isServer: true, headBytesMax: tick.headBytesMax, library) else {
      return nil
    }
    self.server = server
    self.judge = judge
    self.buffer = buffer
    self.tick = tick
    if let upstream {
      guard let session = HTTP2Session(upstream, isServer: false, headBytesMax: tick.headBytesMax, library) else {
        return nil
      }
      self.upstream = session
    } else {
      self.upstream = nil
    }
    server.events = self
    self.upstream?.events = self
  }

  func takeOutcomes() -> [Outcome] { judge.takeOutcomes() }

  // MARK: - Turns

  func advance(_ tick: Tick) -> TunnelProgress {
    self.tick = tick
    deadlineMs = .max
    if tick.isDraining || (judge.standing != nil && judge.ordinal > 0) { leave() }
    for _ in 0..<Self.roundsMax {
      guard server.tls.flush() else { return .event(.clientReset) }
      if let upstream, !isUpstreamGone, !upstream.tls.flush() { upstreamBroke() }
      judgeWaiting()
      askHeld()
      var hasWorked = false
      switch readClient() {
      case .worked: hasWorked = true
      case .idle: break
      case .end(let event): return .event(event)
      }
      switch readUpstream() {
      case .worked: hasWorked = true
      case .idle: endPauses()
      case .end(let event): return .event(event)
      }
      guard let hasSent = pump() else { return .event(.clientReset) }
      if let end = endIfDone() { return .event(end) }
      if !hasWorked && !hasSent { return .waiting }
    }
    return .again
  }

  private func readClient() -> HTTP1Bridge.Step {
    let tls = server.tls
    guard tls.isReadable, !tls.isFull else { return .idle }
    let grant = HTTP1Bridge.grant(tick.rule?.uploadBytes, tick)
    guard grant.count > 0 else { return starved(grant, .uploadLimited) }
    let received = buffer.read(from: tls, upTo: grant.count)
    HTTP1Bridge.refund(grant.count, received, tick.rule?.uploadBytes, tick)
    switch received {
    case .bytes(let count):
      guard buffer.withBytes(0..<count, { server.feed($0, nowMs: tick.nowMs) }) else {
        if !isClientCut { _ = judge.refuse(.badRequest, tick) }
        return .end(.clientReset)
      }
      return .worked
    case .blocked: return .idle
    case .ended, .truncated: return .end(byClient.isEmpty ? .relayEnded : .clientReset)
    case .failed: return .end(.clientReset)
    }
  }

  private func readUpstream() -> HTTP1Bridge.Step {
    guard let upstream, !isUpstreamGone, upstream.tls.isReadable,
      !upstream.tls.isFull
    else { return .idle }
    let grant = HTTP1Bridge.grant(tick.rule?.downloadBytes, tick)
    guard grant.count > 0 else { return starved(grant, .downloadLimited) }
    let received = buffer.read(from: upstream.tls, upTo: grant.count)
    HTTP1Bridge.refund(grant.count, received, tick.rule?.downloadBytes, tick)
    switch received {
    case .bytes(let count):
      if !buffer.withBytes(0..<count, { upstream.feed($0, nowMs: tick.nowMs) }) { upstreamBroke() }
      return .worked
    case .blocked: return .idle
    case .ended, .truncated, .failed:
      upstreamBroke()
      return .worked
    }
  }

  private func starved(_ grant: HTTP1Bridge.Grant, _ event: Event) -> HTTP1Bridge.Step {
    guard tick.rule?.onLimit == .pace else { return .end(event) }
    deadlineMs = min(deadlineMs, tick.nowMs + max(1, min(grant.retryAfterNs / 1_000_000, 1_000)))
    return .idle
  }

  /// nil: the client's connection broke.
  private func pump() -> Bool? {
    var hasSent = false
    switch server.pump() {
    case .broke: return nil
    case .some: hasSent = true
    case .nothing: break
    }
    guard let upstream, !isUpstreamGone else { return hasSent }
    switch upstream.pump() {
    case .broke: upstreamBroke()
    case .some: hasSent = true
    case .nothing: break
    }
    return hasSent
  }

  private func endIfDone() -> Event? {
    if let upstream, !isUpstreamGone, upstream.isDone { upstreamBroke() }
    if server.isDone || (isLeaving && byClient.isEmpty) {
      if server.tls.hasPending { return nil }
      server.tls.end()
      return isClientCut ? .clientReset : .relayEnded
    }
    return nil
  }

  // MARK: - Ends

  /// No further streams; those under way go on.
  func leave() {
    guard !isLeaving else { return }
    isLeaving = true
    server.leave()
  }

  /// What its streams were still waiting for will not come.
  private func upstreamBroke() {
    guard !isUpstreamGone else { return }
    isUpstreamGone = true
    for stream in byClient.values
    where !stream.isRefused && !stream.down.isEnded && !stream.down.isWholeUnfiltered {
      if stream.hasFinalHead, stream.heldHead == nil {
        _ = judge.refuse(.connectFailed, tick, ordinal: stream.ordinal)
        server.reset(stream.clientID, code: NGHTTP2_INTERNAL_ERROR.rawValue)
      } else {
        refuse(
          stream,
          judge.refuse(
            .connectFailed, tick, ordinal: stream.ordinal, detail: "It sent no HTTP answer that the gate can pass on"))
      }
    }
    byUpstream.removeAll()
    leave()
  }

  // MARK: - Requests that wait

  private func judgeWaiting() {
    guard !waiting.isEmpty else { return }
    let due = waiting
    waiting = []
    for stream in due {
      guard let (block, endsStream, untilMs) = stream.waiting, byClient[stream.clientID] === stream else { continue }
      if tick.nowMs < untilMs {
        waiting.append(stream)
        deadlineMs = min(deadlineMs, untilMs)
        continue
      }
      stream.waiting = nil
      // Another policy may have come meanwhile: what it says of the request counts.
      if stream.filter != nil, stream.judgedBy === tick.rule {
        offer(stream, block, endsStream: endsStream)
      } else {
        stream.endFilter()
        begin(stream, block, endsStream: endsStream)
      }
    }
  }

  func wait(_ stream: HTTP2Stream, _ block: FieldBlock, endsStream: Bool, untilMs: UInt64) {
    stream.waiting = (block, endsStream, untilMs)
    waiting.append(stream)
    if untilMs > tick.nowMs { deadlineMs = min(deadlineMs, untilMs) }
  }

  func clientMisbehaved() {
    guard !isClientCut else { return }
    isClientCut = true
    _ = judge.refuse(.badRequest, tick, detail: server.fault)
  }

  func upstreamMisbehaved() { upstreamBroke() }
}
