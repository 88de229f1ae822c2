// One connection to one Redis server on a loop: look-up, connect, TLS, user and password, then commands in a row.
// It relies on its owner to make another one at its end; a connection that is late with an answer is at its end.
import Flow
import Intercept
import Kernel
import Policy
import Wire

/// nil where no server speaks TLS.
struct OutgoingTLSBox: Sendable {
  let value: OutgoingTLS?
}

protocol RedisConnectionOwner: AnyObject {
  func ready(_ connection: RedisConnection)
  func answered(_ connection: RedisConnection, _ token: UInt64, _ value: RedisValue)
  func ended(_ connection: RedisConnection, _ why: StoreProblem)
}

final class RedisConnection: Source {
  typealias RedisServer = Settings.SharedLimits.RedisServer

  struct Account {
    var user: String?
    var password: [UInt8]?
    /// A server that has no password set takes none.
    var isOptional = false
  }

  private enum Phase { case resolving, connecting, shaking, greeting, ready, ended }

  /// The look-up; and then the handshake and the greeting.
  private static let beginMs: UInt64 = 2_000
  /// One address: the next one may answer, and a server that was cut off is found soon after its return.
  private static let connectMs: UInt64 = 500
  private static let greetingToken = UInt64.max

  let server: RedisServer
  private let account: Account
  private let tls: OutgoingTLS?
  private let loop: Loop
  private let resolver: Resolver
  private weak var owner: (any RedisConnectionOwner)?
  private var slot = Slot.none
  private var phase = Phase.resolving
  private var lookup: NameLookup?
  private var unanswered = 0
  private var addresses: [SocketAddress] = []
  private var socket: Descriptor?
  private var fd: CInt = -1
  private var stream: OutgoingStream?
  private let reader: RedisReader
  /// Of commands that were sent, with the moment of each.
  private var awaited: [(token: UInt64, sentMs: UInt64)] = []
  private let scratch = Scratch()
  private var problem = StoreProblem(text: "its name has no address: correct `redis` or the name")
  private var hasAnswered = false

  init?(
    _ server: RedisServer, _ account: Account, _ tls: OutgoingTLS?, _ loop: Loop, _ resolver: Resolver,
    owner: any RedisConnectionOwner
  ) {
    guard let reader = RedisReader() else { return nil }
    self.reader = reader
    (self.server, self.account, self.tls) = (server, account, tls)
    (self.loop, self.resolver, self.owner) = (loop, resolver, owner)
    slot = loop.register(self)
    loop.setDeadline(slot, atMs: loop.nowMs + Self.beginMs)
  }

  /// The host by which a node of a cluster was asked.
  var host: Host? {
    switch server {
    case .tcp(let target), .tls(let target): target.host
    case .unix: nil
    }
  }

  var isReady: Bool { phase == .ready }
  /// No answer is owed.
  var isIdle: Bool { awaited.isEmpty }
  var hasEnded: Bool { phase == .ended }

  // MARK: - Beginning

  func begin() {
    switch server {
    case .unix(let path): connectLocally(path)
    case .tcp(let target), .tls(let target):
      guard case .name(let name) = target.host else {
        if case .address(let address) = target.host { addresses = [SocketAddress(address, port: target.port)] }
        return connectNext()
      }
      look(up: name, port: target.port)
    }
  }

  private func look(up name: HostName, port: UInt16) {
    unanswered = 2
    switch resolver.resolve(name, for: slot, token: 0, owner: .gate, .clients) {
    case .ready(let v4, let v6):
      addresses = (v6.addresses + v4.addresses).map { SocketAddress($0, port: port) }
      connectNext()
    case .pending(let lookup): self.lookup = lookup
    case .full: end("\(name) cannot be looked up now: too many look-ups are under way")
    }
  }

  func resolved(_ answer: NameAnswer) {
    guard phase == .resolving, case .tcp(let target) = server.plain else { return }
    addresses += answer.addresses.map { SocketAddress($0, port: target.port) }
    unanswered -= 1
    guard unanswered == 0 else { return }
    lookup = nil
    connectNext()
  }

  private func connectLocally(_ path: String) {
    do throws(SystemError) { try adopt(LocalSocket.connectAtOnce(to: path)) } catch {
      return end(Self.problem(of: error))
    }
    settle()
  }

  private func connectNext() {
    while phase != .ended, !addresses.isEmpty {
      let address = addresses.removeFirst()
      do throws(SystemError) {
        try adopt(Socket.connect(to: address))
        return
      } catch {
        problem = Self.problem(of: error)
      }
    }
    end(problem)
  }

  private static func problem(of error: SystemError) -> StoreProblem {
    if error.isRefusedConnection || error.isMissingFile {
      return StoreProblem(text: "\(error): start it, or correct `redis`")
    }
    if error.isForbidden {
      return StoreProblem(text: "\(error): the gate's user may not connect to it; look at its rights", isLasting: true)
    }
    return StoreProblem(text: "\(error)")
  }

  private func adopt(_ socket: consuming Descriptor) throws(SystemError) {
    stream = nil
    phase = .connecting
    try loop.watchEdges(socket.raw, slot, tag: 0)
    fd = socket.raw
    self.socket = .some(socket)
    loop.setDeadline(slot, atMs: loop.nowMs + Self.connectMs)
  }

  /// The attempt has come to something.
  private func settle() {
    let code = Socket.pendingError(fd)
    if code == 0, !server.isLocal, Socket.peerAddress(fd) == nil { return }
    guard code == 0, let stream = OutgoingStream(fd: fd, tls, for: host) else {
      problem =
        code == 0 ? StoreProblem(text: "no memory for TLS") : Self.problem(of: SystemError("connect", code: code))
      socket = nil
      return connectNext()
    }
    if !server.isLocal { Socket.sendAtOnce(fd) }
    self.stream = stream
    phase = .shaking
    loop.setDeadline(slot, atMs: loop.nowMs + Self.beginMs)
    shake()
  }

  private func shake() {
    switch stream?.handshake() {
    case .waiting: return
    case .ready: greet()
    case .failed(let why):
      let advice =
        why.hasPrefix("TLS failed")
        ? "does it speak TLS on that port? redis:// is without"
        : "set `ca` to the file of its CA, or name it as its certificate does"
      end(StoreProblem(text: "\(why): \(advice)", isLasting: true))
    case nil: end("no connection")
    }
  }

  private func greet() {
    guard let password = account.password else { return becomeReady() }
    phase = .greeting
    write([Array("AUTH".utf8)] + (account.user.map { [Array($0.utf8)] } ?? []) + [password], Self.greetingToken)
  }

  private func becomeReady() {
    phase = .ready
    rearm()
    owner?.ready(self)
  }

  // MARK: - Commands

  func send(_ words: [[UInt8]], token: UInt64) {
    if phase == .ready { write(words, token) }
  }

  private func write(_ words: [[UInt8]], _ token: UInt64) {
    guard let stream, let bytes = RedisCommand.bytes(words), stream.send(bytes) else {
      return end(endText)
    }
    awaited.append((token, loop.nowMs))
    if phase == .ready, awaited.count == 1 { rearm() }
  }

  private func rearm() {
    loop.setDeadline(slot, atMs: awaited.first.map { $0.sentMs + LeaseTimes.answerMs } ?? .max)
  }

  private func readAll() {
    while let stream, phase == .greeting || phase == .ready {
      switch stream.receive(by: scratch) {
      case .bytes(let count):
        guard scratch.withBytes(count, { reader.feed($0) }) else { return end("its answer is too long") }
        readReplies()
      case .blocked: return
      case .ended, .truncated, .failed: return end(endText)
      }
    }
  }

  private var endText: String {
    if hasAnswered { return "the connection ended" }
    return "it closes without an answer"
      + (server.isTLS || server.isLocal ? "" : ": is it a Redis? If it speaks TLS, write rediss://")
  }

  private func readReplies() {
    while phase == .greeting || phase == .ready {
      switch reader.next() {
      case .incomplete: return
      case .broken(let why): return end("\(why): is it a Redis? If it speaks TLS, write rediss://")
      case .value(let value):
        hasAnswered = true
        guard !awaited.isEmpty else {
          if case .error(let text) = value { return end(RedisRefusal.problem(text)) }
          return end("it answered what nobody asked")
        }
        let token = awaited.removeFirst().token
        if phase == .ready { rearm() }
        if token == Self.greetingToken { greeted(value) } else { owner?.answered(self, token, value) }
      }
    }
  }

  private func greeted(_ value: RedisValue) {
    if case .error(let text) = value, !account.isOptional {
      // A server that does not know the command may quote its words.
      return end(RedisRefusal.problem(text, maySay: false))
    }
    becomeReady()
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) {
    if phase == .connecting { return settle() }
    guard let stream else { return }
    stream.note(readiness)
    if phase == .shaking { shake() }
    guard phase == .greeting || phase == .ready else { return }
    guard stream.flush() else { return end(endText) }
    readAll()
  }

  func deadlinePassed() {
    switch phase {
    case .ended: return
    case .ready: end("no answer within \(LeaseTimes.answerMs) ms: it is stopped, too busy or too far away")
    case .connecting:
      problem = StoreProblem(
        text: "no connection within \(Self.connectMs) ms: is the address right, and does a filter let it through?")
      socket = nil
      connectNext()
    case .resolving: end("no look-up within \(Self.beginMs) ms: do the name servers of `resolver` answer?")
    case .shaking: end("no TLS handshake within \(Self.beginMs) ms: does it speak TLS on that port?")
    case .greeting: end("no answer to AUTH within \(Self.beginMs) ms: it is stopped, or no Redis")
    }
  }

  func resume() {}

  // MARK: - The end

  /// Closes it; its owner hears nothing.
  func close() {
    guard phase != .ended else { return }
    phase = .ended
    if let lookup { resolver.forget(lookup, for: slot, token: 0) }
    lookup = nil
    stream = nil
    socket = nil
    loop.release(slot)
  }

  private func end(_ why: String) { end(StoreProblem(text: why)) }

  private func end(_ why: StoreProblem) {
    guard phase != .ended else { return }
    close()
    owner?.ended(self, why)
  }
}

extension Settings.SharedLimits.RedisServer {
  fileprivate var isLocal: Bool { if case .unix = self { true } else { false } }

  /// Without its TLS.
  fileprivate var plain: Self { if case .tls(let target) = self { .tcp(target) } else { self } }
}
