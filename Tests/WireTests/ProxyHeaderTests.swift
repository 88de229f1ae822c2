// PROXY protocol headers: tables of good and bad input, and every split of what arrives in pieces.

import Testing
import Wire

@Suite struct ProxyHeaderTests {
  private static let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
  private static let four: [UInt8] = [192, 0, 2, 1, 198, 51, 100, 2, 0xc0, 0, 1, 0xbb]
  private static let six: [UInt8] =
    [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1] + [UInt8](repeating: 0, count: 15)
    + [1, 0xc0, 1, 0, 80]

  private static func header(
    _ command: UInt8 = 0x21, _ family: UInt8 = 0x11, _ body: [UInt8] = four, length: Int? = nil
  ) -> [UInt8] {
    let length = length ?? body.count
    return signature + [command, family, UInt8(length >> 8), UInt8(length & 0xff)] + body
  }

  private static func tcp(
    _ source: String, _ sourcePort: UInt16, _ destination: String, _ destinationPort: UInt16
  ) -> ProxyHeader {
    guard let source = IPAddress(source), let destination = IPAddress(destination) else { return .local }
    return .tcp(
      source: ProxyEndpoint(address: source, port: sourcePort),
      destination: ProxyEndpoint(address: destination, port: destinationPort))
  }

  @Test(arguments: [
    (header(), tcp("192.0.2.1", 49_152, "198.51.100.2", 443)),
    (header(0x21, 0x21, six), tcp("2001:db8::1", 49_153, "::1", 80)),
    (header(0x21, 0x11, four + [4, 0, 0, 3, 0, 2, 7, 7]), tcp("192.0.2.1", 49_152, "198.51.100.2", 443)),
    (header(0x20, 0x00, []), .local), (header(0x20, 0x11, four), .local), (header(0x20, 0xee, [1, 2, 3]), .local),
    (header(0x21, 0x00, []), .unspecified), (header(0x21, 0x00, [4, 0, 1, 9]), .unspecified),
  ])
  func everySplitGivesTheSameHeader(bytes: [UInt8], value: ProxyHeader) {
    for count in 0..<bytes.count {
      guard case .incomplete(let needed) = ProxyHeader.parse(bytes.span.extracting(0..<count)) else {
        Issue.record("\(count) bytes are no header")
        return
      }
      #expect(needed == (count < 16 ? 16 : bytes.count))
    }
    for more in [[], [0x16, 3, 1], bytes] {
      #expect(ProxyHeader.parse((bytes + more).span) == .complete(value, byteCount: bytes.count))
    }
  }

  @Test(
    arguments: [
      (header(0x11), .version), (header(0x31), .version), (header(0x22), .command), (header(0x2f), .command),
      (header(0x21, 0x12), .datagram), (header(0x21, 0x22, six), .datagram),
      (header(0x21, 0x31, [UInt8](repeating: 0, count: 216)), .unixSocket), (header(0x21, 0x32), .unixSocket),
      (header(0x21, 0x10), .family), (header(0x21, 0x01, []), .family), (header(0x21, 0x41), .family),
      (header(0x21, 0x13), .family), (header(0x21, 0x11, [192, 0, 2, 1]), .length), (header(0x21, 0x21, four), .length),
      (header(0x21, 0x11, [], length: 513), .tooLarge), (header(0x20, 0x00, [], length: 65_535), .tooLarge),
      (header(0x21, 0x11, four + [4]), .tlv), (header(0x21, 0x11, four + [4, 0]), .tlv),
      (header(0x21, 0x11, four + [4, 0, 1]), .tlv), (header(0x21, 0x11, four + [4, 0, 0, 4]), .tlv),
      (header(0x21, 0x11, four + [4, 0xff, 0xff, 0]), .tlv), (header(0x21, 0x00, [1]), .tlv),
      (Array("GET / HTTP/1.1\r\n".utf8), .signature), ([0x0d, 0x0a, 0x0d, 0x0a, 1], .signature),
      ([0x16, 3], .signature),
      (Array("POST".utf8), .signature), (Array("PROXY\r".utf8), .signature),
      (Array("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n".utf8), .versionOne),
    ] as [([UInt8], ProxyHeaderProblem)])
  func aWrongHeaderSaysWhatIsWrong(bytes: [UInt8], problem: ProxyHeaderProblem) {
    #expect(ProxyHeader.parse(bytes.span) == .malformed(problem))
    #expect(!problem.description.isEmpty)
  }

  @Test func versionOneIsToldFromOtherText() {
    for count in 1..<6 {
      #expect(ProxyHeader.parse(Array("PROXY ".utf8.prefix(count)).span) == .incomplete(needed: 6))
    }
    #expect(ProxyHeader.parse(Array("PROXY ".utf8).span) == .malformed(.versionOne))
  }

  @Test func theLongestHeaderIsRead() {
    let tlv: [UInt8] = [4, UInt8(497 >> 8), UInt8(497 & 0xff)] + [UInt8](repeating: 7, count: 497)
    let bytes = Self.header(0x21, 0x11, Self.four + tlv)
    #expect(bytes.count == ProxyHeader.bytesMax)
    guard case .complete(.tcp, ProxyHeader.bytesMax) = ProxyHeader.parse(bytes.span) else {
      Issue.record("it is as long as a header may be")
      return
    }
  }

  @Test func everyChangedByteIsReadWithoutHarm() {
    let bytes = Self.header(0x21, 0x11, Self.four + [4, 0, 2, 7, 7])
    for index in bytes.indices {
      for value in UInt8.min...UInt8.max {
        var changed = bytes
        changed[index] = value
        switch ProxyHeader.parse(changed.span) {
        case .complete(_, let count): #expect(count <= changed.count)
        case .incomplete(let needed): #expect(needed > changed.count && needed <= ProxyHeader.bytesMax)
        case .malformed: break
        }
      }
    }
  }
}
