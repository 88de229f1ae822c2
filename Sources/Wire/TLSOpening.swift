// Tells from its first bytes whether a connection begins like TLS, in any form that some TLS server answers.
// It relies on RFC 8446 section 5.1, on RFC 5246 appendix E.2, and on how lenient servers are with a first record.

/// Go and GnuTLS take a first record of any version below 16.0, and Go skips warning alerts in front of the
/// ClientHello. Under `protocol: auto` all of these forms must be held to the SNI rule: a form that is missing here
/// carries any SNI.
enum TLSOpening: Equatable {
  /// Fewer than `needed` bytes do not tell.
  case incomplete(needed: Int)
  /// A handshake record of version 3.x: a ClientHello must follow.
  case record
  /// A record of another content type, version 3.x.
  case otherRecord
  /// A handshake or alert record of a version that no TLS has.
  case otherVersion
  /// The ClientHello of SSL 2, which OpenSSL still answers with TLS.
  case version2
  case other

  private static let handshake: UInt8 = 22
  private static let alert: UInt8 = 21
  private static let clientHello: UInt8 = 1

  init(_ bytes: Span<UInt8>) {
    guard bytes.count > 0 else {
      self = .incomplete(needed: 1)
      return
    }
    switch bytes[0] {
    // change_cipher_spec, alert, handshake, application_data, heartbeat.
    case 20...24: self = TLSOpening.record(bytes)
    // The high bit marks a record of SSL 2 with a two-byte header; OpenSSL reads up to 16 KiB and a little more.
    case 0x80...0xc1: self = TLSOpening.version2(bytes)
    default: self = .other
    }
  }

  private static func record(_ bytes: Span<UInt8>) -> TLSOpening {
    guard bytes.count > 1 else { return .incomplete(needed: 2) }
    if bytes[1] == 3 { return bytes[0] == handshake ? .record : .otherRecord }
    guard bytes[1] < 16, bytes[0] == handshake || bytes[0] == alert else { return .other }
    // Binary protocols begin like this too: the record's length and its first byte tell them from TLS.
    guard bytes.count > 5 else { return .incomplete(needed: 6) }
    let length = Int(truncatingIfNeeded: bytes[3]) << 8 | Int(truncatingIfNeeded: bytes[4])
    let isHello = bytes[0] == handshake && length > 0 && bytes[5] == clientHello
    let isAlert = bytes[0] == alert && length == 2 && (1...2).contains(bytes[5])
    return isHello || isAlert ? .otherVersion : .other
  }

  /// Two bytes of length, the message's type, the version that the client wants.
  private static func version2(_ bytes: Span<UInt8>) -> TLSOpening {
    guard bytes.count > 2 else { return .incomplete(needed: 3) }
    guard bytes[2] == clientHello else { return .other }
    guard bytes.count > 4 else { return .incomplete(needed: 5) }
    let isSSL2 = bytes[3] == 0 && bytes[4] == 2
    return isSSL2 || bytes[3] == 3 ? .version2 : .other
  }
}
