// A client's target, normalised: the value that is judged, dialled and written to the log.
// It relies on `HostName` and `IPAddress` being comparable byte for byte once they exist.

package enum Host: Hashable, Sendable, CustomStringConvertible {
  case name(HostName)
  case address(IPAddress)

  /// A host name, or an IPv4 address in its canonical text; any other text that ends in a number is neither.
  package init(parsing text: Span<UInt8>) throws(HostNameProblem) {
    do throws(HostNameProblem) {
      self = .name(try HostName(parsing: text))
    } catch {
      guard error == .endsInNumber, let address = IPAddress(parsing: text) else { throw error }
      self = .address(address)
    }
  }

  /// IPv6 in brackets.
  package var description: String {
    var bytes: [UInt8] = []
    append(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The text of `description`, without a String.
  package func append(to out: inout [UInt8]) {
    switch self {
    case .name(let name): out.append(name.bytes.span)
    case .address(.v4(let value)): IPAddress.v4(value).append(to: &out)
    case .address(let address):
      out.append(UInt8(ascii: "["))
      address.append(to: &out)
      out.append(UInt8(ascii: "]"))
    }
  }
}

package struct Target: Hashable, Sendable, CustomStringConvertible {
  package let host: Host
  package let port: UInt16

  package init(host: Host, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// `host:port`, IPv6 in brackets.
  package var description: String {
    var bytes: [UInt8] = []
    append(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The text of `description`, without a String.
  package func append(to out: inout [UInt8]) {
    host.append(to: &out)
    out.append(UInt8(ascii: ":"))
    appendDecimal(UInt64(port), to: &out)
  }
}
