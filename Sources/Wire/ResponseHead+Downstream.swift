// Writes a parsed response head as it goes to the client: nothing that was for the upstream hop, framing anew.
// It relies on `ResponseHead.parse` having completed on the very bytes that are passed again.

extension ResponseHead {
  /// True if the client's connection can stay open behind this response. The body must have an end that the client
  /// sees: one that lasts until close, or one that was chunked and goes to an HTTP/1.0 client, ends with the
  /// connection.
  package func staysOpen(keepAlive: Bool, toMinorVersion: UInt8, toHEAD: Bool) -> Bool {
    guard keepAlive else { return false }
    return switch body(toHEAD: toHEAD) {
    case .none, .length: true
    case .chunked: toMinorVersion == 1
    case .untilClose: false
    }
  }

  /// Appends the head for the client. `keepAlive` is the caller's wish; what is written is `staysOpen`.
  ///
  /// A chunked body goes to an HTTP/1.1 client as it stands. For `toMinorVersion` 0 no framing is written, and the
  /// caller passes on only the data ranges of `ChunkedScanner.next`, then closes. An interim response must not be
  /// sent to an HTTP/1.0 client at all (RFC 9110 section 15.2).
  package func writeDownstream(
    from bytes: Span<UInt8>, keepAlive: Bool, toMinorVersion: UInt8, toHEAD: Bool, into out: inout [UInt8]
  ) {
    out.append("HTTP/1.1 ")
    out.append(bytes.extracting(statusAndReason))
    // Without a reason the space behind the code is still part of the line.
    if statusAndReason.count == 3 { out.append(" \r\n") } else { out.append("\r\n") }
    lines.appendEndToEnd(bytes, to: &out) { kind in
      switch kind {
      // X-Sluice-* is how a client tells the gate's refusals from an upstream's answers: no upstream may forge it.
      case .sluice, .connection, .keepAlive, .te, .upgrade, .http2Settings, .contentLength, .transferEncoding: false
      case .proxyAuthorization, .proxyConnection, .proxyOther: false
      case .other, .host, .expect, .proxyStatus: true
      }
    }
    appendFraming(writtenFraming(toMinorVersion: toMinorVersion), to: &out)
    if isWebSocketUpgrade {
      out.append("Connection: Upgrade\r\nUpgrade: websocket\r\n")
    } else if status >= 200 {
      let isOpen = staysOpen(keepAlive: keepAlive, toMinorVersion: toMinorVersion, toHEAD: toHEAD)
      if !isOpen {
        out.append("Connection: close\r\n")
      } else if toMinorVersion == 0 {
        out.append("Connection: keep-alive\r\n")
      }
    }
    appendVia(minorVersion: minorVersion, to: &out)
    out.append("\r\n")
  }

  /// Name and value of each field that HTTP/2 can carry as it stands: none that is for this connection alone.
  package func forEachField(_ bytes: Span<UInt8>, _ body: (_ name: Span<UInt8>, _ value: Span<UInt8>) -> Void) {
    for index in 0..<lines.count where !lines[index].isNominated {
      switch lines[index].kind {
      case .connection, .keepAlive, .te, .upgrade, .http2Settings, .transferEncoding, .proxyConnection: continue
      case .other, .host, .contentLength, .expect, .proxyAuthorization, .proxyStatus, .proxyOther, .sluice:
        guard lines[index].isLenient else {
          body(bytes.extracting(lines[index].name), bytes.extracting(lines[index].value))
          continue
        }
        var value: [UInt8] = []
        HeadLines.appendUnfolded(bytes, lines[index].value, to: &value)
        body(bytes.extracting(lines[index].name), value.span)
      }
    }
  }

  /// The framing fields as upstream sent them: an answer to HEAD and a 304 carry those of the body they stand for, and
  /// 1xx and 204 carry none (RFC 9112 section 6.3).
  private func writtenFraming(toMinorVersion: UInt8) -> BodyLength {
    if status < 200 || status == 204 { return .none }
    if summary.isChunked { return toMinorVersion == 1 ? .chunked : .none }
    return summary.contentLength.map(BodyLength.length) ?? .none
  }
}
