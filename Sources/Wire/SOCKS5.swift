// SOCKS 5 as a server speaks it: what the client sends first, its password, and every answer it gets.
// It relies on RFC 1928 and RFC 1929; the request itself is read in `SOCKSRequest`.

package enum SOCKSResult<Value: Hashable & Sendable>: Hashable, Sendable {
  /// Call again with the same bytes and more behind them: no message is longer than 513 bytes.
  case incomplete
  case malformed(SOCKSProblem)
  /// The message is the first `byteCount` bytes.
  case complete(Value, byteCount: Int)
}

/// Methods that the client offers, of those that the gate knows (RFC 1928 section 3).
package struct SOCKSGreeting: Hashable, Sendable {
  package let offersNoAuthentication: Bool
  package let offersPassword: Bool

  package static func parse(_ bytes: Span<UInt8>) -> SOCKSResult<SOCKSGreeting> {
    guard bytes.count > 0 else { return .incomplete }
    guard bytes[0] == SOCKS5.version else { return .malformed(bytes[0] == 4 ? .version4 : .version) }
    guard bytes.count > 1 else { return .incomplete }
    let end = 2 + Int(bytes[1])
    guard end > 2 else { return .malformed(.noMethods) }
    guard bytes.count >= end else { return .incomplete }
    let greeting = SOCKSGreeting(
      offersNoAuthentication: bytes.firstIndex(of: SOCKSMethod.noAuthentication.rawValue, in: 2..<end) != nil,
      offersPassword: bytes.firstIndex(of: SOCKSMethod.password.rawValue, in: 2..<end) != nil)
    return .complete(greeting, byteCount: end)
  }
}

/// A user and a password (RFC 1929 section 2), each of 1 to 255 bytes of any kind.
package struct SOCKSCredentials: Hashable, Sendable {
  package let user: [UInt8]
  package let password: [UInt8]

  package static func parse(_ bytes: Span<UInt8>) -> SOCKSResult<SOCKSCredentials> {
    guard bytes.count > 0 else { return .incomplete }
    guard bytes[0] == SOCKS5.passwordVersion else { return .malformed(.passwordVersion) }
    guard bytes.count > 1 else { return .incomplete }
    let userEnd = 2 + Int(bytes[1])
    guard userEnd > 2 else { return .malformed(.emptyUser) }
    guard bytes.count > userEnd else { return .incomplete }
    let end = userEnd + 1 + Int(bytes[userEnd])
    guard end > userEnd + 1 else { return .malformed(.emptyPassword) }
    guard bytes.count >= end else { return .incomplete }
    var (user, password): ([UInt8], [UInt8]) = ([], [])
    user.append(bytes.extracting(2..<userEnd))
    password.append(bytes.extracting((userEnd + 1)..<end))
    return .complete(SOCKSCredentials(user: user, password: password), byteCount: end)
  }
}

/// The method that the server picks (RFC 1928 section 3).
package enum SOCKSMethod: UInt8, Sendable {
  case noAuthentication = 0
  case password = 2
  /// The client must close then.
  case noneAcceptable = 0xff
}

/// Result of a request (RFC 1928 section 6).
package enum SOCKSReply: UInt8, Sendable, CaseIterable {
  case succeeded = 0
  case generalFailure = 1
  /// Not allowed by the ruleset.
  case notAllowed = 2
  case networkUnreachable = 3
  case hostUnreachable = 4
  case connectionRefused = 5
  case ttlExpired = 6
  case commandNotSupported = 7
  case addressTypeNotSupported = 8
}

/// Messages of the server.
package enum SOCKS5 {
  package static let version: UInt8 = 5
  static let passwordVersion: UInt8 = 1

  package static func reply(_ reply: SOCKSReply) -> [UInt8] {
    var bytes: [UInt8] = []
    write(reply, into: &bytes)
    return bytes
  }

  package static func write(_ method: SOCKSMethod, into out: inout [UInt8]) {
    out.append(version)
    out.append(method.rawValue)
  }

  /// After anything but success the connection must be closed (RFC 1929 section 2).
  package static func writeAuthentication(isRight: Bool, into out: inout [UInt8]) {
    out.append(passwordVersion)
    out.append(isRight ? 0 : 1)
  }

  /// The bound address is always 0.0.0.0:0: which of its own addresses the gate uses is no concern of a client.
  package static func write(_ reply: SOCKSReply, into out: inout [UInt8]) {
    out.append(version)
    out.append(reply.rawValue)
    out.append(0)
    out.append(SOCKSAddressType.v4.rawValue)
    out.append(IPAddress.v4(0))
    out.append(number: UInt16(0))
  }
}

/// RFC 1928 section 5.
enum SOCKSAddressType: UInt8 {
  case v4 = 1
  case name = 3
  case v6 = 4
}

package enum SOCKSProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case version
  case version4
  case noMethods
  case passwordVersion
  case emptyUser
  case emptyPassword
  case reserved
  case addressType
  case host(HostNameProblem)
  case port

  /// Answer to a request with this problem. A target that cannot be judged is one that is not allowed: a general
  /// failure would look like a broken network.
  package var reply: SOCKSReply {
    switch self {
    case .addressType: .addressTypeNotSupported
    case .host, .port: .notAllowed
    case .version, .version4, .noMethods, .passwordVersion, .emptyUser, .emptyPassword, .reserved: .generalFailure
    }
  }

  package var description: String {
    switch self {
    case .version: "not SOCKS version 5 (RFC 1928)"
    case .version4: "SOCKS version 4 is not spoken here; use SOCKS 5 with names (socks5h://)"
    case .noMethods: "SOCKS greeting offers no method (RFC 1928 section 3)"
    case .passwordVersion: "SOCKS password message is not of version 1 (RFC 1929 section 2)"
    case .emptyUser: "SOCKS user is empty (RFC 1929 section 2)"
    case .emptyPassword: "SOCKS password is empty (RFC 1929 section 2)"
    case .reserved: "reserved byte of the SOCKS request is not 0 (RFC 1928 section 4)"
    case .addressType: "SOCKS address type is not IPv4, IPv6 or a name (RFC 1928 section 5)"
    case .host(let problem): "SOCKS target: \(problem)"
    case .port: "SOCKS target: port is not a number from 1 to 65535"
    }
  }
}
