// DNS over UDP: one socket of one loop. It takes some datagrams a turn, and answers each from where it was asked.
// It relies on DNSServer for what to answer. Where the kernel has no room, questions and answers are lost: clients
// retry.
import Kernel

final class DNSDatagramSocket: Source {
  /// Batches of datagrams taken in one turn: others are to be served too.
  private static let batchesMax = 4

  private unowned let desk: any DNSQueryHandler
  private let datagrams: Datagrams
  private let loop: Loop
  /// nil once it is closed.
  private var socket: Descriptor?
  private let fd: CInt
  let sandbox: String?
  /// Other workers have it too.
  private let isShared: Bool
  private var slot = Slot.none

  init(
    socket: consuming Descriptor, sandbox: String?, isShared: Bool, desk: any DNSQueryHandler, datagrams: Datagrams,
    loop: Loop
  ) {
    fd = socket.raw
    self.sandbox = sandbox
    self.isShared = isShared
    self.socket = .some(socket)
    self.desk = desk
    self.datagrams = datagrams
    self.loop = loop
  }

  /// Levels, and of reading alone: with edges, each answer that left the socket would be an event.
  func begin() throws(SystemError) {
    slot = loop.register(self)
    if isShared { return try loop.watchShared(fd, slot, tag: 0, edges: false) }
    try loop.watchLevels(fd, slot, tag: 0, readable: true, writable: false, isNew: true)
  }

  func close() {
    if socket != nil { loop.unwatch(fd) }
    loop.release(slot)
    socket = nil
  }

  /// An answer that was not there when its question came.
  func send(_ reply: [UInt8], along path: DatagramPath) {
    if socket != nil { datagrams.send(fd, reply, along: path) }
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) {
    for _ in 0..<Self.batchesMax {
      let mayHoldMore = datagrams.exchange(fd) { bytes, path, out in
        let client = DNSClient(source: path.peer.ip, sandbox: sandbox)
        _ = desk.ask(bytes, from: client, isDatagram: true, into: &out, asker: .datagram(self, path))
      }
      if !mayHoldMore { return }
    }
  }

  func deadlinePassed() {}
  func resume() {}
}
