// Step "connect": attempts to screened addresses, of which the first that stands becomes the upstream.
// It relies on the flow to say which address comes next; the peer is read back and handed to the flow.
import Kernel
import Wire

/// The upstream socket of one session, and the attempts that race for that place (RFC 8305).
struct Upstream: ~Copyable {
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

  private struct Attempt: ~Copyable {
    let socket: Descriptor
    let tag: UInt8
    let address: IPAddress
  }

  /// An array holds what can be copied.
  private final class Boxed {
    let tag: UInt8
    var attempt: Attempt?

    init(_ attempt: consuming Attempt) {
      tag = attempt.tag
      self.attempt = consume attempt
    }
  }

  /// The first one races alone, as a rule: it needs no allocation.
  private var attempt: Attempt?
  private var attemptTag = Upstream.noTag
  private var others: [Boxed] = []
  private var standing: Descriptor?
  private var standingTag = Upstream.noTag
  private var lastTag: UInt8 = 0
  private(set) var fd: CInt = -1

  /// Zero is the client's tag.
  private static let noTag: UInt8 = 0

  var isStanding: Bool { fd >= 0 }

  func isStanding(_ tag: UInt8) -> Bool { standingTag == tag }

  mutating func start(_ address: IPAddress, port: UInt16, _ loop: Loop, _ slot: Slot) -> Started {
    do {
      let socket = try Socket.connect(to: SocketAddress(address, port: port))
      // With 255 attempts a session, a stale event cannot meet a new socket of its tag.
      lastTag = lastTag == .max ? 1 : lastTag + 1
      // Exhaustion of the machine's, whatever errno says: its table of watches is full.
      guard (try? loop.watchEdges(socket.raw, slot, tag: lastTag)) != nil else { return .exhausted }
      keep(Attempt(socket: socket, tag: lastTag, address: address))
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
      let address = attempt.address
      standingTag = tag
      fd = attempt.socket.raw
      standing = .some(attempt.socket)
      return .connected(dialled: address, peer: peer.ip)
    }
    let code = Socket.pendingError(attempt.socket.raw)
    if code != 0 { return .failed(code: code) }
    keep(attempt)
    return .nothing
  }

  private mutating func keep(_ attempt: consuming Attempt) {
    if attemptTag == Self.noTag {
      attemptTag = attempt.tag
      self.attempt = consume attempt
    } else {
      others.append(Boxed(attempt))
    }
  }

  private mutating func take(_ tag: UInt8) -> Attempt? {
    if attemptTag == tag {
      attemptTag = Self.noTag
      return attempt.take()
    }
    guard let place = others.firstIndex(where: { $0.tag == tag }) else { return nil }
    return others.remove(at: place).attempt.take()
  }

  private mutating func giveUpAttempts() {
    attempt = nil
    attemptTag = Self.noTag
    if !others.isEmpty { others = [] }
  }

  /// Closes what stands and what is under way.
  mutating func close(cut: Bool) {
    if cut, isStanding { Socket.abort(fd) }
    standing = nil
    standingTag = Self.noTag
    fd = -1
    giveUpAttempts()
  }
}
