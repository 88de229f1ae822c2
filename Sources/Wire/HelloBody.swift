// The ClientHello message (RFC 8446 section 4.1.2): every length is checked, three extensions are read.
// It relies on the whole message, with its four-byte header.

enum HelloBody {
  private static let serverNameExtension = 0
  private static let protocolsExtension = 16
  private static let encryptedHelloExtension = 0xfe0d

  static func parse(_ message: Span<UInt8>, length: Int) throws(ClientHelloProblem) -> ClientHello {
    var cursor = Cursor(index: 4, end: message.count)
    guard try cursor.number(message, 2) >> 8 == 3 else { throw .version }
    _ = try cursor.take(32)
    guard try cursor.vector(message, lengthBytes: 1).count <= 32 else { throw .length }
    let suites = try cursor.vector(message, lengthBytes: 2).count
    guard suites >= 2, suites % 2 == 0 else { throw .length }
    guard try !cursor.vector(message, lengthBytes: 1).isEmpty else { throw .length }

    var serverName: ClientHello.ServerName?
    var offersECH = false
    var protocols = OfferedProtocols()
    // A TLS 1.2 hello may end without extensions.
    if !cursor.isAtEnd {
      let extensions = try cursor.vector(message, lengthBytes: 2)
      guard cursor.isAtEnd else { throw .length }
      cursor = Cursor(index: extensions.lowerBound, end: extensions.upperBound)
      while !cursor.isAtEnd {
        let type = try cursor.number(message, 2)
        let data = try cursor.vector(message, lengthBytes: 2)
        if type == serverNameExtension {
          // With two names the server would choose one, so neither is judged.
          serverName = serverName == nil ? try parseServerName(message, data) : .refused(.twoExtensions)
        } else if type == encryptedHelloExtension {
          offersECH = true
        } else if type == protocolsExtension {
          try readProtocols(message, data, into: &protocols)
        }
      }
    }
    return ClientHello(
      length: length, serverName: serverName ?? .none, offersECH: offersECH, protocols: protocols)
  }

  /// RFC 7301 section 3.1.
  private static func readProtocols(
    _ message: Span<UInt8>, _ data: Range<Int>, into protocols: inout OfferedProtocols
  ) throws(ClientHelloProblem) {
    var cursor = Cursor(index: data.lowerBound, end: data.upperBound)
    let list = try cursor.vector(message, lengthBytes: 2)
    guard cursor.isAtEnd else { throw .length }
    protocols.isPresent = true
    cursor = Cursor(index: list.lowerBound, end: list.upperBound)
    while !cursor.isAtEnd { protocols.note(message, try cursor.vector(message, lengthBytes: 1)) }
  }

  /// RFC 6066 section 3.
  private static func parseServerName(
    _ message: Span<UInt8>, _ data: Range<Int>
  ) throws(ClientHelloProblem) -> ClientHello.ServerName {
    var cursor = Cursor(index: data.lowerBound, end: data.upperBound)
    let list = try cursor.vector(message, lengthBytes: 2)
    guard cursor.isAtEnd, !list.isEmpty else { throw .length }
    cursor = Cursor(index: list.lowerBound, end: list.upperBound)
    let type = try cursor.number(message, 1)
    let name = try cursor.vector(message, lengthBytes: 2)
    if type != 0 { return .refused(.nameType) }
    guard cursor.isAtEnd else { return .refused(.twoNames) }
    guard !name.isEmpty else { return .refused(.empty) }
    return judge(message.extracting(name))
  }

  private static func judge(_ name: Span<UInt8>) -> ClientHello.ServerName {
    do throws(HostNameProblem) {
      return .name(try HostName(parsing: name))
    } catch {
      return .refused(IPAddress(parsing: name) == nil ? .host(error) : .address)
    }
  }
}

/// Reads numbers and length-prefixed vectors, never past its end.
private struct Cursor {
  var index: Int
  let end: Int

  var isAtEnd: Bool { index == end }

  mutating func take(_ count: Int) throws(ClientHelloProblem) -> Range<Int> {
    guard count <= end - index else { throw .length }
    index += count
    return (index - count)..<index
  }

  mutating func number(_ bytes: Span<UInt8>, _ count: Int) throws(ClientHelloProblem) -> Int {
    try take(count).reduce(0) { $0 << 8 | Int(bytes[$1]) }
  }

  mutating func vector(_ bytes: Span<UInt8>, lengthBytes: Int) throws(ClientHelloProblem) -> Range<Int> {
    try take(try number(bytes, lengthBytes))
  }
}
