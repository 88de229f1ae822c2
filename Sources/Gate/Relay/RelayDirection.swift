// One direction of a tunnel, and the state of one side. A quiet channel holds no buffer and no pipe.
// It relies on Kernel for the bytes and on Flow.BodyMeter for where a body ends.
import Flow
import Kernel
import Policy
import Wire

/// The state of one socket as epoll's edges reported it. It does not own the descriptor.
struct SocketState {
  var fd: CInt = -1
  /// May have bytes; true until a read says that there are none.
  var isReadable = false
  var isWritable = true
  /// The peer has shut down its sending side: a short read does not mean that nothing follows.
  var hasPeerEnded = false
  /// The connection broke: whatever it still waits for is waited for in vain. No further edge tells of it.
  private(set) var isBroken = false
  var haste = Haste.set
  /// A shutdown failed: what it has sent may still be read, and then nothing follows.
  var isGone = false

  /// TCP_NODELAY: a small segment waits for the one before it to be acknowledged, a first one never does. An upstream
  /// that
  /// is sent one thing alone, as many are, is spared the call.
  enum Haste { case atFirstSend, beforeTheNext, set }

  mutating func willSend() {
    switch haste {
    case .set: return
    case .atFirstSend: haste = .beforeTheNext
    case .beforeTheNext: sendAtOnce()
    }
  }

  mutating func sendAtOnce() {
    haste = .set
    Socket.sendAtOnce(fd)
  }

  /// What it comes to that nothing can be read now.
  var dry: PumpEnd { isGone ? .sourceReset : .blocked }

  mutating func note(_ readiness: Readiness) {
    if readiness.isReadable { isReadable = true }
    if readiness.isWritable || readiness.isBroken { isWritable = true }
    if readiness.isBroken { isBroken = true }
    if readiness.hasPeerEnded {
      isReadable = true
      hasPeerEnded = true
    }
  }
}

struct RelayDirection {
  /// Bytes that the sink has not taken, from `heldOffset` on.
  private(set) var held: [UInt8] = []
  private var heldOffset = 0
  /// Of the held bytes, those that the gate itself says: no payload.
  private var own: Range<UInt32> = 0..<0
  /// Of the held bytes, the last ones that no byte bucket has granted yet.
  private var unpaid = 0
  private var pipe: Pipe?
  /// Bytes read behind the end of a chunked body: they belong to the next message.
  private var surplus: [UInt8] = []
  var meter = BodyMeter(.none)
  /// Bytes that the sink took, without the gate's own replies.
  var moved: UInt64 = 0
  var isOpen = false
  var hasSourceEnded = false
  /// The source's end was carried over to the sink.
  var hasCarriedEnd = false
  /// A stream goes by splice(2); small chunks go through the scratch buffer.
  private var isStreaming = false

  var isEmpty: Bool { held.isEmpty && pipe == nil }

  /// True if a pump could do anything: most events are about one direction alone.
  func hasWork(from source: SocketState) -> Bool {
    !isEmpty || (isOpen && (source.isReadable || hasSourceEnded || meter.hasEnded))
  }

  mutating func open(_ meter: BodyMeter) {
    self.meter = meter
    isOpen = true
  }

  /// Whatever came from a peer is charged where it is sent; the gate's own replies (`isOwn`) cost nothing.
  mutating func hold(_ bytes: [UInt8], isOwn: Bool) {
    if bytes.isEmpty { return }
    if isOwn { noteOwn(bytes.count) } else { unpaid += bytes.count }
    if held.isEmpty { held = bytes } else { held += bytes }
  }

  private mutating func noteOwn(_ count: Int) {
    let end = UInt32(clamping: held.count + count)
    own = (own.isEmpty ? min(UInt32(clamping: held.count), end) : own.lowerBound)..<end
  }

  /// How many of the next bytes are the gate's own.
  private func ownCount(among count: Int) -> Int {
    if own.isEmpty { return 0 }
    return own.clamped(to: UInt32(clamping: heldOffset)..<UInt32(clamping: heldOffset + count)).count
  }

  mutating func takeSurplus() -> [UInt8] {
    defer { surplus = [] }
    return surplus
  }

  mutating func dropHeld() {
    held = []
    heldOffset = 0
    own = 0..<0
    unpaid = 0
  }
}

enum PumpEnd {
  /// Nothing more to move before the next event.
  case blocked
  /// The fairness budget is used up.
  case again
  case sourceEnded
  case bodyEnded
  case malformed
  case sourceReset
  case sinkReset
  /// No tokens are left for bytes.
  case limited(ByteBucket.Grant)
}

/// The tools that a loop lends to each pump.
final class PumpTools {
  let scratch = Scratch()
  let pipes = PipePool()
}

extension RelayDirection {
  /// Chunks up to this size are copied: below it a copy is cheaper than two splices.
  static var copyBytesMax: Int { 16 * 1024 }
  static var roundsMax: Int { 16 }

  /// Sends what is held, as far as the bucket grants it; nil when all has gone.
  mutating func flush(to sink: inout SocketState, bucket: ByteBucketUse) -> PumpEnd? {
    while !held.isEmpty {
      if !sink.isWritable { return .blocked }
      if let end = pay(bucket) { return end }
      let count = held.count - heldOffset - unpaid
      sink.willSend()
      let sent = held.withSpan(from: heldOffset, count: count) { Socket.send(sink.fd, $0) }
      switch sent {
      case .bytes(let sent):
        moved &+= UInt64(sent - ownCount(among: sent))
        heldOffset += sent
        if heldOffset == held.count { dropHeld() } else if sent < count { sink.isWritable = false }
      case .wouldBlock: sink.isWritable = false
      case .end, .failed: return .sinkReset
      }
    }
    return nil
  }

  /// Asks for tokens when all that was granted has gone.
  private mutating func pay(_ bucket: ByteBucketUse) -> PumpEnd? {
    guard unpaid > 0, held.count - heldOffset == unpaid else { return nil }
    let grant = bucket.reserve(upTo: unpaid)
    if grant.granted == 0 { return .limited(grant) }
    unpaid -= grant.granted
    return nil
  }

  /// Moves bytes from source to sink until one of them blocks, the body ends, or the budget is used up.
  mutating func pump(
    from source: inout SocketState, to sink: inout SocketState, _ tools: PumpTools, bucket: ByteBucketUse
  ) -> PumpEnd {
    if let end = flush(to: &sink, bucket: bucket) { return end }
    for _ in 0..<Self.roundsMax {
      if let end = drainPipe(to: &sink, tools) { return end }
      if !isOpen { return .blocked }
      if meter.hasEnded { return .bodyEnded }
      if hasSourceEnded { return .sourceEnded }
      if !sink.isWritable { return .blocked }
      if !source.isReadable { return source.dry }
      let grant = bucket.reserve(upTo: isStreaming ? tools.pipes.pipeBytes : Self.copyBytesMax)
      let granted = grant.granted
      if granted == 0 { return withoutTokens(&source, grant) }
      let end =
        isStreaming && meter.blindBytesMax > 0
        ? stream(from: &source, granted, tools, bucket)
        : copy(from: &source, to: &sink, granted, tools, bucket)
      if let end { return end }
    }
    return .again
  }

  /// A limit is reached by a byte too many: who has nothing more to send has kept to it.
  private mutating func withoutTokens(_ source: inout SocketState, _ grant: ByteBucket.Grant) -> PumpEnd {
    switch Socket.peek(source.fd) {
    case .bytes: return .limited(grant)
    case .wouldBlock:
      source.isReadable = false
      return source.dry
    case .end:
      hasSourceEnded = true
      return .sourceEnded
    case .failed: return .sourceReset
    }
  }

  /// Sends all that is on its way, and reads nothing more. nil when all has gone.
  mutating func finish(to sink: inout SocketState, _ tools: PumpTools, bucket: ByteBucketUse) -> PumpEnd? {
    if let end = drainPipe(to: &sink, tools) { return end }
    return flush(to: &sink, bucket: bucket)
  }

  // MARK: - By copy

  private mutating func copy(
    from source: inout SocketState, to sink: inout SocketState, _ granted: Int, _ tools: PumpTools,
    _ bucket: ByteBucketUse
  ) -> PumpEnd? {
    // A stream's grant may be more than a read can bring: a short read must mean that nothing is left.
    let asked = min(granted, meter.readBytesMax, Scratch.byteCount)
    switch tools.scratch.receive(from: source.fd, upTo: asked) {
    case .bytes(let count):
      bucket.refund(granted - count)
      if count < asked && !source.hasPeerEnded { source.isReadable = false }
      if count == Self.copyBytesMax && meter.blindBytesMax > count { isStreaming = true }
      let end = pass(count, to: &sink, tools)
      bucket.refund(surplus.count)
      return end
    case .wouldBlock:
      bucket.refund(granted)
      source.isReadable = false
      return source.dry
    case .end:
      bucket.refund(granted)
      hasSourceEnded = true
      return .sourceEnded
    case .failed:
      bucket.refund(granted)
      return .sourceReset
    }
  }

  private mutating func pass(_ count: Int, to sink: inout SocketState, _ tools: PumpTools) -> PumpEnd? {
    var passed = count
    switch tools.scratch.withBytes(count, { meter.follow($0) }) {
    case .more: break
    case .ended(let bodyCount):
      passed = bodyCount
      surplus = tools.scratch.bytes(bodyCount..<count)
    case .malformed: return .malformed
    }
    if passed == 0 { return nil }
    if !meter.leftOut.isEmpty {
      var kept: [UInt8] = []
      tools.scratch.withBytes(passed) { kept.append($0, leavingOut: meter.leftOut) }
      // Granted when they were read.
      held = kept
      return flush(to: &sink, bucket: ByteBucketUse(bucket: nil, nowNs: 0))
    }
    sink.willSend()
    switch tools.scratch.send(to: sink.fd, 0..<passed) {
    case .bytes(let sent):
      moved += UInt64(sent)
      if sent < passed {
        sink.isWritable = false
        held = tools.scratch.bytes(sent..<passed)
      }
      return nil
    case .wouldBlock:
      sink.isWritable = false
      held = tools.scratch.bytes(0..<passed)
      return .blocked
    case .end, .failed: return .sinkReset
    }
  }

  // MARK: - By splice

  private mutating func stream(
    from source: inout SocketState, _ granted: Int, _ tools: PumpTools, _ bucket: ByteBucketUse
  ) -> PumpEnd? {
    guard let pipe = tools.pipes.borrow() else {
      // No descriptor for a pipe: the copy path needs none.
      bucket.refund(granted)
      isStreaming = false
      return nil
    }
    switch pipe.fill(from: source.fd, upTo: min(granted, meter.blindBytesMax)) {
    case .bytes(let count):
      bucket.refund(granted - count)
      meter.moved(count)
      if count < Self.copyBytesMax / 4 { isStreaming = false }
      self.pipe = pipe
      return nil
    case .wouldBlock:
      bucket.refund(granted)
      source.isReadable = false
      tools.pipes.giveBack(pipe)
      return source.dry
    case .end:
      bucket.refund(granted)
      hasSourceEnded = true
      tools.pipes.giveBack(pipe)
      return .sourceEnded
    case .failed(let code):
      bucket.refund(granted)
      tools.pipes.giveBack(pipe)
      // Some sources cannot be spliced (EINVAL): they can be copied.
      guard code == SystemError.invalidArgument else { return .sourceReset }
      isStreaming = false
      return nil
    }
  }

  private mutating func drainPipe(to sink: inout SocketState, _ tools: PumpTools) -> PumpEnd? {
    guard let pipe else { return nil }
    while pipe.filled > 0 {
      if !sink.isWritable { return .blocked }
      sink.willSend()
      switch pipe.drain(to: sink.fd, more: false) {
      case .bytes(let count): moved += UInt64(count)
      case .wouldBlock: sink.isWritable = false
      case .end, .failed: return .sinkReset
      }
    }
    self.pipe = nil
    tools.pipes.giveBack(pipe)
    return nil
  }

  /// The source has said all it will: the sink hears that, and may still answer. True when the sink is gone, so that
  /// what it has left must be read.
  mutating func carryEnd(to sink: inout SocketState, isLast: Bool) -> Bool {
    guard !hasCarriedEnd else { return false }
    isOpen = false
    hasCarriedEnd = true
    // When both directions are done the sockets are closed at once; a shutdown before that would be one call too many.
    if isLast || Socket.shutdownWrite(sink.fd) { return false }
    sink.isGone = true
    sink.isReadable = true
    return true
  }

  /// Gives the pipe up at the end of a session; a pipe that still holds bytes is closed by its pool.
  mutating func abandon(_ pipes: PipePool) {
    if let pipe { pipes.giveBack(pipe) }
    pipe = nil
    if !surplus.isEmpty { surplus = [] }
    if !held.isEmpty { dropHeld() }
  }
}

extension [UInt8] {
  fileprivate func withSpan<R>(from offset: Int, count: Int, _ body: (Span<UInt8>) -> R) -> R {
    body(span.extracting(offset..<(offset + count)))
  }
}
