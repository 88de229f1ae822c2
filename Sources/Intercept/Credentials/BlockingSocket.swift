// A TCP connection that blocks its thread, for what the gate itself asks: connected, waited for, read to the end.
// It relies on a deadline for the whole, and on the caller for addresses that may be asked.
import Glibc
import Kernel
import Wire

enum BlockingSocket {
  static let timeoutMs: UInt64 = 15_000

  static func connect(
    _ name: String, _ addresses: [SocketAddress], _ dueMs: UInt64
  ) throws(CredentialProblem) -> Descriptor {
    var problem = CredentialProblem("\(name) has no address that may be asked")
    for address in addresses {
      do throws(SystemError) {
        let socket = try Socket.connect(to: address)
        Socket.sendAtOnce(socket.raw)
        guard wait(socket.raw, POLLOUT, dueMs) else { throw SystemError("connect", code: ETIMEDOUT) }
        let code = Socket.pendingError(socket.raw)
        if code == 0 { return socket }
        throw SystemError("connect", code: code)
      } catch {
        problem = CredentialProblem("\(name) at \(address): \(error)")
      }
    }
    throw problem
  }

  /// False: the deadline has passed.
  static func wait(_ fd: CInt, _ events: CInt, _ dueMs: UInt64) -> Bool {
    while true {
      let nowMs = Clock.monotonicMs()
      guard nowMs < dueMs else { return false }
      var watched = pollfd(fd: fd, events: Int16(events), revents: 0)
      // SAFETY: one entry of a local, for the time of the call.
      let count = unsafe poll(&watched, 1, CInt(clamping: dueMs - nowMs))
      if count > 0 { return true }
      if count < 0 && errno != EINTR { return false }
    }
  }

  /// Without TLS: one request, and all that comes back until the end, or until `isWhole` says that it is all.
  static func exchange(
    _ request: [UInt8], with name: String, at addresses: [SocketAddress], bytesMax: Int,
    isWhole: ([UInt8]) -> Bool = { _ in false }
  ) throws(CredentialProblem) -> [UInt8] {
    let dueMs = Clock.monotonicMs() + timeoutMs
    let socket = try connect(name, addresses, dueMs)
    let late = CredentialProblem("\(name) took longer than \(timeoutMs / 1000) seconds")
    var sent = 0
    while sent < request.count {
      switch Socket.send(socket.raw, request.span.extracting(droppingFirst: sent)) {
      case .bytes(let count): sent += count
      case .wouldBlock: guard wait(socket.raw, POLLOUT, dueMs) else { throw late }
      case .end, .failed: throw CredentialProblem("\(name): the connection ended early")
      }
    }
    let scratch = Scratch()
    var answer: [UInt8] = []
    while answer.count <= bytesMax {
      switch scratch.receive(from: socket.raw, upTo: Scratch.byteCount) {
      case .bytes(let count):
        scratch.withBytes(count) { answer.append($0) }
        if isWhole(answer) { return answer }
      case .wouldBlock: guard wait(socket.raw, POLLIN, dueMs) else { throw late }
      case .end: return answer
      case .failed: throw CredentialProblem("\(name): the connection broke")
      }
    }
    throw CredentialProblem("\(name) answered more than \(bytesMax >> 10) KiB")
  }
}
