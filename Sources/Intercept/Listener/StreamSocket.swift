// One end of a socket pair: what a front says to one of its sessions, and hears of it. The session has the other end,
// and takes it for its client. It relies on the Gate for edges, and to tell how the session ended.
package import Kernel
import Wire

/// SAFETY: no pointer is kept; bytes are lent for the time of a call.
@safe package final class StreamSocket: PlainStream {
  package enum Ending: Sendable {
    case graceful
    /// What came is not all that there was.
    case cut
  }

  /// The HTTP/2 stream that it serves; zero where it serves a whole connection.
  package let stream: Int32
  package let descriptor: CInt
  /// nil once it was given up.
  private var socket: Descriptor?
  private var isClosed = false
  package private(set) var isReadable = true
  private var isWritable = true
  package private(set) var hasPeerEnded = false
  /// Of the session; what it has said by then can be read still.
  package private(set) var ending: Ending?
  private var pending = Outbox()
  private var wantsEnd = false

  package init(_ socket: consuming Descriptor, stream: Int32) {
    descriptor = socket.raw
    self.socket = .some(socket)
    self.stream = stream
  }

  // MARK: - What the Gate tells

  package func note(_ readiness: Readiness) {
    if readiness.isReadable || readiness.hasPeerEnded { isReadable = true }
    if readiness.isWritable || readiness.isBroken { isWritable = true }
    if readiness.hasPeerEnded { hasPeerEnded = true }
  }

  package func sessionEnded(isCut: Bool) {
    ending = isCut ? .cut : .graceful
    isReadable = true
  }

  package func close() {
    isClosed = true
    socket = nil
  }

  // MARK: - PlainStream

  package func read(into buffer: UnsafeMutableRawBufferPointer) -> Received {
    guard !isClosed else { return .ended }
    switch unsafe Socket.receive(descriptor, into: buffer) {
    case .bytes(let count): return .bytes(count)
    case .wouldBlock:
      isReadable = false
      return .blocked
    case .end, .failed:
      isReadable = false
      return .ended
    }
  }

  package var pendingCount: Int { pending.count }

  /// A session that is gone takes nothing more, and that is no fault of the connection above.
  package func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var sent = 0
    if pending.isEmpty { unsafe sent = send(bytes) }
    if sent < bytes.count { unsafe pending.append(contentsOf: bytes[sent...]) }
    return true
  }

  package func flush() -> Bool {
    let flushed = pending.flush { bytes in
      let sent = unsafe bytes.withUnsafeBytes { unsafe send($0) }
      return sent == 0 ? .wouldBlock : .bytes(sent)
    }
    if flushed == .all, wantsEnd, !isClosed {
      wantsEnd = false
      _ = Socket.shutdownWrite(descriptor)
    }
    return true
  }

  private func send(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard !isClosed else { return bytes.count }
    var sent = 0
    while sent < bytes.count && isWritable {
      switch unsafe Socket.send(descriptor, UnsafeRawBufferPointer(rebasing: bytes[sent...])) {
      case .bytes(let count): sent += count
      case .wouldBlock: isWritable = false
      case .end, .failed: return bytes.count
      }
    }
    return sent
  }

  /// Behind all that was written.
  package func end() {
    wantsEnd = true
    _ = flush()
  }
}
