// Writes a parsed request head as it goes upstream: origin-form, the judged Host, nothing that was for this hop.
// It relies on `RequestHead.parse` having completed on the very bytes that are passed again.

extension RequestHead {
  /// Appends the head that goes to `target`. Framing is written anew from `body`, so nothing that a client says of its
  /// Connection fields can take it away; Proxy-Authorization never leaves. `judgedPath` is what was judged of the
  /// request target, in place of the client's spelling of it.
  package func writeUpstream(
    from bytes: Span<UInt8>, to target: Target, judgedPath: [UInt8]? = nil, into out: inout [UInt8]
  ) {
    out.append(bytes.extracting(method))
    out.append(UInt8(ascii: " "))
    if let judgedPath { out += judgedPath } else { appendPath(bytes, to: &out) }
    out.append(" HTTP/1.1\r\nHost: ")
    target.host.append(to: &out)
    if target.port != defaultPort {
      out.append(UInt8(ascii: ":"))
      appendDecimal(UInt64(target.port), to: &out)
    }
    out.append("\r\n")
    lines.appendEndToEnd(bytes, to: &out) { kind in
      switch kind {
      // Upstream is spoken to as HTTP/1.1, and may answer an expectation that an HTTP/1.0 client cannot have.
      case .expect: minorVersion == 1
      case .other, .sluice: true
      default: false
      }
    }
    appendFraming(body, to: &out)
    if upgradesToWebSocket { out.append("Connection: Upgrade\r\nUpgrade: websocket\r\n") }
    appendVia(minorVersion: minorVersion, to: &out)
    out.append("\r\n")
  }

  /// Path and query as they go upstream when nobody judged them, and as they are judged: ASCII alone, other bytes
  /// percent-encoded.
  package func pathAndQuery(in bytes: Span<UInt8>) -> [UInt8] {
    var text: [UInt8] = []
    appendPath(bytes, to: &text)
    return text
  }

  /// RFC 9112 sections 3.2.1 and 3.2.4.
  private func appendPath(_ bytes: Span<UInt8>, to out: inout [UInt8]) {
    guard !path.isEmpty else {
      out.append(isOPTIONS ? UInt8(ascii: "*") : UInt8(ascii: "/"))
      return
    }
    if bytes[path.lowerBound] == UInt8(ascii: "?") { out.append(UInt8(ascii: "/")) }
    guard hasRawBytes else { return out.append(bytes.extracting(path)) }
    Percent.appendASCII(bytes.extracting(path), to: &out)
  }
}

extension Percent {
  /// Appends a request target: bytes beyond ASCII percent-encoded (RFC 3986 section 2.5), all others as they stand.
  package static func appendASCII(_ text: Span<UInt8>, to out: inout [UInt8]) {
    for index in 0..<text.count {
      if text[index] < 0x80 {
        out.append(text[index])
      } else {
        append(CollectionOfOne(text[index]), to: &out)
      }
    }
  }
}
