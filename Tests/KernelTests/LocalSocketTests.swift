// The socket of the gate's owner: its mode, what stands in its place, who is at the other end, descriptors that pass.

import Foundation
import Testing

@testable import Kernel

@Suite struct LocalSocketTests {
  private func inFolder(_ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "sluice-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try body("\(folder)/socket")
  }

  @Test func aSocketIsForItsOwnerAloneAndIsRemoved() throws {
    try inFolder { path in
      let listener = try LocalListener(at: path)
      let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
      #expect(mode == 0o600)
      let client = try LocalSocket.connect(to: path, waitSeconds: 1)
      let peer = try #require(LocalSocket.peer(of: client.raw))
      #expect(peer.uid == geteuid() && peer.pid == getpid())
      #expect(LocalSocket.sharesNamespace(pid: peer.pid))
      #expect(!LocalSocket.sharesNamespace(pid: 0) && !LocalSocket.sharesNamespace(pid: .max))
      guard case .connection = listener.accept() else {
        Issue.record("a connection waits")
        return
      }
      guard case .wouldBlock = listener.accept() else {
        Issue.record("no other connection waits")
        return
      }
      listener.remove()
      #expect(!FileManager.default.fileExists(atPath: path))
    }
  }

  @Test func aLivingSocketIsNotTakenAndADeadOneIs() throws {
    try inFolder { path in
      do {
        let first = try LocalListener(at: path)
        do {
          _ = try LocalListener(at: path)
          Issue.record("two gates at one path")
        } catch LocalSocketProblem.answers(let place) {
          #expect(place == path)
        }
        // Its end leaves the file, as that of a killed gate does.
        withExtendedLifetime(first) {}
      }
      let second = try LocalListener(at: path)
      _ = try LocalSocket.connect(to: path, waitSeconds: 1)
      second.remove()
    }
  }

  @Test func whatIsNoSocketStaysAndSoDoesAnotherGatesSocket() throws {
    try inFolder { path in
      try Data("x".utf8).write(to: URL(filePath: path))
      do {
        _ = try LocalListener(at: path)
        Issue.record("a file was taken for a socket")
      } catch LocalSocketProblem.notASocket {}
      #expect(try String(contentsOfFile: path, encoding: .utf8) == "x")
      try FileManager.default.removeItem(atPath: path)
      let first = try LocalListener(at: path)
      try FileManager.default.moveItem(atPath: path, toPath: "\(path)-moved")
      let second = try LocalListener(at: path)
      first.remove()
      #expect(FileManager.default.fileExists(atPath: path))
      second.remove()
    }
  }

  @Test(arguments: ["", "/" + String(repeating: "x", count: 107)])
  func aPathThatTheKernelCannotTakeIsAnError(path: String) throws {
    #expect(throws: LocalSocketProblem.self) { _ = try LocalListener(at: path) }
    #expect(throws: SystemError.self) { _ = try LocalSocket.connect(to: path, waitSeconds: 1) }
  }

  @Test func descriptorsComeWithTheirBytes() throws {
    var ends: [CInt] = [0, 0]
    try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends) == 0)
    let left = Descriptor(owning: ends[0])
    let right = Descriptor(owning: ends[1])
    #expect(LocalSocket.setNonBlocking(right.raw))
    var (bytes, descriptors): ([UInt8], [CInt]) = ([], [])
    #expect(LocalSocket.receive(right.raw, upTo: 9, into: &bytes, &descriptors) == .wouldBlock)
    let sent = [CInt](repeating: left.raw, count: LocalSocket.descriptorsMax)
    #expect(LocalSocket.send(left.raw, [1, 2, 3], with: sent) == .bytes(3))
    #expect(LocalSocket.receive(right.raw, upTo: 9, into: &bytes, &descriptors) == .bytes(3))
    #expect(bytes == [1, 2, 3] && descriptors.count == sent.count)
    #expect(descriptors.allSatisfy { fcntl($0, F_GETFD) & FD_CLOEXEC != 0 })
    LocalSocket.close(descriptors)
    #expect(descriptors.allSatisfy { fcntl($0, F_GETFD) == -1 })
    #expect(LocalSocket.send(left.raw, [1], with: sent + [left.raw]) == .failed(EINVAL))
  }

  @Test func listenersAreToldFromOtherSockets() throws {
    let address = SocketAddress(.v4(0x7f00_0001), port: 0)
    let stream = try Socket.listen(on: address, reusePort: false, backlog: 1)
    let datagram = try Socket.bindDatagrams(on: address, reusePort: false)
    let connected = try Socket.connect(to: try #require(Socket.localAddress(stream.raw)))
    #expect(
      LocalSocket.isListener(stream.raw, isDatagram: false) && !LocalSocket.isListener(stream.raw, isDatagram: true))
    #expect(
      LocalSocket.isListener(datagram.raw, isDatagram: true) && !LocalSocket.isListener(datagram.raw, isDatagram: false)
    )
    #expect(!LocalSocket.isListener(connected.raw, isDatagram: false) && !LocalSocket.isListener(0, isDatagram: true))
  }
}
