// c-ares on the loop: queries go out and come back through descriptors that the loop watches; nothing blocks.
// It relies on c-ares calling back exactly once a query, also when the channel is destroyed. The unsafe file of Names.
import CAres
import Flow
import Glibc
import Kernel
import Policy
import Wire

/// What came back for one name and family.
struct LookupReply {
  var name: HostName
  var answer: NameAnswer
  /// How long it may be kept; zero: not at all.
  var ttlSeconds: UInt32
  /// No server answered in time.
  var isTimeout = false
}

/// SAFETY: the channel is made in init, destroyed in deinit on the same loop, and its callbacks run only inside calls
/// made here, while this object lives.
@safe final class AresChannel {
  private static let addressesMax = 16
  /// RFC 2308 section 5 wants negative answers kept for hours at most; a name that appears should not wait so long.
  private static let negativeSecondsMax: UInt32 = 60
  private static let positiveSecondsMax: UInt32 = 86_400

  private let loop: Loop
  private var channel: ares_channel?
  private var sockets: [CInt: AresSocket] = [:]
  private var replies: [LookupReply] = []

  init(loop: Loop, settings: Settings.Resolver) throws(SystemError) {
    self.loop = loop
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
    let mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB
    let status = unsafe ares_init_options(&channel, &options, CInt(mask))
    guard status == ARES_SUCCESS else { throw Self.failure("ares_init") }
    guard !settings.servers.isEmpty else { return }
    let servers = settings.servers.map { "\($0)" }.joined(separator: ",")
    guard unsafe ares_set_servers_ports_csv(channel, servers) == ARES_SUCCESS else {
      throw Self.failure("ares_set_servers")
    }
  }

  deinit {
    unsafe ares_destroy(channel)
    for socket in sockets.values { loop.release(socket.slot) }
  }

  private static func failure(_ stage: String) -> SystemError { SystemError(stage, code: ENOMEM) }

  // MARK: - Queries

  private final class Query {
    let channel: AresChannel
    let name: HostName
    let family: Family

    init(_ channel: AresChannel, _ name: HostName, _ family: Family) {
      self.channel = channel
      self.name = name
      self.family = family
    }
  }

  /// The reply stands in `takeReplies()` at once or after a later event.
  func ask(_ name: HostName, _ family: Family) {
    // SAFETY: retained here, released by the one callback.
    let query = unsafe Unmanaged.passRetained(Query(self, name, family))
    let type: CInt = family == .v4 ? 1 : 28
    unsafe ares_query(
      channel, name.description, 1, type,
      { argument, status, _, bytes, count in
        guard let argument = unsafe argument else { return }
        let query = unsafe Unmanaged<Query>.fromOpaque(argument).takeRetainedValue()
        // SAFETY: c-ares lends the message for the time of the call.
        let message = unsafe UnsafeBufferPointer(start: bytes, count: Int(max(0, count)))
        unsafe query.channel.finished(query, status, message)
      }, query.toOpaque())
  }

  /// Ends all questions: each holds the channel, and none of a channel that was replaced would ever time out.
  func cancel() { unsafe ares_cancel(channel) }

  func takeReplies() -> [LookupReply] {
    defer { replies = [] }
    return replies
  }

  var hasReplies: Bool { !replies.isEmpty }

  private func finished(_ query: Query, _ status: CInt, _ message: UnsafeBufferPointer<UInt8>) {
    var reply = LookupReply(
      name: query.name, answer: NameAnswer(family: query.family, addresses: [], absence: Self.absence(status)),
      ttlSeconds: 0)
    reply.isTimeout = status == ARES_ETIMEOUT
    if status == ARES_SUCCESS {
      let found = unsafe query.family == .v4 ? Self.addresses4(message) : Self.addresses6(message)
      reply.answer.addresses = found.map(\.address)
      reply.ttlSeconds = min(found.map(\.ttlSeconds).min() ?? 0, Self.positiveSecondsMax)
    }
    if reply.answer.addresses.isEmpty && reply.answer.absence != .failure {
      reply.ttlSeconds = min(NegativeAnswer.ttlSeconds(unsafe Array(message)) ?? 0, Self.negativeSecondsMax)
    }
    replies.append(reply)
  }

  private static func absence(_ status: CInt) -> Absence {
    switch status {
    case ARES_ENOTFOUND: .name
    // An answer that has records of other types alone.
    case ARES_SUCCESS, ARES_ENODATA: .address
    default: .failure
    }
  }

  private static func addresses4(_ message: UnsafeBufferPointer<UInt8>) -> [(address: IPAddress, ttlSeconds: UInt32)] {
    var found = [ares_addrttl](repeating: ares_addrttl(), count: addressesMax)
    var count = CInt(addressesMax)
    let status = unsafe ares_parse_a_reply(message.baseAddress, CInt(message.count), nil, &found, &count)
    guard status == ARES_SUCCESS else { return [] }
    return found.prefix(Int(max(0, count))).map {
      (.v4(UInt32(bigEndian: $0.ipaddr.s_addr)), UInt32(clamping: $0.ttl))
    }
  }

  private static func addresses6(_ message: UnsafeBufferPointer<UInt8>) -> [(address: IPAddress, ttlSeconds: UInt32)] {
    var found = [ares_addr6ttl](repeating: ares_addr6ttl(), count: addressesMax)
    var count = CInt(addressesMax)
    let status = unsafe ares_parse_aaaa_reply(message.baseAddress, CInt(message.count), nil, &found, &count)
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

  // MARK: - Descriptors and time

  private func socketChanged(_ fd: CInt, readable: Bool, writable: Bool) {
    if !readable && !writable {
      guard let socket = sockets.removeValue(forKey: fd) else { return }
      _ = loop.watchLevels(fd, socket.slot, tag: 0, readable: false, writable: false, isNew: false)
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
    _ = loop.watchLevels(fd, socket.slot, tag: 0, readable: readable, writable: writable, isNew: known == nil)
  }

  private weak var progress: (any AresProgress)?
  /// Who is told to look for replies.
  func report(to progress: any AresProgress) { self.progress = progress }

  func process(reading: CInt, writing: CInt) {
    unsafe ares_process_fd(channel, reading, writing)
    progress?.progressed()
  }

  /// When c-ares wants to be called although nothing came; nil: no query is under way.
  func timeoutMs() -> UInt64? {
    var next = timeval()
    guard unsafe ares_timeout(channel, nil, &next) != nil else { return nil }
    return UInt64(max(0, next.tv_sec)) * 1000 + UInt64(max(0, next.tv_usec)) / 1000 + 1
  }

  static let noSocket: CInt = -1
}

protocol AresProgress: AnyObject {
  func progressed()
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
