// Sockets bound by a service manager, used instead of sockets that the gate would bind.
// It relies on `listen` for the gate's addresses: a socket for another address is an error, not one more listener.
import Kernel
import Policy
import Wire

struct HandedListeners: Sendable {
  private struct Place: Hashable {
    let door: ListenerKind
    let address: ListenAddress
  }

  private var streams: [Place: [CInt]] = [:]
  private var datagrams: [Place: [CInt]] = [:]
  /// The admin socket, and its path.
  private(set) var admin: (raw: CInt, path: String)?

  /// `listen` and `adminPath` are the settings in force, from the options or else the policy.
  init(
    _ sockets: [HandedSocket], listen: (ListenerKind) -> [ListenAddress], adminPath: String?
  ) throws(ServerError) {
    for socket in sockets { try take(socket, listen, adminPath) }
    for (place, _) in datagrams where streams[place] == nil { throw Self.lacks("ListenStream", place) }
    for (place, _) in streams where place.door == .dns && datagrams[place] == nil {
      throw Self.lacks("ListenDatagram", place)
    }
  }

  private mutating func take(
    _ socket: HandedSocket, _ listen: (ListenerKind) -> [ListenAddress], _ adminPath: String?
  ) throws(ServerError) {
    if socket.name == "admin" {
      try takeAdmin(socket, adminPath)
    } else if let door = ListenerKind(rawValue: socket.name) {
      let place = try Self.place(of: socket, door)
      guard listen(door).contains(place.address) else {
        throw .handed(
          "\(Self.text(socket)) listens on \(place.address), which is not among the gate's listeners; write `listen: {\(door): \(Self.quoted(place.address))}` into the policy, or change the socket unit"
        )
      }
      if case .datagram = socket.kind {
        datagrams[place, default: []].append(socket.raw)
      } else {
        streams[place, default: []].append(socket.raw)
      }
    } else {
      let known = (ListenerKind.allCases.map(\.rawValue) + ["admin"]).joined(separator: ", ")
      let called = socket.name.isEmpty ? "has no name" : "is named `\(socket.name)`"
      throw .handed(
        "socket \(socket.raw) \(called); name it after the key of `listen` that it is for "
          + "(FileDescriptorName= one of \(known))"
      )
    }
    do throws(SystemError) { try HandedSockets.adopt(socket) } catch {
      let advice = error.isWrongFamily ? "; it would take IPv4 clients too: set BindIPv6Only=ipv6-only" : ""
      throw .handed("\(Self.text(socket)): \(error)\(advice)")
    }
  }

  private static func place(of socket: HandedSocket, _ door: ListenerKind) throws(ServerError) -> Place {
    switch socket.kind {
    case .stream(let address):
      return Place(door: door, address: ListenAddress(address.ip, port: address.port))
    case .datagram(let address) where door == .dns:
      return Place(door: door, address: ListenAddress(address.ip, port: address.port))
    case .datagram, .local, .other:
      let wanted = door == .dns ? "ListenStream= and ListenDatagram= with ADDRESS:PORT" : "ListenStream=ADDRESS:PORT"
      throw .handed("\(text(socket)) is not of the kind that `\(door)` takes; give the socket unit \(wanted)")
    }
  }

  private mutating func takeAdmin(_ socket: HandedSocket, _ path: String?) throws(ServerError) {
    guard case .local(let bound) = socket.kind else {
      throw .handed("\(Self.text(socket)) is no unix socket that listens; give the socket unit ListenStream=/PATH")
    }
    if admin != nil { throw .handed("two sockets are named `admin`; the gate has one") }
    guard bound == path else {
      let other = path.map { "the gate's admin socket is \($0)" } ?? "the gate has no admin socket"
      throw .handed(
        "\(Self.text(socket)) listens at \(bound), and \(other); write `listen: {admin: \(bound)}` into the policy, or change the socket unit"
      )
    }
    admin = (socket.raw, bound)
  }

  private static func lacks(_ key: String, _ place: Place) -> ServerError {
    .handed(
      "a socket for dns on \(place.address) came alone; it takes datagrams and streams: add \(key)=\(place.address)")
  }

  private static func text(_ socket: HandedSocket) -> String { "socket \(socket.raw) (\(socket.name))" }

  private static func quoted(_ address: ListenAddress) -> String {
    if case .v6 = address.address { return "\"\(address)\"" }
    return "\(address)"
  }

  // MARK: - Handing on

  /// The sockets of this listener per worker. Nil if none was handed in.
  func sockets(_ door: ListenerKind, _ address: ListenAddress, workers: Int) throws(SystemError) -> [[BoundSocket]]? {
    let place = Place(door: door, address: address)
    guard let streams = streams[place] else { return nil }
    var sockets = try Self.spread(streams, .stream, door, workers)
    if let datagrams = datagrams[place] {
      for (worker, more) in try Self.spread(datagrams, .datagram, door, workers).enumerated() {
        sockets[worker] += more
      }
    }
    return sockets
  }

  /// Each worker gets at least one socket, and each socket at least one worker.
  private static func spread(
    _ raws: [CInt], _ transport: BoundSocket.Transport, _ door: ListenerKind, _ workers: Int
  ) throws(SystemError) -> [[BoundSocket]] {
    var sockets = [[BoundSocket]](repeating: [], count: workers)
    for index in 0..<max(workers, raws.count) {
      let raw = raws[index % raws.count]
      sockets[index % workers].append(
        BoundSocket(
          door: door, transport: transport, raw: index < raws.count ? raw : try HandedSockets.duplicate(raw),
          isShared: workers > raws.count))
    }
    return sockets
  }
}
