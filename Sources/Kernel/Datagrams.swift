// UDP datagrams, one batch per system call, each with its sender and the local address that it was sent to.
// It relies on the socket for that address (`Socket.bindDatagrams`): a client drops an answer from any other.
import CLinux

/// The path of a datagram, which its answer takes back.
package struct DatagramPath: Sendable {
  package let peer: SocketAddress
  private let local: SocketAddress?
  /// The interface; zero if none has to be named.
  private let link: UInt32

  fileprivate init(_ datagram: clinux_datagram) {
    peer = SocketAddress(datagram.peer)
    local = datagram.local.family == 0 ? nil : SocketAddress(datagram.local)
    link = datagram.link
  }

  fileprivate func datagram(count: Int) -> clinux_datagram {
    clinux_datagram(peer: peer.plain, local: local?.plain ?? clinux_address(), link: link, count: UInt32(count))
  }
}

/// The datagram buffers of one loop; a socket uses them only during a call.
@safe package final class Datagrams {
  package static let batchMax = Int(CLINUX_DATAGRAMS_MAX)
  /// A longer datagram is dropped.
  package static let bytesMax = 4096

  /// SAFETY: both are allocated here for `batchMax` datagrams of `bytesMax` bytes, freed in deinit, and indexed below
  /// the count that the kernel answered, which is no more than what it was given.
  private let memory: UnsafeMutablePointer<UInt8>
  private let received: UnsafeMutablePointer<clinux_datagram>
  private var answers: [UInt8] = []
  private var answering: [clinux_datagram] = []

  package init() {
    unsafe memory = .allocate(capacity: Self.batchMax * Self.bytesMax)
    unsafe received = .allocate(capacity: Self.batchMax)
  }

  deinit {
    unsafe memory.deallocate()
    unsafe received.deallocate()
  }

  /// Reads a batch, and sends back what `answer` appended for each: nothing, or one datagram. False when the socket
  /// held less than a batch: the next datagram is a new edge. Neither direction waits; what the kernel has no room for
  /// is lost, as datagrams are.
  package func exchange(_ fd: CInt, _ answer: (Span<UInt8>, DatagramPath, inout [UInt8]) -> Void) -> Bool {
    let count = unsafe Int(
      clinux_receive_datagrams(fd, memory, Self.bytesMax, received, CInt(Self.batchMax)))
    guard count > 0 else { return false }
    for index in 0..<count {
      let datagram = unsafe received[index]
      guard datagram.count <= Self.bytesMax else { continue }
      let start = answers.count
      answer(
        unsafe Span(_unsafeStart: memory + index * Self.bytesMax, count: Int(datagram.count)), DatagramPath(datagram),
        &answers)
      if answers.count > start { answering.append(Self.reply(to: datagram, count: answers.count - start)) }
    }
    send(fd)
    return count == Self.batchMax
  }

  /// Sends one answer that was not ready when its question arrived.
  package func send(_ fd: CInt, _ bytes: [UInt8], along path: DatagramPath) {
    answers.append(contentsOf: bytes)
    answering.append(path.datagram(count: bytes.count))
    send(fd)
  }

  private static func reply(to datagram: clinux_datagram, count: Int) -> clinux_datagram {
    var reply = datagram
    reply.count = UInt32(count)
    return reply
  }

  private func send(_ fd: CInt) {
    if !answering.isEmpty { _ = unsafe clinux_send_datagrams(fd, answers, answering, CInt(answering.count)) }
    answers.removeAll(keepingCapacity: true)
    answering.removeAll(keepingCapacity: true)
  }
}
