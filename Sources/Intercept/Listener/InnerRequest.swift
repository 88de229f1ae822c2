// A request head of HTTP/2, written as a client of HTTP/1.1 would have sent it to a proxy: so both are judged as one.
// It relies on the flow to refuse what it does not like; here only what could not stand in such a head is turned away.
import Wire

package struct InnerRequest {
  enum Kind: Equatable {
    /// CONNECT (RFC 9113 section 8.5): bytes both ways.
    case tunnel
    /// Extended CONNECT (RFC 8441): bytes both ways, once the upstream has shown that it read this key.
    case webSocket(accept: [UInt8])
    case message(isChunked: Bool, isHEAD: Bool)

    /// Bytes both ways, once it stands.
    var isTunnel: Bool { if case .message = self { false } else { true } }
    var isChunked: Bool { if case .message(isChunked: true, _) = self { true } else { false } }
    var isHEAD: Bool { if case .message(_, isHEAD: true) = self { true } else { false } }
  }

  enum Problem: Error {
    /// The head holds a byte that would end a line, or a target early.
    case unspeakable
    case unknownProtocol
  }

  private(set) var bytes: [UInt8] = []
  private(set) var kind = Kind.tunnel
  private let block: FieldBlock

  private init(_ block: FieldBlock) { self.block = block }

  static func make(_ block: FieldBlock, endsStream: Bool) -> Result<InnerRequest, Problem> {
    let method = block.value(.method) ?? []
    let authority = block.value(.authority) ?? block.value(.host) ?? []
    // nghttp2 has looked at these too: a space in one of them would make two words of it, and a slash in an authority
    // another host.
    let words = [method, authority, block.value(.path) ?? [], block.value(.scheme) ?? []]
    guard !method.isEmpty, !authority.isEmpty, words.allSatisfy({ $0.allSatisfy { 0x21...0x7e ~= $0 } }),
      !authority.contains(where: { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") })
    else { return .failure(.unspeakable) }
    guard namesOneHost(block) else { return .failure(.unspeakable) }
    var request = InnerRequest(block)
    request.bytes.reserveCapacity(block.listBytes + 128)
    if method.span.isText("CONNECT") {
      guard let named = block.value(.connectProtocol) else {
        request.writeTunnel(authority)
        return .success(request)
      }
      guard named.span.isText("websocket") else { return .failure(.unknownProtocol) }
      guard request.hasWholeTarget else { return .failure(.unspeakable) }
      request.writeUpgrade(authority)
    } else {
      guard request.hasWholeTarget else { return .failure(.unspeakable) }
      request.writeMessage(method, authority, endsStream: endsStream)
    }
    return .success(request)
  }

  /// RFC 9113 section 8.3.1: a Host that names another entity than `:authority` makes a request malformed. Behind this
  /// the head is one of HTTP/1.1, where a proxy ignores Host.
  private static func namesOneHost(_ block: FieldBlock) -> Bool {
    guard let authority = block.value(.authority), let host = block.value(.host) else { return true }
    return target(authority) == target(host)
  }

  private static func target(_ text: [UInt8]) -> Target? {
    // Two that cannot be read are refused with the head that they stand in.
    try? Authority.parse(text.span, defaultPort: 0)
  }

  /// Scheme and path stay what they are where they stand behind one another.
  private var hasWholeTarget: Bool {
    let path = block.value(.path) ?? []
    guard let scheme = block.value(.scheme), !scheme.isEmpty, scheme.allSatisfy({ ($0 | 0x20) &- 0x61 < 26 }) else {
      return false
    }
    return path.first == UInt8(ascii: "/") || path.span.isText("*")
  }

  private mutating func writeTunnel(_ authority: [UInt8]) {
    line(Array("CONNECT".utf8), [authority])
    writeFields(authority)
    bytes.append("\r\n")
  }

  private mutating func writeMessage(_ method: [UInt8], _ authority: [UInt8], endsStream: Bool) {
    let isChunked = !endsStream && block.count(.contentLength) == 0
    kind = .message(isChunked: isChunked, isHEAD: method.span.isText("HEAD"))
    line(method, absolute(authority))
    writeFields(authority)
    if isChunked { bytes.append("Transfer-Encoding: chunked\r\n") }
    // A stream is one request, and so is its session.
    bytes.append("Connection: close\r\n\r\n")
  }

  private mutating func line(_ method: [UInt8], _ target: [[UInt8]]) {
    bytes += method
    bytes.append(" ")
    for part in target { bytes += part }
    bytes.append(" HTTP/1.1\r\n")
  }

  /// Of another scheme than `http` the flow says what it thinks of it.
  private func absolute(_ authority: [UInt8]) -> [[UInt8]] {
    let path = block.value(.path) ?? []
    return [block.value(.scheme) ?? [], Array("://".utf8), authority, path.span.isText("*") ? [] : path]
  }

  private mutating func writeUpgrade(_ authority: [UInt8]) {
    let (key, accept) = Self.webSocketKey()
    kind = .webSocket(accept: accept)
    line(Array("GET".utf8), absolute(authority))
    writeFields(authority, dropping: ["sec-websocket-key", "content-length"])
    bytes.append("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ")
    bytes += key
    bytes.append("\r\n\r\n")
  }

  /// RFC 6455 section 4.1, and what section 4.2.2 makes of it.
  private static func webSocketKey() -> (key: [UInt8], accept: [UInt8]) {
    var (key, accept): ([UInt8], [UInt8]) = ([], [])
    Base64.append((0..<16).map { _ in UInt8.random(in: .min ... .max) }, to: &key)
    Base64.append(OpenSSL.sha1(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8), to: &accept)
    return (key, accept)
  }

  private mutating func writeFields(_ authority: [UInt8], dropping dropped: [StaticString] = []) {
    var out: [UInt8] = []
    var cookie: [UInt8] = []
    if block.count(.host) == 0 { Self.field("host", authority, to: &out) }
    block.forEachField { name, value, _ in
      if name.isText("te") || name.isText("proxy-connection") || dropped.contains(where: { name.isText($0) }) { return }
      if name.isText("cookie") {
        // RFC 9113 section 8.2.3: crumbs of one field.
        if !cookie.isEmpty { cookie.append("; ") }
        cookie.append(value)
        return
      }
      out.append(name)
      out.append(": ")
      out.append(value)
      out.append("\r\n")
    }
    if !cookie.isEmpty { Self.field("cookie", cookie, to: &out) }
    bytes += out
  }

  private static func field(_ name: StaticString, _ value: [UInt8], to out: inout [UInt8]) {
    out.append(name)
    out.append(": ")
    out += value
    out.append("\r\n")
  }

  /// What a session reads for these fields; nil where it would read nothing.
  package static func bytes(
    of fields: [(name: [UInt8], value: [UInt8])], endsStream: Bool
  ) -> [UInt8]? {
    var block = FieldBlock()
    for field in fields { block.append(field.name, field.value, isSensitive: false) }
    guard case .success(let request) = make(block, endsStream: endsStream) else { return nil }
    return request.bytes
  }
}
