// A connection in TLS that carries what a plain one would: its bytes go to one session, and that one's come back.
// It relies on both streams keeping what is not taken; nothing is read for one that is full.
import Kernel
import Wire

final class HTTP1ListenerSession {
  private static let roundsMax = 16

  private let tls: TLSStream
  private let leg: StreamSocket
  private let buffer: ReadBuffer
  private unowned let host: any ListenerSessionHost
  private var hasClientEnded = false
  private var hasSessionEnded = false
  private var hasSaidEnd = false
  private var untaken = SendDeadline()

  init(_ tls: TLSStream, _ leg: StreamSocket, buffer: ReadBuffer, _ host: any ListenerSessionHost) {
    self.tls = tls
    self.leg = leg
    self.buffer = buffer
    self.host = host
  }

  var deadlineMs: UInt64 { untaken.dueMs }

  func advance(_ tick: ListenerTick) -> ListenerProgress {
    for _ in 0..<Self.roundsMax {
      if leg.ending == .cut { return .ended(.cut) }
      _ = leg.flush()
      guard tls.flush(), let hasRead = readClient(), let hasHeard = readSession() else { return clientBroke() }
      if hasSessionEnded && !tls.hasPending && !hasSaidEnd {
        hasSaidEnd = true
        tls.end()
      }
      if hasSaidEnd && leg.ending != nil && !tls.hasPending { return .ended(.graceful) }
      if !hasRead && !hasHeard { return wait(tick) }
    }
    return .again
  }

  private func wait(_ tick: ListenerTick) -> ListenerProgress {
    let isTaken = untaken.holds(
      whileWaiting: tls.hasPending, patienceMs: tick.patienceMs(isServed: leg.ending == nil), nowMs: tick.nowMs
    ) { tls.taken }
    return isTaken ? .waiting : clientBroke()
  }

  private func clientBroke() -> ListenerProgress {
    host.close(leg, isReset: true)
    return .ended(.cut)
  }

  /// nil: its connection broke, or ended without a word: what came may not be all.
  private func readClient() -> Bool? {
    guard !hasClientEnded, tls.isReadable, !leg.isFull else { return false }
    switch buffer.read(from: tls) {
    case .bytes(let count): return buffer.write(0..<count, to: leg)
    case .blocked: return false
    case .ended:
      hasClientEnded = true
      leg.end()
      return true
    case .truncated, .failed: return nil
    }
  }

  private func readSession() -> Bool? {
    guard !hasSessionEnded, leg.isReadable, !tls.isFull else { return false }
    switch buffer.read(from: leg) {
    case .bytes(let count): return buffer.write(0..<count, to: tls) ? true : nil
    case .blocked: return false
    case .ended, .truncated, .failed:
      hasSessionEnded = true
      return true
    }
  }
}
