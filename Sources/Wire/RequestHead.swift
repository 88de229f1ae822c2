// Parses the head of an HTTP/1 request and refuses every head that two parsers could read in two ways (RFC 9112).
// It relies on `HeadLines` for the lines, `FieldSummary` for the fields, and `Authority` for the target.

/// A reusable value: after `.complete` or `.malformed` the next `parse` begins a new head in the same memory. After
/// `.incomplete` it goes on where it stopped; call `reset` to give such a head up.
package struct RequestHead: HeadGrammar, Sendable {
  package enum Form: Hashable, Sendable {
    case connect(Target)
    case absolute(Target)
    case origin
    case asterisk
  }

  package private(set) var form = Form.origin
  /// The method and the request target as places in the bytes that were parsed.
  package private(set) var method = 0..<0
  package private(set) var requestTarget = 0..<0
  package private(set) var isHEAD = false
  /// 0 or 1.
  package private(set) var minorVersion: UInt8 = 1
  package private(set) var body = BodyLength.none
  /// The target from Host if the form is origin or asterisk (`defaultPort` if it has no port). The other forms name
  /// the target themselves.
  package private(set) var originHost: Target?

  var lines = HeadLines(.request)
  var summary = FieldSummary()
  /// Path and query; empty where an absolute-form target has none.
  var path = 0..<0
  var isOPTIONS = false
  private var isGET = false
  private var authority = 0..<0
  /// The target holds bytes beyond ASCII, which go upstream percent-encoded.
  private(set) var hasRawBytes = false
  /// True if the last `parse` was incomplete.
  package internal(set) var isPartlyRead = false
  /// Port of a Host without one: 443 inside TLS.
  private(set) var defaultPort: UInt16

  package init(defaultPort: UInt16 = 80) { self.defaultPort = defaultPort }

  package mutating func reset() { giveUp() }

  /// Reads a head of at most `bytesMax` bytes at the beginning of `bytes`.
  package mutating func parse(_ bytes: Span<UInt8>, bytesMax: Int) -> HeadResult { read(bytes, bytesMax: bytesMax) }

  /// The client has sent nothing but empty lines, which mean nothing (RFC 9112 section 2.2).
  package var hasBegun: Bool { lines.hasBegun }

  /// True if the client may send another request on this connection (RFC 9112 section 9.3). A proxy does not keep
  /// connections of HTTP/1.0 clients, whatever they ask for: an old proxy in between may pass the wish on blindly.
  package var keepAlive: Bool { minorVersion == 1 && !summary.saysClose && !summary.proxySaysClose }

  /// A WebSocket opening handshake (RFC 6455 section 4.1): GET, HTTP/1.1, no body, `Upgrade: websocket` that
  /// Connection nominates.
  package var upgradesToWebSocket: Bool {
    summary.offersWebSocket && summary.saysUpgrade && isGET && minorVersion == 1 && body == .none
  }

  /// HTTP/1.0 cannot expect it (RFC 9110 section 10.1.1).
  package var expectsContinue: Bool { summary.expectsContinue && minorVersion == 1 }

  /// Each field of a head that is complete, as it stands in the same bytes.
  package func forEachField(in bytes: Span<UInt8>, _ body: (_ name: Span<UInt8>, _ value: Span<UInt8>) -> Void) {
    for index in 0..<lines.count {
      body(bytes.extracting(lines[index].name), bytes.extracting(lines[index].value))
    }
  }

  /// The value of the first field of this name, which is given in lower case.
  package func field(_ name: StaticString, in bytes: Span<UInt8>) -> Range<Int>? {
    for index in 0..<lines.count where bytes.matches(name, at: lines[index].name) { return lines[index].value }
    return nil
  }

  package var hasProxyAuthorization: Bool { summary.proxyAuthorization != nil }

  /// User and password out of `Proxy-Authorization: Basic …` (RFC 7617), or nil.
  package func basicCredentials(in bytes: Span<UInt8>) -> (user: [UInt8], password: [UInt8])? {
    guard let value = summary.proxyAuthorization, bytes.hasPrefix("basic ", at: value) else { return nil }
    let token = bytes.trimmed((value.lowerBound + 6)..<value.upperBound)
    guard let decoded = Base64.decode(bytes.extracting(token)), let colon = decoded.firstIndex(of: UInt8(ascii: ":"))
    else { return nil }
    return (Array(decoded[..<colon]), Array(decoded[(colon + 1)...]))
  }
}

// MARK: - Request line

extension RequestHead {
  mutating func readFirstLine(_ bytes: Span<UInt8>, _ line: Range<Int>) throws(HeadProblem) {
    var index = line.lowerBound
    while index < line.upperBound, bytes[index].isToken { index += 1 }
    method = line.lowerBound..<index
    guard !method.isEmpty, index < line.upperBound, bytes[index] == .space else { throw .requestLine }
    let targetStart = index + 1
    index = targetStart
    hasRawBytes = false
    while index < line.upperBound, bytes[index].isVisible || bytes[index] >= 0x80 {
      if bytes[index] >= 0x80 { hasRawBytes = true }
      index += 1
    }
    requestTarget = targetStart..<index
    guard !requestTarget.isEmpty, index < line.upperBound, bytes[index] == .space else { throw .requestLine }
    try parseVersion(bytes, (index + 1)..<line.upperBound)
    // Methods are case-sensitive (RFC 9110 section 9.1).
    isHEAD = bytes.equals("HEAD", at: method)
    isGET = bytes.equals("GET", at: method)
    isOPTIONS = bytes.equals("OPTIONS", at: method)
    try parseTarget(bytes)
  }

  private mutating func parseVersion(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(HeadProblem) {
    guard range.count == 8, bytes.hasPrefix("http/", at: range), bytes[range.lowerBound] == UInt8(ascii: "H") else {
      throw .requestLine
    }
    guard let minor = httpMinorVersion(bytes, range) else {
      throw bytes.equals("PRI", at: method) ? .http2Preface : .version
    }
    minorVersion = minor
  }

  private mutating func parseTarget(_ bytes: Span<UInt8>) throws(HeadProblem) {
    authority = 0..<0
    path = requestTarget
    if bytes.equals("CONNECT", at: method) {
      authority = requestTarget
      form = .connect(try target(bytes, defaultPort: nil))
      return
    }
    if bytes.firstIndex(of: UInt8(ascii: "#"), in: requestTarget) != nil { throw .fragment }
    switch bytes[requestTarget.lowerBound] {
    case UInt8(ascii: "/"): form = .origin
    case UInt8(ascii: "*"):
      guard requestTarget.count == 1, isOPTIONS else { throw .targetForm }
      form = .asterisk
    default: try parseAbsolute(bytes)
    }
  }

  private mutating func parseAbsolute(_ bytes: Span<UInt8>) throws(HeadProblem) {
    // `ws://` is an HTTP request that asks for an upgrade (RFC 6455 section 3).
    let schemeBytes =
      bytes.hasPrefix("http://", at: requestTarget) ? 7 : bytes.hasPrefix("ws://", at: requestTarget) ? 5 : 0
    guard schemeBytes > 0 else {
      let colon = bytes.firstIndex(of: UInt8(ascii: ":"), in: requestTarget) ?? requestTarget.upperBound
      throw bytes.hasPrefix("://", at: colon..<requestTarget.upperBound) ? .scheme : .targetForm
    }
    let start = requestTarget.lowerBound + schemeBytes
    var end = start
    while end < requestTarget.upperBound, bytes[end] != UInt8(ascii: "/"), bytes[end] != UInt8(ascii: "?") { end += 1 }
    authority = start..<end
    path = end..<requestTarget.upperBound
    form = .absolute(try target(bytes, defaultPort: 80))
  }

  private func target(_ bytes: Span<UInt8>, defaultPort: UInt16?) throws(HeadProblem) -> Target {
    do throws(AuthorityProblem) {
      return try Authority.parse(bytes.extracting(authority), defaultPort: defaultPort)
    } catch {
      throw .target(error)
    }
  }
}

// MARK: - Host and body

extension RequestHead {
  mutating func readWhole(_ bytes: Span<UInt8>) throws(HeadProblem) {
    try summary.read(bytes, &lines)
    try checkHost(bytes)
    body = try framing()
  }

  /// The host that is judged is the one that is dialled and the one that upstream sees. A target that names it counts,
  /// and Host is ignored there (RFC 9112 section 3.2.2): some clients send their proxy's name.
  private mutating func checkHost(_ bytes: Span<UInt8>) throws(HeadProblem) {
    originHost = nil
    guard let host = summary.host else {
      switch form {
      case .connect, .absolute:
        // RFC 9112 section 3.2: a request of HTTP/1.1 without Host is answered with 400.
        if minorVersion == 1 { throw .missingHost }
        return
      case .origin, .asterisk: throw .missingHost
      }
    }
    switch form {
    case .connect, .absolute: return
    case .origin, .asterisk: break
    }
    do throws(AuthorityProblem) {
      originHost = try Authority.parse(bytes.extracting(host), defaultPort: defaultPort)
    } catch {
      throw .host(error)
    }
  }

  private func framing() throws(HeadProblem) -> BodyLength {
    let isConnect = if case .connect = form { true } else { false }
    if summary.isChunked {
      guard minorVersion == 1 else { throw .transferEncodingBeforeHTTP11 }
      guard !isConnect else { throw .bodyOnConnect }
      return .chunked
    }
    guard let length = summary.contentLength else { return .none }
    guard isConnect else { return .length(length) }
    guard length == 0 else { throw .bodyOnConnect }
    return .none
  }
}

/// The minor version of an eight-byte `HTTP/1.x`, or nil.
func httpMinorVersion(_ bytes: Span<UInt8>, _ range: Range<Int>) -> UInt8? {
  let start = range.lowerBound
  guard range.count >= 8, bytes[start] == UInt8(ascii: "H"), bytes[start + 1] == UInt8(ascii: "T"),
    bytes[start + 2] == UInt8(ascii: "T"), bytes[start + 3] == UInt8(ascii: "P"),
    bytes[start + 4] == UInt8(ascii: "/"), bytes[start + 5] == UInt8(ascii: "1"),
    bytes[start + 6] == UInt8(ascii: "."), bytes[start + 7] &- 0x30 < 2
  else { return nil }
  return bytes[start + 7] &- 0x30
}
