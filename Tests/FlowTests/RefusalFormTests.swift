// A refusal in the form that its client reads: its own protocol's, gRPC's, S3's, or plain text.

import FlowSimulation
import Policy
import Testing
import Wire

@testable import Flow

private let nowhere = "network_policy: {allow: [other.example:1]}"
private let startup: [UInt8] = [0, 0, 0, 9, 0, 3, 0, 0, 0]
private let wantsTLS: [UInt8] = [0, 0, 0, 8, 4, 210, 22, 47]

@Suite struct RefusalFormTests {
  private func refused() throws -> Driver {
    let name = try HostName("db.example")
    var driver = try Driver(nowhere, sandbox: "a", opening: .redirected(to: .v4(0xC612_0001), port: 22, name: name))
    #expect(driver.tell(.accepted).name == "wait")
    #expect(driver.flow.takeOutcome()?.reason == .notAllowed)
    return driver
  }

  @Test(arguments: [
    (Array("SSH-2.0-x\r\n".utf8), "SSH-2.0-sluice\r\n"), (startup, "E"),
    (Array("*1\r\n$4\r\nPING\r\n".utf8), "-NOPERM "),
    (Array("SEARCH / HTTP/1.1\r\n".utf8), "HTTP/1.1 403 "),
  ])
  func aClientHearsItInItsOwnProtocol(opening: [UInt8], begins: String) throws {
    for cut in 1..<opening.count {
      var driver = try refused()
      // Some are known by their first byte.
      _ = driver.send(Array(opening[..<cut]))
      var said = driver.replyText()
      _ = driver.send(Array(opening[cut...]))
      said += driver.replyText()
      #expect(said.hasPrefix(begins) && said.contains("not_allowed") && said.contains("db.example:22"), "\(said)")
      #expect(driver.flow.takeOutcome() == nil, "it has its line already")
    }
  }

  /// A client of PostgreSQL shows no error that answers its question for TLS.
  @Test func aQuestionForTLSIsAnsweredWithNoAndTheNextMessageWithTheRefusal() throws {
    var driver = try refused()
    for _ in 0..<2 {
      #expect(driver.send(wantsTLS).name == "reply")
      #expect(driver.replyText() == "N")
    }
    #expect(driver.send(startup).name == "close")
    #expect(driver.replyText().hasPrefix("E"))
  }

  @Test(arguments: [[0, 0, 0, 8, 0, 9, 0, 0], [0, 0, 0xff, 8, 0, 3, 0, 0], [1, 2], [0x5b]] as [[UInt8]])
  func whatSpeaksNothingKnownIsCut(opening: [UInt8]) throws {
    var driver = try refused()
    guard case .close(.cut) = driver.send(opening) else {
      Issue.record("it is reset")
      return
    }
    #expect(driver.replyText() == "")
  }

  /// RFC 4253 section 6: the length counts all behind it, which with its own four bytes is a multiple of eight.
  @Test func theDisconnectOfSSHIsAWholePacket() {
    for length in 0..<16 {
      var refusal = Refusal(.notAllowed, target: nil, client: "c")
      refusal.detail = String(repeating: "x", count: length)
      let packet = Array(refusal.inSSH.dropFirst("SSH-2.0-sluice\r\n".utf8.count))
      #expect(packet[..<4].reduce(0) { $0 << 8 | Int($1) } == packet.count - 4 && packet.count % 8 == 0)
      let padding = Int(packet[4])
      #expect(padding >= 4 && packet[5] == 1)
      let words = packet[10..<14].reduce(0) { $0 << 8 | Int($1) }
      #expect(14 + words + 4 + padding == packet.count)
      #expect(String(decoding: packet[14..<(14 + words)], as: UTF8.self) == refusal.sentence)
    }
  }

  private func answer(_ field: String, _ value: String, _ reason: Reason = .notAllowed) throws
    -> (status: Int, fields: [String: String], body: String)
  {
    var refusal = Refusal(reason, target: Target(host: .name(try HostName("a.example")), port: 443), client: "c")
    refusal.form.note(name: Array(field.utf8).span, value: Array(value.utf8).span)
    let (status, fields, body) = refusal.message
    return (
      status, Dictionary(fields.map { ($0.name, $0.value) }) { $1 }, String(decoding: body, as: UTF8.self)
    )
  }

  @Test func aRequestTellsHowItsClientReadsErrors() throws {
    let grpc = try answer("content-type", "application/grpc+proto")
    #expect(grpc.status == 200 && grpc.fields["grpc-status"] == "7" && grpc.body.isEmpty)
    #expect(grpc.fields["grpc-message"]?.contains("not_allowed for a.example:443") == true)
    #expect(try answer("Content-Type", "application/grpc", .rateLimited).fields["grpc-status"] == "8")
    #expect(try answer("content-type", "application/grpc", .connectFailed).fields["grpc-status"] == "14")
    for (field, value) in [("User-Agent", "git/2.39.5"), ("Accept", "text/plain")] {
      let text = try answer(field, value)
      #expect(text.status == 403 && text.fields["content-type"] == "text/plain")
      #expect(text.body.hasPrefix("Denied by egress policy: not_allowed for a.example:443. "))
    }
    let s3 = try answer("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")
    #expect(
      s3.fields["content-type"] == "application/xml" && s3.body.contains("<Code>AccessDenied</Code><Message>Denied"))
    for (field, value) in [
      ("User-Agent", "legit/1"), ("Accept", "*/*"), ("Content-Type", "application/json"), ("X", "git/"),
    ] {
      #expect(try answer(field, value).body.hasPrefix("{"))
    }
  }
}
