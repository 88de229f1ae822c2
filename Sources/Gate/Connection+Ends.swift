// The end of a connection: the last bytes reach the client, no reset overtakes them, and every resource is released.
// It relies on the deadline to end a connection that its client leaves open.
import Flow
import Intercept
import Kernel

extension Connection {
  mutating func close(_ ending: Ending) {
    report()
    dropInspected()
    up.abandon(worker.tools.pipes)
    if case .cut = ending { return close(cut: true) }
    // Both directions have ended and forwarded their end: nothing is left to send or read.
    if up.hasCarriedEnd && down.hasCarriedEnd && down.isEmpty { return close(cut: false) }
    closeUpstream()
    down.isOpen = false
    down.hold(flow.takeToClient(), isOwn: flow.isReplyOwn)
    phase = .farewell
    arm(atMs: worker.conditions.nowMs + Self.farewellMs)
    sayFarewell()
  }

  mutating func sayFarewell() {
    switch down.finish(to: &client, worker.tools, bucket: downloadBucket()) {
    case nil:
      if up.hasSourceEnded { return close(cut: false) }
      guard Socket.shutdownWrite(client.fd) else { return close(cut: true) }
      phase = .lingering
      lingering.begin(nowMs: worker.conditions.nowMs)
      arm(atMs: lingering.deadlineMs(nowMs: worker.conditions.nowMs))
      // Bytes may have arrived already, and no further edge reports them.
      client.isReadable = true
      linger()
    case .sinkReset: close(cut: true)
    case .limited(let grant):
      // An answer under `on_limit: pace` keeps its pace to its last byte.
      guard pace(grant) else { return close(cut: true) }
      arm(atMs: pacedUntilMs)
    default: break
    }
  }

  /// Reads and drops bytes until the client ends: close(2) with unread bytes sends a reset, which may overtake the
  /// answer.
  mutating func linger() {
    for _ in 0..<Lingering.chunksMax {
      guard client.isReadable else { return }
      switch worker.tools.scratch.receive(from: client.fd, upTo: RelayDirection.copyBytesMax) {
      case .bytes(let count):
        guard lingering.takes(count) else { return close(cut: false) }
        arm(atMs: lingering.deadlineMs(nowMs: worker.conditions.nowMs))
      case .wouldBlock: client.isReadable = false
      case .end, .failed: return close(cut: false)
      }
    }
    worker.loop.again(slot)
  }

  mutating func close(cut: Bool) {
    guard phase != .closed else { return }
    phase = .closed
    forgetLookup()
    dropInspected()
    withdrawApproval()
    if cut { Socket.abort(client.fd) }
    closeUpstream(cut: cut)
    up.abandon(worker.tools.pipes)
    down.abandon(worker.tools.pipes)
    worker.ended(slot, shareOwner, isCut: cut)
    slot = .none
  }

  // MARK: - What comes next

  /// Called before each return to the loop: sets the deadline and the events to wait for.
  mutating func awaitNext() {
    // A reset may arrive in the same event as the request. A waiting client is not read, and no further edge follows.
    if client.isBroken && phase == .open && flow.state.isUndecided { tell(.clientReset) }
    if client.hasPeerEnded && phase == .open && flow.state.isAwaiting { tell(.clientLeft) }
    if !client.isWritable && !hearsClientWritable && phase != .closed {
      hearsClientWritable = true
      // Without this edge the wait for the client would never end: treat the client as gone.
      guard (try? worker.loop.watchWritingEdgesToo(client.fd, slot, tag: Self.clientTag)) != nil else {
        return phase == .farewell ? close(cut: true) : tell(.clientReset)
      }
    }
    guard phase == .open || phase == .flushingAnswer else { return }
    let dueMs = min(flow.deadlineMs, pacedUntilMs, keepAliveAtMs)
    arm(atMs: inspected.map { min(dueMs, $0.deadlineMs) } ?? dueMs)
  }

  mutating func keepAlive() {
    keepAliveAtMs = .max
    for fd in [client.fd, upstream.fd] where fd >= 0 {
      Socket.keepAlive(fd, idleSeconds: Int(Self.keepAliveMs / 1000))
    }
  }

  mutating func arm(atMs dueMs: UInt64) {
    guard dueMs != armedMs else { return }
    armedMs = dueMs
    worker.loop.setDeadline(slot, atMs: dueMs)
  }
}
