// The TLS of one connection to a listener that speaks it: the handshake, and then the bytes between the client and the
// sessions behind. It relies on its host to make a session for each request stream; it judges nothing itself.
import Kernel
package import Policy
import Wire

/// What a listener shows, ready for use.
package final class ListenerTLS: Sendable {
  let context: TLSContext

  package init(_ identity: UpstreamTLS.Identity) throws(TLSProblem) { context = try TLSContext.listener(identity) }
}

package enum StreamSocketOffer {
  case leg(StreamSocket)
  /// There are too many connections; that is written down.
  case tooMany
  /// The log has no room for a line more.
  case notNow
}

/// Owner of the sockets: the Gate.
package protocol ListenerSessionHost: AnyObject {
  /// A session for one stream of HTTP/2, or, with zero, for all that the connection carries.
  func openLeg(for stream: Int32) -> StreamSocketOffer
  /// Nothing more is read of it. `isReset`: its client went away, and its session is to end at once.
  func close(_ leg: StreamSocket, isReset: Bool)
  /// Something that never came to be a request.
  func record(_ reason: Reason, _ detail: String)
}

/// What one turn of the loop lends to a front.
package struct ListenerTick {
  package var nowMs: UInt64
  package var headBytesMax: Int
  package var headMs: UInt64
  package var keepAliveMs: UInt64
  package var idleMs: UInt64
  package var isDraining: Bool

  package init(
    nowMs: UInt64, headBytesMax: Int, headMs: UInt64, keepAliveMs: UInt64, idleMs: UInt64, isDraining: Bool
  ) {
    self.nowMs = nowMs
    self.headBytesMax = headBytesMax
    self.headMs = headMs
    self.keepAliveMs = keepAliveMs
    self.idleMs = idleMs
    self.isDraining = isDraining
  }

  /// How long a client may leave bytes untaken: while a session works for it, as long as that may be idle.
  func patienceMs(isServed: Bool) -> UInt64 { isServed ? idleMs : min(idleMs, SendDeadline.patienceMs) }
}

package enum ListenerProgress {
  /// Nothing more to do before the next edge, or its deadline.
  case waiting
  /// The fairness budget is used up.
  case again
  case ended(StreamSocket.Ending)
}

/// ```
///   handshake --- ALPN h2 ---> a session a stream ---> ended
///       |                                                ^
///       +--- http/1.1, or none ---> one session ---------+
/// ```
package final class TLSListenerSession {
  private enum Phase {
    case handshake
    case http1(HTTP1ListenerSession)
    case http2(HTTP2ListenerSession)
  }

  private let tls: TLSStream
  private let tools: InterceptTools
  private let startedMs: UInt64
  private var phase = Phase.handshake
  package private(set) var deadlineMs = UInt64.max

  /// `early` came before TLS was thought of. nil without memory for it.
  package init?(_ listener: ListenerTLS, _ tools: InterceptTools, fd: CInt, early: [UInt8], startedMs: UInt64) {
    guard let tls = TLSStream(listener.context, fd: fd, early: early) else { return nil }
    self.tls = tls
    self.tools = tools
    self.startedMs = startedMs
    tls.serve()
  }

  package func noteClient(isReadable: Bool, isWritable: Bool, hasPeerEnded: Bool) {
    tls.note(isReadable: isReadable, isWritable: isWritable, hasPeerEnded: hasPeerEnded)
  }

  /// A session said something, took something, or is gone.
  package func legChanged(_ leg: StreamSocket) {
    if case .http2(let front) = phase { front.legChanged(leg.stream) }
  }

  package func advance(_ tick: ListenerTick, _ host: any ListenerSessionHost) -> ListenerProgress {
    if case .handshake = phase, let progress = shakeHands(tick, host) { return progress }
    switch phase {
    case .handshake: return .waiting
    case .http1(let front):
      defer { deadlineMs = front.deadlineMs }
      return front.advance(tick)
    case .http2(let front):
      defer { deadlineMs = front.deadlineMs }
      return front.advance(tick)
    }
  }

  private func shakeHands(_ tick: ListenerTick, _ host: any ListenerSessionHost) -> ListenerProgress? {
    switch tls.handshake() {
    case .done: return begin(tick, host) ? nil : .ended(.cut)
    case .failed:
      host.record(.badRequest, "TLS handshake with the client failed")
      return .ended(.cut)
    case .blocked:
      deadlineMs = startedMs + tick.headMs
      if tick.isDraining { return .ended(.cut) }
      if tick.nowMs < deadlineMs { return .waiting }
      host.record(.timeout, "TLS handshake with the client did not end in time")
      return .ended(.cut)
    }
  }

  private func begin(_ tick: ListenerTick, _ host: any ListenerSessionHost) -> Bool {
    if tls.chosenProtocol == .http2 {
      guard let library = tools.http2, let front = HTTP2ListenerSession(tls, buffer: tools.buffer, library, tick, host)
      else {
        return false
      }
      phase = .http2(front)
      return true
    }
    guard case .leg(let leg) = host.openLeg(for: 0) else { return false }
    phase = .http1(HTTP1ListenerSession(tls, leg, buffer: tools.buffer, host))
    return true
  }
}
