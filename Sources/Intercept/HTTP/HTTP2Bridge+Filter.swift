// A stream's bodies on their way through its filter, which may hold them back: what comes meanwhile waits, within the
// window. It relies on the window for how much that can be: the sender gets back what the filter has taken, and no
// more.
import CNGHTTP2
import Policy

extension HTTP2Bridge {
  /// The next piece; where the filter takes no more, it waits its turn.
  func filter(_ stream: HTTP2Stream, isUp: Bool, _ bytes: [UInt8], isLast: Bool) {
    if isUp {
      stream.up.wait(bytes, isLast: isLast)
      // Before its head has gone out there is nothing that it would follow.
      if !stream.up.isHeld && stream.waiting == nil { runFilter(stream, isUp: true) }
    } else {
      stream.down.wait(bytes, isLast: isLast)
      if !stream.down.isHeld { runFilter(stream, isUp: false) }
    }
  }

  /// What came of a body while its head waited.
  func passEarly(_ stream: HTTP2Stream) {
    guard !stream.up.unfiltered.isEmpty || stream.up.isWholeUnfiltered else { return }
    if stream.filter != nil { return runFilter(stream, isUp: true) }
    let (bytes, isLast) = stream.up.takeUnfiltered()
    stream.up.append(bytes)
    stream.up.isEnded = isLast
    wakeUp(stream)
  }

  private func hold(_ stream: HTTP2Stream) {
    if !held.contains(where: { $0 === stream }) { held.append(stream) }
    if let untilMs = stream.filter?.awaitsPersonUntilMs() { deadlineMs = min(deadlineMs, untilMs) }
  }

  /// Filters that wanted time are asked again.
  func askHeld() {
    guard !held.isEmpty else { return }
    let streams = held
    held = []
    for stream in streams where byClient[stream.clientID] === stream {
      // What comes meanwhile waits within the window, for as long as a person takes.
      if let untilMs = stream.filter?.awaitsPersonUntilMs() {
        held.append(stream)
        deadlineMs = min(deadlineMs, untilMs)
        continue
      }
      if stream.up.isHeld { runFilter(stream, isUp: true) }
      if stream.down.isHeld { runFilter(stream, isUp: false) }
    }
  }

  /// Nothing of the upstream waits to be read: answers that were held back long enough leave.
  func endPauses() {
    guard !pausing.isEmpty else { return }
    let streams = pausing
    pausing = []
    for stream in streams where byClient[stream.clientID] === stream {
      guard let filter = stream.filter, filter.answerPauseMs != nil else { continue }
      if tick.nowMs < stream.pauseEndsMs || stream.down.isHeld {
        pausing.append(stream)
        if !stream.down.isHeld { deadlineMs = min(deadlineMs, stream.pauseEndsMs) }
      } else {
        var chunk: [UInt8] = []
        settleAnswer(stream, filter.answerPaused(&chunk), chunk, isLast: false, sendsHead: true)
      }
    }
  }

  private func runFilter(_ stream: HTTP2Stream, isUp: Bool) {
    guard let filter = stream.filter else { return }
    guard isUp else {
      var (chunk, isLast) = stream.down.takeUnfiltered()
      return settleAnswer(stream, filter.answerBody(&chunk, isLast: isLast), chunk, isLast: isLast)
    }
    var (chunk, isLast) = stream.up.takeUnfiltered()
    let verdict = filter.requestBody(&chunk, isLast: isLast)
    var ends = isLast
    switch verdict {
    case .pass, .collect:
      if isLast, let trailers = stream.up.trailers,
        case .refuse(let reason, let detail) = filter.requestTrailers(trailers.head)
      {
        return refuseMidway(stream, reason, detail)
      }
    case .refuse(let reason, let detail): return refuseMidway(stream, reason, detail)
    case .wait:
      (ends, stream.up.isHeld) = (false, true)
      hold(stream)
    case .end: ends = true
    }
    stream.up.append(chunk)
    stream.up.isEnded = ends
    server.giveBack(stream.up.settle(), stream.clientID)
    wakeUp(stream)
  }

  private func settleAnswer(
    _ stream: HTTP2Stream, _ verdict: FilterVerdict, _ chunk: [UInt8], isLast: Bool, sendsHead: Bool = false
  ) {
    var ends = isLast
    var (isCutShort, isHeld) = (false, false)
    switch verdict {
    case .pass, .collect: break
    case .refuse(let reason, let detail): return refuseMidway(stream, reason, detail)
    case .wait:
      (ends, isHeld) = (false, true)
      stream.down.isHeld = true
      hold(stream)
    case .end: (ends, isCutShort) = (true, true)
    }
    if ends || !chunk.isEmpty || sendsHead && !isHeld, !sendHeldHead(of: stream) { return }
    stream.down.append(chunk)
    stream.down.isEnded = ends
    upstream?.giveBack(stream.down.settle(), stream.upstreamID)
    if isCutShort { cutShort(stream) }
    wakeDown(stream)
    if !ends { awaitPause(stream) }
  }

  /// Of a body whose head is out something may be held back, for a bounded time too.
  private func awaitPause(_ stream: HTTP2Stream) {
    guard stream.heldHead == nil, let pauseMs = stream.filter?.answerPauseMs else { return }
    stream.pauseEndsMs = tick.nowMs + pauseMs
    if !pausing.contains(where: { $0 === stream }) { pausing.append(stream) }
  }

  /// False where it is no head any more: the stream is answered otherwise.
  private func sendHeldHead(of stream: HTTP2Stream) -> Bool {
    guard var block = stream.heldHead, let filter = stream.filter else { return true }
    var head = block.head
    filter.answerHeadLeaves(&head)
    guard block.take(head) else {
      answerBroke(stream)
      return false
    }
    stream.heldHead = nil
    _ = server.respond(stream.clientID, block, hasBody: true)
    return true
  }

  /// The rest of the answer is not wanted.
  private func cutShort(_ stream: HTTP2Stream) {
    stream.down.trailers = nil
    stream.endFilter()
    guard byUpstream.removeValue(forKey: stream.upstreamID) != nil else { return }
    upstream?.giveBack(stream.down.discardOwed(), stream.upstreamID)
    upstream?.reset(stream.upstreamID, code: NGHTTP2_CANCEL.rawValue)
    stream.upstreamID = 0
  }
}

extension HTTP2Body {
  mutating func wait(_ bytes: [UInt8], isLast: Bool) {
    if unfiltered.isEmpty { unfiltered = bytes } else { unfiltered += bytes }
    isWholeUnfiltered = isWholeUnfiltered || isLast
  }

  mutating func takeUnfiltered() -> (bytes: [UInt8], isLast: Bool) {
    defer { unfiltered = [] }
    isHeld = false
    return (unfiltered, isWholeUnfiltered)
  }
}
