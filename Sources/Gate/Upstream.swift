// Step "connect": attempts to screened addresses, of which the first that stands becomes the upstream.
// It relies on the flow to say which address comes next; the peer is read back and handed to the flow.
import Kernel
import Wire

/// The upstream socket of one session, and the attempts that race for that place (RFC 8305).
struct Upstream {
  enum Started {
    case underWay
    case failed(code: CInt)
    /// No descriptor, no port, no memory: the gate's own fault.
    case exhausted
  }

  enum Settled {
    case connected(dialled: IPAddress, peer: IPAddress)
    case failed(code: CInt)
    /// Not yet, or an event of an attempt that was given up.
    case nothing
  }

  private final class Attempt {
    let socket: Descriptor
    let tag: UInt8
    let address: IPAddress

    init(socket: consuming Descriptor, tag: UInt8, address: IPAddress) {
      self.socket = socket
      self.tag = tag
      self.address = address
    }
  }

  /// The first one races alone, as a rule.
  private var attempt: Attempt?
  private var others: [Attempt] = []
  private var standing: Attempt?
  private var lastTag: UInt8 = 0

  var isStanding: Bool { standing != nil }
  var fd: CInt { standing?.socket.raw ?? -1 }

  func isStanding(_ tag: UInt8) -> Bool { standing?.tag == tag }

  mutating func start(_ address: IPAddress, port: UInt16, _ loop: Loop, _ slot: Slot) -> Started {
    do {
      let socket = try Socket.connect(to: SocketAddress(address, port: port))
      // Zero is the client's tag; with 255 attempts a session, a stale event cannot meet a new socket of its tag.
      lastTag = lastTag == .max ? 1 : lastTag + 1
      guard loop.watchEdges(socket.raw, slot, tag: lastTag) else { return .exhausted }
      let attempt = Attempt(socket: socket, tag: lastTag, address: address)
      keep(attempt)
      return .underWay
    } catch {
      // A machine without IPv6 has no source address for it: of IPv4, it says that no port is left.
      if address.width == 128 && error.isWithoutAddress { return .failed(code: error.code) }
      return error.isExhaustion ? .exhausted : .failed(code: error.code)
    }
  }

  /// An event on an attempt's socket. getpeername(2) tells at once that it stands, and with whom.
  mutating func settle(_ tag: UInt8) -> Settled {
    guard let attempt = take(tag) else { return .nothing }
    if let peer = Socket.peerAddress(attempt.socket.raw) {
      giveUpAttempts()
      standing = attempt
      return .connected(dialled: attempt.address, peer: peer.ip)
    }
    let code = Socket.pendingError(attempt.socket.raw)
    if code != 0 { return .failed(code: code) }
    keep(attempt)
    return .nothing
  }

  private mutating func keep(_ attempt: Attempt) {
    if self.attempt == nil { self.attempt = attempt } else { others.append(attempt) }
  }

  private mutating func take(_ tag: UInt8) -> Attempt? {
    if attempt?.tag == tag { return attempt.take() }
    return others.firstIndex { $0.tag == tag }.map { others.remove(at: $0) }
  }

  private mutating func giveUpAttempts() {
    attempt = nil
    if !others.isEmpty { others = [] }
  }

  /// Closes what stands and what is under way.
  mutating func close(cut: Bool) {
    if cut, let standing { Socket.abort(standing.socket.raw) }
    standing = nil
    giveUpAttempts()
  }
}
