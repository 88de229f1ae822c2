// HTTP/2 inside a tunnel: a session with the client, one with the upstream, and each stream judged on its own.
// It relies on HTTP2Session for the protocol and on TunnelRequests for the verdict; windows carry a slow reader's pace.
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
  var requests: TunnelRequests
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
  /// The rule that all requests under way were last held to.
  private var checkedBy: AllowRule?
  private var isLeaving = false
  private var isUpstreamGone = false
  private var isClientCut = false

  init?(
    client: any PlainStream, upstream: (any PlainStream)?, requests: TunnelRequests, buffer: ReadBuffer,
    _ library: HTTP2Library,
    _ tick: Tick
  ) {
    guard let server = HTTP2Session(client, isServer: true, headBytesMax: tick.headBytesMax, library) else {
      return nil
    }
    self.server = server
    self.requests = requests
    self.buffer = buffer
    self.tick = tick
    checkedBy = tick.rule
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

  func takeOutcomes() -> [Outcome] { requests.takeOutcomes() }

  // MARK: - Turns

  func advance(_ tick: Tick) -> TunnelProgress {
    self.tick = tick
    deadlineMs = .max
    recheck()
    if tick.isDraining || (requests.standing != nil && requests.ordinal > 0) { leave() }
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
    switch buffer.read(from: tls) {
    case .bytes(let count):
      guard buffer.withBytes(0..<count, { server.feed($0, nowMs: tick.nowMs) }) else {
        if !isClientCut { _ = requests.refuse(.badRequest, tick, detail: "Its HTTP/2 is malformed (RFC 9113)") }
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
    switch buffer.read(from: upstream.tls) {
    case .bytes(let count):
      if !buffer.withBytes(0..<count, { upstream.feed($0, nowMs: tick.nowMs) }) { upstreamBroke() }
      return .worked
    case .blocked: return .idle
    case .ended, .truncated, .failed:
      upstreamBroke()
      return .worked
    }
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
        _ = requests.refuse(.connectFailed, tick, line: stream.line, ordinal: stream.ordinal)
        server.reset(stream.clientID, code: NGHTTP2_INTERNAL_ERROR.rawValue)
      } else {
        refuse(
          stream,
          requests.noAnswer(tick, line: stream.line, ordinal: stream.ordinal, detail: upstream?.tls.problem))
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
      if stream.judgedBy === tick.rule, let untilMs = stream.filter?.awaitsPersonUntilMs() {
        waiting.append(stream)
        deadlineMs = min(deadlineMs, untilMs)
        continue
      }
      if tick.nowMs < untilMs && !stream.isAwaiting && (stream.filter != nil || stream.judgedBy === tick.rule) {
        waiting.append(stream)
        deadlineMs = min(deadlineMs, untilMs)
        continue
      }
      stream.waiting = nil
      // Held to the policy, the clock, the log and the drain of the moment at which it leaves.
      begin(stream, block, endsStream: endsStream, stream.isPaid ? .paid : .due)
    }
  }

  private func recheck() {
    guard tick.rule !== checkedBy else { return }
    checkedBy = tick.rule
    for stream in byClient.values where stream.upstreamID != 0 && !stream.isRefused {
      stream.judgedBy = tick.rule
      stream.filter?.ruleChanged(to: tick.rule)
      if let refused = requests.recheck(stream.line, ordinal: stream.ordinal, tick) { cut(stream, refused) }
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
    _ = requests.refuse(.badRequest, tick, detail: server.fault)
  }

  func upstreamMisbehaved() { upstreamBroke() }
}
