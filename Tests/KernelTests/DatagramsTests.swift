// Datagrams over loopback: an answer leaves from the address that was asked, and no batch is longer than its bound.

import Glibc
import Kernel
import Testing

@Suite struct DatagramsTests {
  /// Receives with a deadline, and says from where.
  private static func answer(_ fd: CInt) -> (text: String, from: String)? {
    var wait = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
    guard poll(&wait, 1, 5_000) == 1 else { return nil }
    var peer = sockaddr_in()
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    var bytes = [UInt8](repeating: 0, count: 100)
    let count = withUnsafeMutableBytes(of: &peer) { raw in
      recvfrom(fd, &bytes, bytes.count, 0, raw.baseAddress?.assumingMemoryBound(to: sockaddr.self), &size)
    }
    guard count >= 0 else { return nil }
    let number = UInt32(bigEndian: peer.sin_addr.s_addr)
    return (
      String(decoding: bytes[..<count], as: UTF8.self), "127.0.0.\(number & 255):\(UInt16(bigEndian: peer.sin_port))"
    )
  }

  private static func send(_ fd: CInt, _ text: [UInt8], host: UInt32, port: UInt16) {
    var to = sockaddr_in()
    to.sin_family = sa_family_t(AF_INET)
    to.sin_port = port.bigEndian
    to.sin_addr.s_addr = host.bigEndian
    let sent = withUnsafeBytes(of: &to) { raw in
      sendto(
        fd, text, text.count, 0, raw.baseAddress?.assumingMemoryBound(to: sockaddr.self),
        socklen_t(MemoryLayout<sockaddr_in>.size))
    }
    #expect(sent == text.count)
  }

  private static func exchange(_ server: CInt, _ datagrams: Datagrams, _ answer: (String, inout [UInt8]) -> Void)
    -> Bool
  {
    var wait = pollfd(fd: server, events: Int16(POLLIN), revents: 0)
    #expect(poll(&wait, 1, 5_000) == 1)
    return datagrams.exchange(server) { bytes, _, out in
      answer(String(decoding: bytes.indices.map { bytes[$0] }, as: UTF8.self), &out)
    }
  }

  @Test func anAnswerLeavesFromTheAddressThatWasAsked() throws {
    let server = try Socket.bindDatagrams(on: SocketAddress(.v4(0), port: 0), reusePort: false)
    let port = try #require(Socket.localAddress(server.raw)).port
    let client = Descriptor(owning: socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0))
    let datagrams = Datagrams()
    for host in [UInt32(0x7f00_0001), 0x7f00_0007] {
      Self.send(client.raw, Array("question".utf8), host: host, port: port)
      let more = Self.exchange(server.raw, datagrams) { text, out in out += Array("to \(text)".utf8) }
      #expect(!more)
      let got = try #require(Self.answer(client.raw))
      #expect(got == ("to question", "127.0.0.\(host & 255):\(port)"))
    }
  }

  @Test func alsoLater() throws {
    let server = try Socket.bindDatagrams(on: SocketAddress(.v4(0), port: 0), reusePort: false)
    let port = try #require(Socket.localAddress(server.raw)).port
    let client = Descriptor(owning: socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0))
    let datagrams = Datagrams()
    Self.send(client.raw, [1], host: 0x7f00_0009, port: port)
    var wait = pollfd(fd: server.raw, events: Int16(POLLIN), revents: 0)
    #expect(poll(&wait, 1, 5_000) == 1)
    var kept: DatagramPath?
    _ = datagrams.exchange(server.raw) { _, path, _ in kept = path }
    datagrams.send(server.raw, Array("late".utf8), along: try #require(kept))
    #expect(try #require(Self.answer(client.raw)) == ("late", "127.0.0.9:\(port)"))
  }

  @Test func aBatchIsBoundedAndTooLongADatagramIsDropped() throws {
    let server = try Socket.bindDatagrams(on: SocketAddress(.v4(0x7f00_0001), port: 0), reusePort: false)
    let port = try #require(Socket.localAddress(server.raw)).port
    let client = Descriptor(owning: socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0))
    let datagrams = Datagrams()
    Self.send(client.raw, [UInt8](repeating: 0x78, count: Datagrams.bytesMax + 1), host: 0x7f00_0001, port: port)
    for number in 0..<Datagrams.batchMax {
      Self.send(client.raw, Array("\(number)".utf8), host: 0x7f00_0001, port: port)
    }
    var seen: [String] = []
    #expect(Self.exchange(server.raw, datagrams) { text, _ in seen.append(text) })
    #expect(!Self.exchange(server.raw, datagrams) { text, _ in seen.append(text) })
    #expect(seen == (0..<Datagrams.batchMax).map { "\($0)" })
    #expect(!datagrams.exchange(server.raw) { _, _, _ in Issue.record("nothing is left") })
  }
}
