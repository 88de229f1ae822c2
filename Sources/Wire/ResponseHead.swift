// Parses the head of an upstream's HTTP/1 response: its framing strictly, since it is trusted as much as a request's,
// and the known sloppinesses of servers in the one reading that is safe.
// It relies on `HeadLines` for the lines and `FieldSummary` for the fields (RFC 9112 section 6.3).

/// A reusable value, like `RequestHead`.
package struct ResponseHead: HeadGrammar, Sendable {
  /// 100 to 999.
  package private(set) var status = 0
  /// 0 or 1.
  package private(set) var minorVersion: UInt8 = 1

  var lines = HeadLines(.response)
  var summary = FieldSummary()
  /// Status code, and the space and reason where there are any, without the CRLF.
  var statusAndReason = 0..<0
  /// True if the last `parse` was incomplete.
  package internal(set) var isPartlyRead = false

  package init() {}

  package mutating func reset() { giveUp() }

  /// Reads a head of at most `bytesMax` bytes at the beginning of `bytes`.
  package mutating func parse(_ bytes: Span<UInt8>, bytesMax: Int) -> HeadResult { read(bytes, bytesMax: bytesMax) }

  /// True if upstream leaves the connection open (RFC 9112 section 9.3). A body `.untilClose` ends it all the same.
  package var keepAlive: Bool {
    !summary.saysClose && !summary.isFramedTwice && (minorVersion == 1 || summary.saysKeepAlive)
  }

  /// The value of the first field of this name, which is given in lower case.
  package func field(_ name: StaticString, in bytes: Span<UInt8>) -> Range<Int>? {
    for index in 0..<lines.count where bytes.matches(name, at: lines[index].name) { return lines[index].value }
    return nil
  }

  /// An interim response: the final one follows (RFC 9110 section 15.2). 101 is final.
  package var isInterim: Bool { status < 200 && status != 101 }

  /// Any other 101 answers nothing that this gate asked for.
  package var isWebSocketUpgrade: Bool { status == 101 && summary.offersWebSocket && summary.saysUpgrade }

  package func body(toHEAD: Bool) -> BodyLength {
    if toHEAD || status < 200 || status == 204 || status == 304 { return .none }
    if summary.isChunked { return .chunked }
    return summary.contentLength.map(BodyLength.length) ?? .untilClose
  }

  mutating func readWhole(_ bytes: Span<UInt8>) throws(HeadProblem) {
    try summary.read(bytes, &lines)
    if summary.isChunked, minorVersion == 0 { throw .transferEncodingBeforeHTTP11 }
  }

  mutating func readFirstLine(_ bytes: Span<UInt8>, _ line: Range<Int>) throws(HeadProblem) {
    guard line.count >= 12, bytes.hasPrefix("http/", at: line), bytes[line.lowerBound + 8] == .space else {
      throw .statusLine
    }
    guard let minor = httpMinorVersion(bytes, line) else { throw .version }
    minorVersion = minor
    statusAndReason = (line.lowerBound + 9)..<line.upperBound
    var value = 0
    for index in statusAndReason.prefix(3) {
      guard bytes[index].isDigit else { throw .statusLine }
      value = value * 10 + Int(bytes[index] & 0x0f)
    }
    // The space behind the code is required, but many servers leave it out when they have no reason to give.
    guard value >= 100, line.count == 12 || bytes[line.lowerBound + 12] == .space else { throw .statusLine }
    status = value
  }
}
