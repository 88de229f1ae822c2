// Step "connect": attempts to screened addresses; the first that connects becomes the upstream.
// It relies on the flow to choose the next address; the peer's address is read back for the flow.
import Kernel
import Wire

/// The upstream socket of one session, and the connect attempts that race for it (RFC 8305).
struct Upstream: ~Copyable {
  enum Started {
    case underWay
    case failed(code: CInt)
    /// The gate ran out of descriptors, ports or memory.
    case exhausted
  }

  enum Settled {
    case connected(dialled: IPAddress, peer: IPAddress)
    case failed(code: CInt)
    /// The attempt is still under way, or the event belongs to an abandoned attempt.
    case nothing
  }

  private struct Attempt: ~Copyable {
    let socket: Descriptor
    let tag: UInt8
    let address: IPAddress
  }

  /// A box, since an array cannot hold a noncopyable value.
  private final class Boxed {
    let tag: UInt8
    var attempt: Attempt?

    init(_ attempt: consuming Attempt) {
      tag = attempt.tag
      self.attempt = consume attempt
    }
  }

  /// The first attempt. Mostly there is no second one, so this one needs no allocation.
  private var attempt: Attempt?
  private var attemptTag = Upstream.noTag
  private var others: [Boxed] = []
  private var standing: Descriptor?
  private var standingTag = Upstream.noTag
  private var lastTag: UInt8 = 0
  private(set) var fd: CInt = -1

  /// Marks "no attempt": zero is the client's tag, so no attempt has it.
  private static let noTag: UInt8 = 0

  var isStanding: Bool { fd >= 0 }

  func isStanding(_ tag: UInt8) -> Bool { standingTag == tag }

  mutating func start(_ address: IPAddress, port: UInt16, _ loop: Loop, _ slot: Slot) -> Started {
    do {
      let socket = try Socket.connect(to: SocketAddress(address, port: port))
      // A tag is used again only after 255 attempts, so a stale event does not meet a new socket.
      lastTag = lastTag == .max ? 1 : lastTag + 1
      // A failed watch means exhaustion, whatever errno says: the machine's limit of epoll watches is reached.
      guard (try? loop.watchEdges(socket.raw, slot, tag: lastTag)) != nil else { return .exhausted }
      keep(Attempt(socket: socket, tag: lastTag, address: address))
      return .underWay
    } catch {
      // On a machine without IPv6, this errno means no source address. For IPv4 it means that no port is left.
      if address.width == 128 && error.isWithoutAddress { return .failed(code: error.code) }
      return error.isExhaustion ? .exhausted : .failed(code: error.code)
    }
  }

  /// Handles an event of an attempt. getpeername(2) succeeds only on a connected socket, and names the peer.
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

  /// Closes the upstream and all attempts.
  mutating func close(cut: Bool) {
    if cut, isStanding { Socket.abort(fd) }
    standing = nil
    standingTag = Self.noTag
    fd = -1
    giveUpAttempts()
  }
}
