// TCP_NODELAY of an upstream: off for a first send, which never waits, and on before a second.
import Glibc
import Kernel
import Testing
import Wire

@testable import Gate

@Suite struct SideTests {
  @Test func aSecondSendWaitsForNoAcknowledgement() throws {
    let socket = try connected()
    var side = SocketState(fd: socket.raw, haste: .atFirstSend)
    side.willSend()
    #expect(noDelay(socket.raw) == 0)
    side.willSend()
    #expect(noDelay(socket.raw) == 1)
    #expect(side.haste == .set)
  }

  @Test func whoseSocketIsHandedOnWaitsForNone() throws {
    let socket = try connected()
    var side = SocketState(fd: socket.raw, haste: .atFirstSend)
    side.sendAtOnce()
    #expect(noDelay(socket.raw) == 1)
    #expect(side.haste == .set)
  }

  /// The listener is gone by then: what is asked of the socket is an option alone.
  private func connected() throws -> Descriptor {
    let anyPort = SocketAddress(IPAddress.v4(0x7f00_0001), port: 0)
    let listener = try Socket.listen(on: anyPort, reusePort: false, backlog: 4)
    return try Socket.connect(to: try #require(Socket.localAddress(listener.raw)))
  }

  private func noDelay(_ fd: CInt) -> CInt {
    var value: CInt = -1
    var size = socklen_t(MemoryLayout<CInt>.size)
    _ = getsockopt(fd, CInt(IPPROTO_TCP), TCP_NODELAY, &value, &size)
    return value
  }
}
