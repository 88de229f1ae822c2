// Reads `host:port` of CONNECT, of an absolute-form target and of a Host field.
// It relies on RFC 3986 section 3.2 without userinfo and without percent-encoding: both can show one host to a reader
// and another to a parser.

package enum Authority {
  /// Reads a port from 1 to 65535. Without one, `defaultPort` applies; if that is nil too, the text is refused.
  package static func parse(_ bytes: Span<UInt8>, defaultPort: UInt16?) throws(AuthorityProblem) -> Target {
    guard bytes.count > 0 else { throw .empty }
    do throws(AuthorityProblem) {
      if bytes[0] == UInt8(ascii: "[") { return try parseBracketed(bytes, defaultPort) }
      let colon = bytes.firstIndex(of: UInt8(ascii: ":"), in: 0..<bytes.count) ?? bytes.count
      guard colon > 0 else { throw .emptyHost }
      let port = try parsePort(bytes, from: colon, defaultPort)
      return Target(host: try parseHost(bytes.extracting(0..<colon)), port: port)
    } catch {
      throw diagnose(bytes) ?? error
    }
  }

  /// Finds the real problem of a refused text: `user:password@host` deserves a better answer than "bad port".
  private static func diagnose(_ bytes: Span<UInt8>) -> AuthorityProblem? {
    for index in 0..<bytes.count {
      switch bytes[index] {
      case UInt8(ascii: "@"): return .userinfo
      case UInt8(ascii: "%"): return bytes[0] == UInt8(ascii: "[") ? .zone : .percentEncoded
      case 0...0x20, 0x7f: return .controlOrSpace
      default: continue
      }
    }
    return isBareIPv6(bytes) ? .ipv6WithoutBrackets : nil
  }

  private static func parseHost(_ bytes: Span<UInt8>) throws(AuthorityProblem) -> Host {
    do throws(HostNameProblem) {
      return try Host(parsing: bytes)
    } catch {
      throw .host(error)
    }
  }

  private static func parseBracketed(_ bytes: Span<UInt8>, _ defaultPort: UInt16?) throws(AuthorityProblem) -> Target {
    guard let end = bytes.firstIndex(of: UInt8(ascii: "]"), in: 0..<bytes.count) else { throw .badIPv6 }
    guard let address = IPAddress(parsing: bytes.extracting(1..<end)), address.width == 128 else { throw .badIPv6 }
    return Target(host: .address(address), port: try parsePort(bytes, from: end + 1, defaultPort))
  }

  private static func parsePort(
    _ bytes: Span<UInt8>, from colon: Int, _ defaultPort: UInt16?
  ) throws(AuthorityProblem) -> UInt16 {
    guard colon < bytes.count else {
      guard let defaultPort else { throw .missingPort }
      return defaultPort
    }
    guard bytes[colon] == UInt8(ascii: ":") else { throw .badPort }
    guard colon + 1 < bytes.count else { throw .emptyPort }
    guard bytes.count - colon <= 6 else { throw .badPort }
    var port = 0
    for index in (colon + 1)..<bytes.count {
      guard bytes[index].isDigit else { throw .badPort }
      port = port * 10 + Int(bytes[index] & 0x0f)
    }
    guard (1...65535).contains(port) else { throw .badPort }
    return UInt16(port)
  }

  private static func isBareIPv6(_ bytes: Span<UInt8>) -> Bool {
    var end = bytes.count
    if IPAddress(parsing: bytes) != nil { return true }
    while end > 0, bytes[end - 1].isDigit { end -= 1 }
    return end > 1 && bytes[end - 1] == UInt8(ascii: ":") && IPAddress(parsing: bytes.extracting(0..<(end - 1))) != nil
  }
}

package enum AuthorityProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case empty
  case userinfo
  case percentEncoded
  case controlOrSpace
  case emptyHost
  case host(HostNameProblem)
  case badIPv6
  case zone
  case ipv6WithoutBrackets
  case missingPort
  case emptyPort
  case badPort

  package var description: String {
    switch self {
    case .empty: "host and port are empty"
    case .userinfo: "user information in front of the host is refused"
    case .percentEncoded: "percent-encoding in the host is refused"
    case .controlOrSpace: "space or control byte in the host"
    case .emptyHost: "host is empty"
    case .host(let problem): problem.description
    case .badIPv6: "not an IPv6 address in brackets"
    case .zone: "IPv6 zone identifiers are refused"
    case .ipv6WithoutBrackets: "an IPv6 address is written in brackets: [2001:db8::1]:443"
    case .missingPort: "port is missing; write HOST:PORT"
    case .emptyPort: "port is empty"
    case .badPort: "port is not a number from 1 to 65535"
    }
  }
}
