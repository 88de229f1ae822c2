// c-ares on the loop: the questions of one look-up go out and come back through descriptors that the loop watches.
// It relies on c-ares calling back exactly once a query, also when the channel is destroyed. The unsafe file of DNS.
import CAres
import Flow
import Glibc
import Kernel
import Policy
import Wire

/// The result of one question.
struct LookupReply {
  var type: DNSType
  /// The meaning of an answer without records of the type.
  var absence: Absence
  /// The whole message; empty where none came.
  var message: [UInt8]
  /// No server answered in time.
  var isTimeout = false
}

protocol AresProgress: AnyObject {
  func progressed(_ channel: AresChannel)
}

/// One channel for each look-up under way. c-ares 1.18 walks all questions of a channel for its next timeout, and can
/// cancel them only all together: with two to a channel the one costs nothing, and the other is what is wanted.
/// Measured
/// with 1,000 new names per second that nobody answers, each given up at once: see docs/dns.md.
///
/// SAFETY: the channel is made in init, destroyed in deinit on the same loop, and its callbacks run only inside calls
/// made here, while this object lives.
@safe final class AresChannel: Source {
  private let loop: Loop
  private var channel: ares_channel?
  private var slot = Slot.none
  private var sockets: [CInt: AresSocket] = [:]
  private var replies: [LookupReply] = []
  private weak var progress: (any AresProgress)?
  /// Look-up that the questions belong to; nil while idle.
  var lookup: NameLookup?

  init(loop: Loop, settings: Settings.Resolver, reportingTo progress: any AresProgress) throws(SystemError) {
    self.loop = loop
    self.progress = progress
    guard ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS else { throw Self.failure("ares_library_init") }
    var options = unsafe ares_options()
    // Names are absolute: a search list would ask for names that nobody judged.
    unsafe options.flags = ARES_FLAG_NOSEARCH
    unsafe options.timeout = CInt(clamping: settings.timeoutMs)
    unsafe options.tries = CInt(clamping: settings.attempts)
    unsafe options.sock_state_cb = { data, fd, readable, writable in
      guard let data = unsafe data else { return }
      unsafe Unmanaged<AresChannel>.fromOpaque(data).takeUnretainedValue()
        .socketChanged(fd, readable: readable != 0, writable: writable != 0)
    }
    unsafe options.sock_state_cb_data = Unmanaged.passUnretained(self).toOpaque()
    let mask =
      ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS
      | ARES_OPT_RESOLVCONF
    // No file is read for a look-up: the servers are known, and a path that is empty is no file.
    let (lookups, path): ([CChar], [CChar]) = ([CChar(bitPattern: UInt8(ascii: "b")), 0], [0])
    // SAFETY: c-ares writes to neither text, and copies both within the call.
    let status = unsafe lookups.withUnsafeBufferPointer { lookups in
      unsafe path.withUnsafeBufferPointer { path in
        unsafe options.lookups = UnsafeMutablePointer(mutating: lookups.baseAddress)
        unsafe options.resolvconf_path = UnsafeMutablePointer(mutating: path.baseAddress)
        return unsafe ares_init_options(&channel, &options, CInt(mask))
      }
    }
    guard status == ARES_SUCCESS else { throw Self.failure("ares_init") }
    let servers = settings.servers.map { "\($0)" }.joined(separator: ",")
    guard unsafe ares_set_servers_ports_csv(channel, servers) == ARES_SUCCESS else {
      throw Self.failure("ares_set_servers")
    }
    slot = loop.register(self)
  }

  deinit {
    unsafe ares_destroy(channel)
    for socket in sockets.values { loop.release(socket.slot) }
  }

  private static func failure(_ stage: String) -> SystemError { SystemError(stage, code: ENOMEM) }

  /// The loop lets go of it.
  func end() {
    cancel()
    loop.release(slot)
    slot = .none
  }

  // MARK: - Questions

  private final class Question {
    let channel: AresChannel
    let type: DNSType

    init(_ channel: AresChannel, _ type: DNSType) {
      self.channel = channel
      self.type = type
    }
  }

  /// The reply stands in `takeReplies()` after a later call of `progressed`.
  func ask(_ name: HostName, _ type: DNSType) {
    // SAFETY: retained here, released by the one callback.
    let question = unsafe Unmanaged.passRetained(Question(self, type))
    unsafe ares_query(
      channel, name.description, 1, CInt(type.rawValue),
      { argument, status, _, bytes, count in
        guard let argument = unsafe argument else { return }
        let question = unsafe Unmanaged<Question>.fromOpaque(argument).takeRetainedValue()
        // SAFETY: c-ares lends the message for the time of the call.
        let message = unsafe UnsafeBufferPointer(start: bytes, count: Int(max(0, count)))
        question.channel.replies.append(
          LookupReply(
            type: question.type, absence: absence(status), message: unsafe Array(message),
            isTimeout: status == ARES_ETIMEOUT))
      }, question.toOpaque())
    // Where nothing could be sent, the reply is there already.
    if !replies.isEmpty { loop.again(slot) }
    armTimeout()
  }

  /// Ends all questions, and their descriptors with them.
  func cancel() {
    lookup = nil
    unsafe ares_cancel(channel)
    replies = []
    loop.setDeadline(slot, atMs: .max)
  }

  func takeReplies() -> [LookupReply] {
    defer { replies = [] }
    return replies
  }

  // MARK: - Descriptors and time

  private func socketChanged(_ fd: CInt, readable: Bool, writable: Bool) {
    if !readable && !writable {
      guard let socket = sockets.removeValue(forKey: fd) else { return }
      // c-ares closes it next, and epoll forgets what is closed.
      try? loop.watchLevels(fd, socket.slot, tag: 0, readable: false, writable: false, isNew: false)
      loop.release(socket.slot)
      return
    }
    let known = sockets[fd]
    let socket = known ?? AresSocket(channel: self, fd: fd)
    if known == nil {
      sockets[fd] = socket
      socket.slot = loop.register(socket)
    }
    // Where the kernel refuses, the query times out: the same to the client as a server that does not answer.
    try? loop.watchLevels(fd, socket.slot, tag: 0, readable: readable, writable: writable, isNew: known == nil)
  }

  func process(reading: CInt, writing: CInt) {
    unsafe ares_process_fd(channel, reading, writing)
    armTimeout()
    progress?.progressed(self)
  }

  private func armTimeout() {
    var next = timeval()
    guard unsafe ares_timeout(channel, nil, &next) != nil else { return loop.setDeadline(slot, atMs: .max) }
    let waitMs = UInt64(max(0, next.tv_sec)) * 1000 + UInt64(max(0, next.tv_usec)) / 1000 + 1
    loop.setDeadline(slot, atMs: loop.nowMs + waitMs)
  }

  static let noSocket: CInt = -1

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) {}
  func deadlinePassed() { process(reading: Self.noSocket, writing: Self.noSocket) }
  func resume() { progress?.progressed(self) }
}

private func absence(_ status: CInt) -> Absence {
  switch status {
  case ARES_ENOTFOUND: .name
  // An answer that has records of other types alone.
  case ARES_SUCCESS, ARES_ENODATA: .address
  default: .failure
  }
}

extension LookupReply {
  /// More records than this stand in no message of 64 KiB: each takes twelve bytes at least.
  private static let recordsMax = 5461

  private var recordCount: Int { message.count < 12 ? 0 : min(Int(message[6]) << 8 | Int(message[7]), Self.recordsMax) }

  /// All addresses of the family, and how long they may be kept.
  func addresses(_ family: Family) -> (addresses: [IPAddress], ttlSeconds: UInt32) {
    let found = family == .v4 ? addresses4() : addresses6()
    return (found.map(\.address), found.map(\.ttlSeconds).min() ?? 0)
  }

  private func addresses4() -> [(address: IPAddress, ttlSeconds: UInt32)] {
    guard recordCount > 0 else { return [] }
    var found = [ares_addrttl](repeating: ares_addrttl(), count: recordCount)
    var count = CInt(recordCount)
    guard unsafe ares_parse_a_reply(message, CInt(message.count), nil, &found, &count) == ARES_SUCCESS else {
      return []
    }
    return found.prefix(Int(max(0, count))).map {
      (.v4(UInt32(bigEndian: $0.ipaddr.s_addr)), UInt32(clamping: $0.ttl))
    }
  }

  private func addresses6() -> [(address: IPAddress, ttlSeconds: UInt32)] {
    guard recordCount > 0 else { return [] }
    var found = [ares_addr6ttl](repeating: ares_addr6ttl(), count: recordCount)
    var count = CInt(recordCount)
    let status = unsafe ares_parse_aaaa_reply(message, CInt(message.count), nil, &found, &count)
    guard status == ARES_SUCCESS else { return [] }
    return found.prefix(Int(max(0, count))).map { entry in
      // SAFETY: the address is 16 bytes of a local copy.
      let halves = unsafe withUnsafeBytes(of: entry.ip6addr) { raw in
        (
          unsafe UInt64(bigEndian: raw.loadUnaligned(as: UInt64.self)),
          unsafe UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        )
      }
      return (.v6(high: halves.0, low: halves.1), UInt32(clamping: entry.ttl))
    }
  }
}

/// One descriptor of c-ares on the loop.
final class AresSocket: Source {
  private unowned let channel: AresChannel
  private let fd: CInt
  var slot = Slot.none

  init(channel: AresChannel, fd: CInt) {
    self.channel = channel
    self.fd = fd
  }

  func ready(_ readiness: Readiness, tag: UInt8) {
    let mayRead = readiness.isReadable || readiness.isBroken
    channel.process(
      reading: mayRead ? fd : AresChannel.noSocket, writing: readiness.isWritable ? fd : AresChannel.noSocket)
  }

  func deadlinePassed() {}
  func resume() {}
}
