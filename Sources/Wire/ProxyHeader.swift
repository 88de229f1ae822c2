// The PROXY protocol header, version 2, in which a load balancer names the client that it forwards.
// It relies on section 2.2 of HAProxy's proxy-protocol.txt; every length is checked, and the content of TLVs is
// ignored.

package enum ProxyHeaderResult: Hashable, Sendable {
  /// Fewer than `needed` bytes in total cannot change the result.
  case incomplete(needed: Int)
  case malformed(ProxyHeaderProblem)
  /// The header is the first `byteCount` bytes; what follows is the client's.
  case complete(ProxyHeader, byteCount: Int)
}

package enum ProxyHeader: Hashable, Sendable {
  /// The balancer's own connection, such as a health check: the connection's own addresses count.
  case local
  /// The header of a connection without addresses (AF_UNSPEC).
  case unspecified
  case tcp(source: ProxyEndpoint, destination: ProxyEndpoint)

  /// Address and TLVs are bounded, since a header is read before anything is known of its sender.
  package static let bytesMax = fixedBytes + 512

  private static let fixedBytes = 16
  private static let signature: [12 of UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
  /// `PROXY `, the start of a version 1 header.
  private static let text: [6 of UInt8] = [0x50, 0x52, 0x4f, 0x58, 0x59, 0x20]

  package static func parse(_ bytes: Span<UInt8>) -> ProxyHeaderResult {
    do throws(ProxyHeaderProblem) {
      if let needed = try checkSignature(bytes) { return .incomplete(needed: needed) }
      guard bytes.count >= fixedBytes else { return .incomplete(needed: fixedBytes) }
      guard bytes[12] >> 4 == 2 else { throw .version }
      let end = fixedBytes + Int(bytes.number(at: 14, as: UInt16.self))
      guard end <= bytesMax else { throw .tooLarge }
      let isLocal = try isLocal(command: bytes[12] & 0x0f)
      let addressBytes = isLocal ? 0 : try addressBytes(family: bytes[13])
      guard end - fixedBytes >= addressBytes else { throw .length }
      guard bytes.count >= end else { return .incomplete(needed: end) }
      // The block of a LOCAL header must be discarded, whatever family it claims: where its TLVs begin is not known.
      if isLocal { return .complete(.local, byteCount: end) }
      try checkTLVs(bytes, (fixedBytes + addressBytes)..<end)
      return .complete(header(bytes, addressBytes: addressBytes), byteCount: end)
    } catch {
      return .malformed(error)
    }
  }

  /// How many bytes are needed to tell, or nil once the signature stands. What cannot become one is told at once.
  private static func checkSignature(_ bytes: Span<UInt8>) throws(ProxyHeaderProblem) -> Int? {
    let count = min(bytes.count, signature.count)
    for index in 0..<count where bytes[index] != signature[index] {
      let textBytes = min(bytes.count, text.count)
      for place in 0..<textBytes where bytes[place] != text[place] { throw .signature }
      guard textBytes == text.count else { return text.count }
      throw .versionOne
    }
    return count < signature.count ? fixedBytes : nil
  }

  private static func isLocal(command: UInt8) throws(ProxyHeaderProblem) -> Bool {
    switch command {
    case 0: return true
    case 1: return false
    default: throw .command
    }
  }

  private static func addressBytes(family: UInt8) throws(ProxyHeaderProblem) -> Int {
    switch family {
    case 0x00: return 0
    case 0x11: return 12
    case 0x21: return 36
    case 0x12, 0x22: throw .datagram
    case 0x31, 0x32: throw .unixSocket
    default: throw .family
    }
  }

  private static func header(_ bytes: Span<UInt8>, addressBytes: Int) -> ProxyHeader {
    switch addressBytes {
    case 12:
      .tcp(
        source: ProxyEndpoint(address: bytes.address4(at: 16), port: bytes.number(at: 24)),
        destination: ProxyEndpoint(address: bytes.address4(at: 20), port: bytes.number(at: 26)))
    case 36:
      .tcp(
        source: ProxyEndpoint(address: bytes.address6(at: 16), port: bytes.number(at: 48)),
        destination: ProxyEndpoint(address: bytes.address6(at: 32), port: bytes.number(at: 50)))
    default: .unspecified
    }
  }

  /// Each is a type, a length of two bytes, and as many bytes; together they fill the range.
  private static func checkTLVs(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(ProxyHeaderProblem) {
    var index = range.lowerBound
    while index < range.upperBound {
      guard range.upperBound - index >= 3 else { throw .tlv }
      let length = Int(bytes.number(at: index + 1, as: UInt16.self))
      guard range.upperBound - index - 3 >= length else { throw .tlv }
      index += 3 + length
    }
  }
}

/// One end of the connection that the balancer accepted. An IPv4 client may come as an IPv4-mapped address.
package struct ProxyEndpoint: Hashable, Sendable {
  package let address: IPAddress
  package let port: UInt16

  package init(address: IPAddress, port: UInt16) {
    self.address = address
    self.port = port
  }
}

package enum ProxyHeaderProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case signature
  case versionOne
  case version
  case command
  case family
  case datagram
  case unixSocket
  case tooLarge
  case length
  case tlv

  package var description: String {
    switch self {
    case .signature: "connection does not begin with a PROXY protocol header of version 2"
    case .versionOne: "PROXY protocol header of version 1; version 2 is wanted (HAProxy: send-proxy-v2)"
    case .version: "PROXY protocol header is not of version 2"
    case .command: "PROXY protocol command is neither LOCAL nor PROXY"
    case .family: "PROXY protocol header of an unknown address family"
    case .datagram: "PROXY protocol header of a UDP client; only TCP is accepted"
    case .unixSocket: "PROXY protocol header of a unix socket; only TCP is accepted"
    case .tooLarge: "PROXY protocol header is longer than \(ProxyHeader.bytesMax) bytes"
    case .length: "PROXY protocol header is too short for its addresses"
    case .tlv: "lengths of the TLVs in the PROXY protocol header do not add up"
    }
  }
}
