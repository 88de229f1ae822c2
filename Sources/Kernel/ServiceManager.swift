// Sockets that a service manager has bound (sd_listen_fds(3)), and notices to the manager (sd_notify(3)).
// It relies on one call at the start, before the process opens other files: the sockets are known by their numbers.
import CLinux
import Glibc

package struct HandedSocket: Sendable {
  package enum Kind: Equatable, Sendable {
    case stream(SocketAddress)
    case datagram(SocketAddress)
    /// A listening unix socket with a path.
    case local(String)
    case other
  }

  /// The name that the manager gave; empty without one.
  package let name: String
  package let raw: CInt
  package let kind: Kind

  package init(name: String, raw: CInt, kind: Kind) { (self.name, self.raw, self.kind) = (name, raw, kind) }
}

package struct HandedProblem: Error, CustomStringConvertible {
  package let description: String
  init(_ text: String) { description = text }
}

package enum HandedSockets {
  private static let first: CInt = 3
  private static let countMax = 1024

  /// Empty if the variables name another process: they may have been inherited.
  package static func take() throws(HandedProblem) -> [HandedSocket] {
    guard let owner = Environment.value("LISTEN_PID"), owner == "\(Machine.processID)" else { return [] }
    let text = Environment.value("LISTEN_FDS") ?? ""
    guard let count = Int(text), (0...countMax).contains(count) else {
      throw HandedProblem("LISTEN_FDS is a number of sockets up to \(countMax), not `\(text)`")
    }
    return try name(count, names: Environment.value("LISTEN_FDNAMES")).map { number, name in
      HandedSocket(name: name, raw: first + CInt(number), kind: kind(first + CInt(number)))
    }
  }

  /// The numbers of the sockets, from 0, with their names.
  package static func name(_ count: Int, names text: String?) throws(HandedProblem) -> [(Int, String)] {
    guard let text else { return (0..<count).map { ($0, "") } }
    let names = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard names.count == count || count == 0 else {
      throw HandedProblem("LISTEN_FDS says \(count) sockets, and LISTEN_FDNAMES has \(names.count) names")
    }
    return count == 0 ? [] : Array(zip(0..., names))
  }

  private static func kind(_ fd: CInt) -> HandedSocket.Kind {
    if let address = Socket.localAddress(fd) {
      if LocalSocket.isListener(fd, isDatagram: false) { return .stream(address) }
      if LocalSocket.isListener(fd, isDatagram: true) { return .datagram(address) }
    }
    return LocalSocket.listenerPath(fd).map { .local($0) } ?? .other
  }

  /// Sets the socket's options as for one that this process made. Throws if an IPv6 socket would take IPv4 clients.
  package static func adopt(_ socket: HandedSocket) throws(SystemError) {
    var result: CInt = 0
    switch socket.kind {
    case .stream: result = clinux_adopt_listener(socket.raw, 0)
    case .datagram: result = clinux_adopt_listener(socket.raw, 1)
    case .local, .other: result = clinux_adopt(socket.raw)
    }
    if result < 0 { throw SystemError("taking over a socket", code: -result) }
  }

  /// Duplicates the socket for another loop.
  package static func duplicate(_ raw: CInt) throws(SystemError) -> CInt {
    let copy = clinux_duplicate(raw)
    if copy < 0 { throw SystemError("dup", code: -copy) }
    return copy
  }
}

/// The socket for notices, opened before the process gives up opening sockets.
package final class ServiceNotices {
  private let socket: Descriptor

  private init(_ socket: consuming Descriptor) { self.socket = socket }

  /// Nil if no manager asked for notices.
  package static func open() throws(SystemError) -> ServiceNotices? {
    guard let path = Environment.value("NOTIFY_SOCKET"), !path.isEmpty else { return nil }
    let fd = unsafe clinux_local_datagrams_to(path)
    if fd < 0 { throw SystemError("connecting to NOTIFY_SOCKET \(path)", code: -fd) }
    return ServiceNotices(Descriptor(owning: fd))
  }

  /// Failures are ignored: a manager that has gone needs no message.
  package func tell(_ text: String) { _ = Socket.send(socket.raw, Array(text.utf8).span) }
}
