// Unix sockets with a path: listeners for their owner only, the peer's identity, and passed descriptors.
// It relies on a lock on the folder while a path is taken: of two gates that start at once, one finds the other.
import CLinux
import Glibc

/// The reason why the gate cannot listen at a path.
package enum LocalSocketProblem: Error, CustomStringConvertible {
  case answers(String)
  case notASocket(String)
  case failed(String, SystemError)

  package var description: String {
    switch self {
    case .answers(let path): "\(path): another process listens there; end it, or choose another path"
    case .notASocket(let path): "\(path): a file that is no socket stands there; remove it, or choose another path"
    case .failed(let path, let error): "\(path): \(error)"
    }
  }
}

/// The process at the other end, as the kernel saw it when the connection was opened.
package struct LocalPeer: Sendable {
  /// The pid in this process's pid namespace; 0 for a process outside of it.
  package let pid: Int32
  package let uid: UInt32
}

package enum LocalSocket {
  package static let pathBytesMax = Int(CLINUX_LOCAL_PATH_MAX)
  package static let descriptorsMax = Int(CLINUX_DESCRIPTORS_MAX)
  private static let lockTriesMax = 200

  /// Connects as a client: each read and write waits at most `waitSeconds`.
  package static func connect(to path: String, waitSeconds: Int) throws(SystemError) -> Descriptor {
    let fd = unsafe clinux_local_connect(path, CInt(waitSeconds))
    guard fd >= 0 else { throw SystemError("connect", code: -fd) }
    return Descriptor(owning: fd)
  }

  /// Connects a nonblocking socket.
  package static func connectAtOnce(to path: String) throws(SystemError) -> Descriptor {
    let fd = unsafe clinux_local_connect_at_once(path)
    guard fd >= 0 else { throw SystemError("connect \(path)", code: -fd) }
    return Descriptor(owning: fd)
  }

  package static func peer(of fd: CInt) -> LocalPeer? {
    var (pid, uid): (CInt, UInt32) = (0, 0)
    // SAFETY: two locals for the time of the call.
    guard unsafe clinux_local_peer(fd, &pid, &uid) == 0 else { return nil }
    return LocalPeer(pid: pid, uid: uid)
  }

  /// True if a process is in this pid namespace, and not in a namespace below it, as a sandbox's processes are. False
  /// if /proc does not tell.
  package static func sharesNamespace(pid: Int32) -> Bool {
    guard pid > 0, let status = FileBytes.read("/proc/\(pid)/status", bytesMax: 64 << 10) else { return false }
    let lines = status.split(separator: UInt8(ascii: "\n"))
    guard let line = lines.first(where: { $0.starts(with: Array("NSpid:".utf8)) }) else { return false }
    return line.dropFirst(6).split(whereSeparator: { $0 == 9 || $0 == 32 }).count == 1
  }

  // MARK: - Bytes with descriptors

  /// Returns the number of bytes sent. The descriptors go with the first byte.
  package static func send(_ fd: CInt, _ bytes: [UInt8], with descriptors: [CInt] = []) -> Transfer {
    Transfer(writing: unsafe clinux_send_descriptors(fd, bytes, bytes.count, descriptors, CInt(descriptors.count)))
  }

  package static func receive(
    _ fd: CInt, upTo count: Int, into bytes: inout [UInt8], _ descriptors: inout [CInt]
  ) -> Transfer {
    var chunk = [UInt8](repeating: 0, count: count)
    var fds = [CInt](repeating: -1, count: descriptorsMax)
    var held: CInt = 0
    // SAFETY: arrays and a local for the time of the call, with room for what it writes.
    let got = Transfer(reading: unsafe clinux_receive_descriptors(fd, &chunk, count, &fds, &held))
    descriptors += fds.prefix(Int(held))
    if case .bytes(let count) = got { bytes += chunk.prefix(count) }
    return got
  }

  package static func isListener(_ fd: CInt, isDatagram: Bool) -> Bool {
    clinux_is_listener(fd, isDatagram ? 1 : 0) == 1
  }
  /// The path of a listening unix socket. Nil for any other descriptor.
  package static func listenerPath(_ fd: CInt) -> String? {
    var text = [CChar](repeating: 0, count: pathBytesMax + 1)
    // SAFETY: the array lives through the call and has room for the longest path.
    let length = unsafe clinux_local_listener_path(fd, &text)
    return length > 0 ? String(decoding: text.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
  }
  package static func setNonBlocking(_ fd: CInt) -> Bool { clinux_set_nonblocking(fd) == 0 }
  /// Closes received descriptors that are not wanted.
  package static func close(_ descriptors: [CInt]) { for raw in descriptors { _ = Glibc.close(raw) } }

  // MARK: - Taking a path

  fileprivate static func lock(folderOf path: String) throws(LocalSocketProblem) -> Descriptor {
    let folder = path.folderOfPath
    var fd = unsafe clinux_lock_folder(folder)
    var triesLeft = lockTriesMax
    while fd == -EWOULDBLOCK && triesLeft > 0 {
      Clock.pause(ms: 10)
      triesLeft -= 1
      fd = unsafe clinux_lock_folder(folder)
    }
    guard fd >= 0 else { throw .failed(path, SystemError("opening and locking \(folder)", code: -fd)) }
    return Descriptor(owning: fd)
  }

  /// Call under the lock, which is held from the check of the path until connections are accepted.
  fileprivate static func take(_ path: String, _ fd: CInt, backlog: CInt) throws(LocalSocketProblem) -> [UInt64]? {
    let lock = try lock(folderOf: path)
    defer { withExtendedLifetime(lock) {} }
    var result = unsafe clinux_local_bind(fd, path)
    if result == -EADDRINUSE {
      try removeStale(path)
      result = unsafe clinux_local_bind(fd, path)
    }
    if result < 0 { throw .failed(path, SystemError("bind", code: -result)) }
    result = clinux_local_listen(fd, backlog)
    if result < 0 { throw .failed(path, SystemError("listen", code: -result)) }
    return identity(of: path)
  }

  /// Removes the socket of a killed gate, which refuses connections. Any other file at the path is kept.
  fileprivate static func removeStale(_ path: String) throws(LocalSocketProblem) {
    if identity(of: path) == nil { throw .notASocket(path) }
    let fd = unsafe clinux_local_connect(path, 1)
    if fd >= 0 { close([fd]) }
    guard fd == -ECONNREFUSED else { throw .answers(path) }
    let result = unsafe clinux_unlink(path)
    if result < 0 { throw .failed(path, SystemError("unlink", code: -result)) }
  }

  fileprivate static func identity(of path: String) -> [UInt64]? {
    var identity: [UInt64] = [0, 0]
    // SAFETY: two words, as the call wants.
    return unsafe clinux_local_identity(path, &identity) == 0 ? identity : nil
  }
}

/// A socket at a path, with mode 0600 from the start. `remove` deletes the path only if it is still this socket.
package struct LocalListener: ~Copyable {
  private static let backlog: CInt = 128

  package let path: String
  private let descriptor: Descriptor
  private let identity: [UInt64]?

  package init(at path: String) throws(LocalSocketProblem) {
    let fd = clinux_local_socket(0o600)
    guard fd >= 0 else { throw .failed(path, SystemError("socket", code: -fd)) }
    let socket = Descriptor(owning: fd)
    identity = try LocalSocket.take(path, fd, backlog: Self.backlog)
    self.path = path
    descriptor = socket
  }

  /// Adopts a socket that another process made and will remove.
  package init(adopting fd: CInt, at path: String) {
    self.path = path
    descriptor = Descriptor(owning: fd)
    identity = nil
  }

  package var fd: CInt { descriptor.raw }

  /// Nil if no connection waits, or the waiting one has gone.
  package func accept() -> Accepted {
    let accepted = clinux_local_accept(fd)
    if accepted >= 0 { return .connection(Descriptor(owning: accepted), SocketAddress(.v4(0), port: 0)) }
    return Socket.refusedAccept(-accepted)
  }

  package func remove() {
    guard let identity, LocalSocket.identity(of: path) == identity else { return }
    // If the removal fails, the next gate removes the stale file.
    _ = unsafe clinux_unlink(path)
  }
}
