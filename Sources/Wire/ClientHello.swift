// Reads the first flight of a TLS client, over any number of records, for its server name, ALPN and ECH.
// It relies on RFC 8446 sections 4.1.2 and 5.1 and RFC 6066 section 3; no cryptography is needed.

package enum ClientHelloResult: Equatable, Sendable {
  /// Fewer than `needed` bytes in total cannot change the result. Waiting for them keeps a hello of many small pieces
  /// from costing its length squared.
  case incomplete(needed: Int)
  case complete(ClientHello)
  case notTLS
  case malformed(ClientHelloProblem)
}

package struct ClientHello: Hashable, Sendable {
  package enum ServerName: Hashable, Sendable {
    case none
    case name(HostName)
    case refused(ServerNameProblem)
  }

  /// The length of the hello in bytes, with its record headers.
  package let length: Int
  package let serverName: ServerName
  /// True for Encrypted Client Hello, extension 0xfe0d: `serverName` is then only the outer name.
  package let offersECH: Bool
  package let protocols: OfferedProtocols

  package static func parse(_ bytes: Span<UInt8>, bytesMax: Int) -> ClientHelloResult {
    do throws(ClientHelloProblem) {
      switch TLSOpening(bytes) {
      case .incomplete(let needed): return .incomplete(needed: needed)
      case .other: return .notTLS
      case .record: return try HandshakeRecords.read(bytes, bytesMax: bytesMax)
      case .otherRecord: throw .firstRecordType
      case .otherVersion: throw .recordVersion
      case .version2: throw .version2
      }
    } catch {
      return .malformed(error)
    }
  }
}

package enum ClientHelloProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case tooLarge
  case recordLength
  case recordType
  case firstRecordType
  case recordVersion
  case version2
  case notClientHello
  case trailingBytes
  case version
  case length

  /// True for bytes that begin like TLS but cannot lead to a ClientHello; other problems are inside one.
  package var isBeforeHello: Bool {
    switch self {
    case .firstRecordType, .recordVersion, .version2: true
    default: false
    }
  }

  package var description: String {
    switch self {
    case .tooLarge: "ClientHello is larger than the limit"
    case .recordLength: "TLS record is empty or longer than 2^14 bytes (RFC 8446 section 5.1)"
    case .recordType: "another record type stands within the ClientHello (RFC 8446 section 5.1)"
    case .firstRecordType: "first TLS record is no handshake record; a client opens with its ClientHello"
    case .recordVersion: "TLS record of an unknown version"
    case .version2: "ClientHello in the form of SSL 2 (RFC 6176 section 3)"
    case .notClientHello: "first handshake message is not a ClientHello"
    case .trailingBytes: "bytes behind the ClientHello in its record"
    case .version: "ClientHello of an unknown version"
    case .length: "a length in the ClientHello does not fit what it stands in"
    }
  }
}

package enum ServerNameProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case empty
  case twoNames
  case twoExtensions
  case nameType
  case address
  case host(HostNameProblem)

  package var description: String {
    switch self {
    case .empty: "server name is empty"
    case .twoNames: "more than one server name"
    case .twoExtensions: "more than one server_name extension"
    case .nameType: "server name of an unknown type"
    case .address: "server name is an address (RFC 6066 section 3 wants a host name)"
    case .host(let problem): "server name: \(problem)"
    }
  }
}
