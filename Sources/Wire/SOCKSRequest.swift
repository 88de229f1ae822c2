// A SOCKS 5 request: a target to connect to, as strictly read as that of CONNECT, or a command that is not spoken here.
// It relies on RFC 1928 sections 4 and 5, and on `Host` for what is a name.

package enum SOCKSRequest: Hashable, Sendable {
  case connect(Target)
  /// The address of these is passed over: clients send zeros in it, so there is no target to judge.
  case bind
  case udpAssociate
  case other(UInt8)

  /// Version, command, a zero and the address type.
  private static let headBytes = 4

  package static func parse(_ bytes: Span<UInt8>) -> SOCKSResult<SOCKSRequest> {
    do throws(SOCKSProblem) {
      if bytes.count > 0, bytes[0] != SOCKS5.version { throw bytes[0] == 4 ? .version4 : .version }
      if bytes.count > 2, bytes[2] != 0 { throw .reserved }
      guard bytes.count >= headBytes else { return .incomplete }
      guard let type = SOCKSAddressType(rawValue: bytes[3]) else { throw .addressType }
      guard let address = addressRange(bytes, type), bytes.count >= address.upperBound + 2 else { return .incomplete }
      return .complete(try request(bytes, type, address), byteCount: address.upperBound + 2)
    } catch {
      return .malformed(error)
    }
  }

  /// Nil where the length of the name has not come yet.
  private static func addressRange(_ bytes: Span<UInt8>, _ type: SOCKSAddressType) -> Range<Int>? {
    switch type {
    case .v4: return headBytes..<(headBytes + 4)
    case .v6: return headBytes..<(headBytes + 16)
    case .name:
      guard bytes.count > headBytes else { return nil }
      let start = headBytes + 1
      return start..<(start + Int(bytes[headBytes]))
    }
  }

  private static func request(
    _ bytes: Span<UInt8>, _ type: SOCKSAddressType, _ address: Range<Int>
  ) throws(SOCKSProblem) -> SOCKSRequest {
    switch bytes[1] {
    case 1: .connect(try target(bytes, type, address))
    case 2: .bind
    case 3: .udpAssociate
    case let command: .other(command)
    }
  }

  private static func target(
    _ bytes: Span<UInt8>, _ type: SOCKSAddressType, _ address: Range<Int>
  ) throws(SOCKSProblem) -> Target {
    let host: Host
    switch type {
    case .v4: host = .address(bytes.address4(at: address.lowerBound))
    case .v6: host = .address(bytes.address6(at: address.lowerBound))
    case .name:
      do throws(HostNameProblem) {
        host = try Host(parsing: bytes.extracting(address))
      } catch {
        throw .host(error)
      }
    }
    let port: UInt16 = bytes.number(at: address.upperBound)
    guard port > 0 else { throw .port }
    return Target(host: host, port: port)
  }
}
