// SOCKS 5 messages: tables of good and bad input, and every split of what arrives in pieces.

import Testing
import Wire

@Suite struct SOCKS5Tests {
  private func expectEverySplit<Value>(
    _ bytes: [UInt8], _ value: Value, _ parse: (Span<UInt8>) -> SOCKSResult<Value>
  ) {
    for count in 0..<bytes.count { #expect(parse(bytes.span.extracting(0..<count)) == .incomplete, "\(count)") }
    // What stands behind the message is the next one's.
    for more in [[], [0], [5, 1, 0, 3]] as [[UInt8]] {
      #expect(parse((bytes + more).span) == .complete(value, byteCount: bytes.count))
    }
  }

  @Test(arguments: [
    ([5, 1, 0], true, false), ([5, 2, 0, 2], true, true), ([5, 3, 2, 1, 2], false, true), ([5, 1, 0x80], false, false),
    ([5, 255] + [UInt8](repeating: 1, count: 254) + [2], false, true),
  ])
  func aGreetingSaysItsMethods(bytes: [UInt8], none: Bool, password: Bool) {
    guard case .complete(let greeting, _) = SOCKSGreeting.parse(bytes.span) else {
      Issue.record("it is a greeting")
      return
    }
    #expect(greeting.offersNoAuthentication == none && greeting.offersPassword == password)
    expectEverySplit(bytes, greeting, SOCKSGreeting.parse)
  }

  @Test func whatIsNoGreetingIsToldAtOnce() {
    #expect(SOCKSGreeting.parse([4].span) == .malformed(.version4))
    #expect(SOCKSGreeting.parse([UInt8]("CONNECT".utf8).span) == .malformed(.version))
    #expect(SOCKSGreeting.parse([5, 0].span) == .malformed(.noMethods))
  }

  @Test(arguments: [("a", "b"), ("builder", "p\0:\u{fc}"), (String(repeating: "u", count: 255), "p")])
  func aPasswordIsReadWhole(user: String, password: String) {
    let (user, password) = (Array(user.utf8), Array(password.utf8))
    let bytes = [1, UInt8(user.count)] + user + [UInt8(password.count)] + password
    guard case .complete(let credentials, _) = SOCKSCredentials.parse(bytes.span) else {
      Issue.record("it is a password message")
      return
    }
    #expect(credentials.user == user && credentials.password == password)
    expectEverySplit(bytes, credentials, SOCKSCredentials.parse)
  }

  @Test func halfAPasswordMessageIsNone() {
    #expect(SOCKSCredentials.parse([5].span) == .malformed(.passwordVersion))
    #expect(SOCKSCredentials.parse([1, 0].span) == .malformed(.emptyUser))
    #expect(SOCKSCredentials.parse([1, 1, 0x61, 0].span) == .malformed(.emptyPassword))
  }

  static func request(
    command: UInt8 = 1, reserved: UInt8 = 0, type: UInt8 = 3, _ address: [UInt8], port: [UInt8] = [1, 0xbb]
  ) -> [UInt8] {
    [5, command, reserved, type] + address + port
  }

  static func request(name: String, command: UInt8 = 1, port: [UInt8] = [1, 0xbb]) -> [UInt8] {
    request(command: command, [UInt8(name.utf8.count)] + Array(name.utf8), port: port)
  }

  @Test(arguments: [
    (request(name: "Api.example"), "api.example:443"), (request(name: "a.example.", port: [0, 1]), "a.example:1"),
    (request(name: "192.0.2.1"), "192.0.2.1:443"), (request(type: 1, [127, 0, 0, 1]), "127.0.0.1:443"),
    (request(type: 4, [0x20, 1] + [UInt8](repeating: 0, count: 13) + [1], port: [255, 255]), "[2001::1]:65535"),
  ])
  func aTargetHasOneSpelling(bytes: [UInt8], printed: String) throws {
    let target = try Authority.parse(Array(printed.utf8).span, defaultPort: nil)
    #expect("\(target)" == printed)
    expectEverySplit(bytes, .connect(target), SOCKSRequest.parse)
  }

  @Test(arguments: [
    "", ".", "a\0.example", "allowed.example\0.other.example", "a b", "a.example:443", "[::1]", "::1", "bücher.example",
    "127.1", "0x7f.1", "2130706433", "010.0.0.1", "1.2.3.4.", "1.2.3.256", "user@a.example", "a%2eexample",
    "-a.example",
    "a..example", String(repeating: "a", count: 64) + ".example", String(repeating: "a.", count: 127) + "a",
  ])
  func whatCouldMeanTwoTargetsIsRefused(name: String) {
    guard case .malformed(.host(let problem)) = SOCKSRequest.parse(Self.request(name: name).span) else {
      Issue.record("\(name) is no target")
      return
    }
    #expect(SOCKSProblem.host(problem).reply == .notAllowed)
  }

  @Test(
    arguments: [
      ([4], .version4, .generalFailure), ([6], .version, .generalFailure),
      (request(reserved: 1, type: 1, [127, 0, 0, 1]), .reserved, .generalFailure),
      (request(type: 2, [127, 0, 0, 1]), .addressType, .addressTypeNotSupported),
      ([5, 1, 0, 0], .addressType, .addressTypeNotSupported),
      (request(name: "a.example", port: [0, 0]), .port, .notAllowed),
      (request(type: 1, [127, 0, 0, 1], port: [0, 0]), .port, .notAllowed),
    ] as [([UInt8], SOCKSProblem, SOCKSReply)])
  func aWrongRequestSaysWhatIsWrong(bytes: [UInt8], problem: SOCKSProblem, reply: SOCKSReply) {
    #expect(SOCKSRequest.parse(bytes.span) == .malformed(problem))
    #expect(problem.reply == reply && !problem.description.isEmpty)
  }

  @Test(arguments: [(2, .bind), (3, .udpAssociate), (0, .other(0)), (0xf0, .other(0xf0))] as [(UInt8, SOCKSRequest)])
  func anotherCommandIsReadToItsEnd(command: UInt8, value: SOCKSRequest) {
    expectEverySplit(Self.request(command: command, type: 1, [0, 0, 0, 0], port: [0, 0]), value, SOCKSRequest.parse)
    expectEverySplit(Self.request(name: "a\0", command: command), value, SOCKSRequest.parse)
  }

  @Test func everyChangedByteIsReadWithoutHarm() {
    let bytes = Self.request(name: "api.example")
    var targets: Set<String> = []
    for index in bytes.indices {
      for value in UInt8.min...UInt8.max {
        var changed = bytes
        changed[index] = value
        if case .complete(.connect(let target), let count) = SOCKSRequest.parse(changed.span) {
          #expect(count <= changed.count && target.port > 0)
          targets.insert("\(target)")
        }
      }
    }
    #expect(targets.count > 100 && targets.allSatisfy { $0.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f } })
  }

  @Test func theServerWritesWhatTheRFCsSay() {
    var out: [UInt8] = []
    SOCKS5.write(SOCKSMethod.password, into: &out)
    SOCKS5.write(SOCKSMethod.noneAcceptable, into: &out)
    SOCKS5.writeAuthentication(isRight: true, into: &out)
    SOCKS5.writeAuthentication(isRight: false, into: &out)
    #expect(out == [5, 2, 5, 0xff, 1, 0, 1, 1])
    for (code, reply) in SOCKSReply.allCases.enumerated() {
      out = []
      SOCKS5.write(reply, into: &out)
      #expect(out == [5, UInt8(code), 0, 1, 0, 0, 0, 0, 0, 0])
    }
  }
}
