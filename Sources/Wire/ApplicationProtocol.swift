// The protocols that the gate can speak inside TLS, by their names in ALPN (RFC 7301).
// It relies on nothing.

package enum ApplicationProtocol: UInt8, CaseIterable, Sendable {
  case http1, http2

  package var name: StaticString {
    switch self {
    case .http1: "http/1.1"
    case .http2: "h2"
    }
  }

  package init?(name: [UInt8]) {
    switch name.count {
    case 2 where name.span.equals("h2", at: 0..<2): self = .http2
    case 8 where name.span.equals("http/1.1", at: 0..<8): self = .http1
    default: return nil
    }
  }
}

/// Protocols that a ClientHello offers.
package struct OfferedProtocols: Hashable, Sendable {
  /// True if the hello has ALPN. Without ALPN the gate speaks HTTP/1.1.
  package internal(set) var isPresent = false
  package internal(set) var hasHTTP1 = false
  package internal(set) var hasHTTP2 = false

  package init() {}

  /// The protocols offered to the upstream for this client: the client's own, as far as the gate speaks them.
  package var wire: [UInt8] {
    var bytes: [UInt8] = []
    for one in [hasHTTP2 ? ApplicationProtocol.http2 : nil, hasHTTP1 || !isPresent ? .http1 : nil].compactMap({ $0 }) {
      bytes.append(UInt8(one.name.utf8CodeUnitCount))
      bytes.append(one.name)
    }
    return bytes
  }

  mutating func note(_ bytes: Span<UInt8>, _ name: Range<Int>) {
    if bytes.equals("h2", at: name) { hasHTTP2 = true }
    if bytes.equals("http/1.1", at: name) { hasHTTP1 = true }
  }
}
