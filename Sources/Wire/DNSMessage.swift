// Constants of DNS messages for the gate's responder: record types, response codes, extended errors.
// It relies on RFC 1035, RFC 6891 and RFC 8914; a type is only a number, so new types are accepted.

package struct DNSType: RawRepresentable, Hashable, Sendable {
  package let rawValue: UInt16

  package init(rawValue: UInt16) { self.rawValue = rawValue }

  package static var a: DNSType { DNSType(rawValue: 1) }
  package static var ns: DNSType { DNSType(rawValue: 2) }
  package static var soa: DNSType { DNSType(rawValue: 6) }
  package static var ptr: DNSType { DNSType(rawValue: 12) }
  package static var txt: DNSType { DNSType(rawValue: 16) }
  package static var aaaa: DNSType { DNSType(rawValue: 28) }
  package static var srv: DNSType { DNSType(rawValue: 33) }
  package static var opt: DNSType { DNSType(rawValue: 41) }
  package static var https: DNSType { DNSType(rawValue: 65) }
  package static var any: DNSType { DNSType(rawValue: 255) }
}

/// The codes that a reply of the gate can carry. Above 15 the upper bits stand in the OPT record (RFC 6891).
package enum DNSResponseCode: UInt8, Error, Sendable {
  case noError = 0
  /// FORMERR
  case formatError = 1
  /// SERVFAIL
  case serverFailure = 2
  /// NXDOMAIN
  case nameError = 3
  /// NOTIMP
  case notImplemented = 4
  case refused = 5
  /// BADVERS
  case badVersion = 16
}

/// The reason for a missing answer, for the reader of the reply (RFC 8914).
package struct DNSExtendedError: Hashable, Sendable {
  /// Blocked by the operator of the server.
  package static var blocked: UInt16 { 15 }
  /// Filtered at the request of the client or its operator.
  package static var filtered: UInt16 { 17 }
  /// The client may not use this server.
  package static var prohibited: UInt16 { 18 }

  package let code: UInt16
  /// UTF-8. Omitted if the reply would become too long.
  package let text: [UInt8]

  package init(code: UInt16, text: [UInt8]) {
    self.code = code
    self.text = text
  }

  package init(code: UInt16, text: StaticString) {
    var bytes: [UInt8] = []
    bytes.append(text)
    self.init(code: code, text: bytes)
  }
}

/// Header fields that a reply copies from its query (RFC 1035 section 4.1.1).
package struct DNSReplyHead: Hashable, Sendable {
  package let id: UInt16
  /// 0 to 15; 0 is a standard query.
  package let opcode: UInt8
  package let isRecursionDesired: Bool
  package let isCheckingDisabled: Bool

  static let byteCount = 12

  init(_ bytes: Span<UInt8>) {
    id = bytes.number(at: 0)
    opcode = bytes[2] >> 3 & 0x0f
    isRecursionDesired = bytes[2] & 0x01 != 0
    isCheckingDisabled = bytes[3] & 0x10 != 0
  }
}

/// Content of the OPT record of a query (RFC 6891, version 0).
package struct EDNS: Hashable, Sendable {
  package let udpPayloadBytes: UInt16
  /// The DO bit.
  package let isDNSSECWanted: Bool
}
