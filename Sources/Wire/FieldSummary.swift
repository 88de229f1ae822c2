// Summary of the fields of one head: framing, persistence, upgrade and credentials.
// It relies on `HeadLines`; a field that two parsers could read differently is refused, never interpreted.

struct FieldSummary: Sendable {
  /// Limit of names in Connection fields, which bounds the work of finding the named fields.
  static let nominationsMax = 32

  private(set) var host: Range<Int>?
  private(set) var contentLength: UInt64?
  private(set) var isChunked = false
  /// True for a response with both framings: the safer one counts, and the connection is not reused.
  private(set) var isFramedTwice = false
  private(set) var saysClose = false
  private(set) var saysKeepAlive = false
  private(set) var saysUpgrade = false
  private(set) var proxySaysClose = false
  private(set) var offersWebSocket = false
  private(set) var expectsContinue = false
  private(set) var proxyAuthorization: Range<Int>?
  private var hasTransferEncoding = false
  private var nominations = 0

  /// Reads the fields, and marks in `lines` those that Connection nominates.
  mutating func read(_ bytes: Span<UInt8>, _ lines: inout HeadLines) throws(HeadProblem) {
    self = FieldSummary()
    for index in 0..<lines.count {
      let field = lines[index]
      switch field.kind {
      case .other: continue
      case .host:
        guard host == nil else { throw .duplicateHost }
        host = field.value
      case .contentLength:
        try readLength(bytes, field.value, lines.dialect)
      case .transferEncoding: try readCodings(bytes, field.value, lines.dialect)
      case .connection: try readConnection(bytes, field.value, &lines)
      case .proxyConnection:
        proxySaysClose = proxySaysClose || FieldSummary.lists("close", bytes, field.value)
      case .upgrade:
        offersWebSocket = offersWebSocket || FieldSummary.lists("websocket", bytes, field.value)
      case .expect: expectsContinue = expectsContinue || bytes.matches("100-continue", at: field.value)
      case .proxyAuthorization:
        guard proxyAuthorization == nil else { throw .duplicateProxyAuthorization }
        proxyAuthorization = field.value
      case .keepAlive, .te, .http2Settings, .proxyStatus, .proxyOther, .sluice: continue
      }
    }
    guard hasTransferEncoding, contentLength != nil else { return }
    guard lines.dialect == .response else { throw .transferEncodingWithContentLength }
    // RFC 9112 section 6.3: Transfer-Encoding overrides the length, and what forwards removes it.
    contentLength = nil
    isFramedTwice = true
  }

  private mutating func readLength(
    _ bytes: Span<UInt8>, _ value: Range<Int>, _ dialect: HeadDialect
  ) throws(HeadProblem) {
    guard dialect == .response else {
      guard contentLength == nil else { throw .duplicateContentLength }
      contentLength = try FieldSummary.decimal(bytes, value)
      return
    }
    // RFC 9112 section 6.3: a repeated length must have the same value.
    var rest = value
    repeat {
      let length = try FieldSummary.decimal(bytes, FieldSummary.nextElement(bytes, &rest) ?? value)
      guard contentLength == nil || contentLength == length else { throw .duplicateContentLength }
      contentLength = length
    } while !rest.isEmpty
  }

  private mutating func readCodings(
    _ bytes: Span<UInt8>, _ value: Range<Int>, _ dialect: HeadDialect
  ) throws(HeadProblem) {
    guard !hasTransferEncoding else { throw .duplicateTransferEncoding }
    hasTransferEncoding = true
    if bytes.matches("chunked", at: value) {
      isChunked = true
    } else {
      // RFC 2616 section 3.6 used `identity` for no coding.
      guard dialect == .response, bytes.matches("identity", at: value) else { throw .transferEncoding }
    }
  }

  private mutating func readConnection(
    _ bytes: Span<UInt8>, _ value: Range<Int>, _ lines: inout HeadLines
  ) throws(HeadProblem) {
    var rest = value
    while let option = FieldSummary.nextElement(bytes, &rest) {
      if option.isEmpty { continue }
      if bytes.matches("close", at: option) {
        saysClose = true
      } else if bytes.matches("keep-alive", at: option) {
        saysKeepAlive = true
      } else if bytes.matches("upgrade", at: option) {
        saysUpgrade = true
      } else {
        try nominate(bytes, option, &lines)
      }
    }
  }

  private mutating func nominate(
    _ bytes: Span<UInt8>, _ option: Range<Int>, _ lines: inout HeadLines
  ) throws(HeadProblem) {
    nominations += 1
    guard nominations <= FieldSummary.nominationsMax, option.allSatisfy({ bytes[$0].isToken }) else {
      throw .connectionOptions
    }
    for index in 0..<lines.count where bytes.sameText(lines[index].name, option) {
      lines.nominate(index)
    }
  }

  /// True if a list holds an element, which is given in lower case.
  private static func lists(_ wanted: StaticString, _ bytes: Span<UInt8>, _ value: Range<Int>) -> Bool {
    var rest = value
    while let element = nextElement(bytes, &rest) {
      if bytes.matches(wanted, at: element) { return true }
    }
    return false
  }

  /// Takes the first element off a list (RFC 9110 section 5.6.1); nil when nothing is left.
  @inline(__always)
  private static func nextElement(_ bytes: Span<UInt8>, _ rest: inout Range<Int>) -> Range<Int>? {
    guard !rest.isEmpty else { return nil }
    let comma = bytes.firstIndex(of: UInt8(ascii: ","), in: rest) ?? rest.upperBound
    defer { rest = min(comma + 1, rest.upperBound)..<rest.upperBound }
    return bytes.trimmed(rest.lowerBound..<comma)
  }

  /// Reads only digits: no sign, no list, no blank. Below 2^63, so that no implementation behind the gate reads a
  /// negative number.
  private static func decimal(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(HeadProblem) -> UInt64 {
    guard (1...19).contains(range.count) else { throw .contentLength }
    var value: UInt64 = 0
    for index in range {
      guard bytes[index].isDigit else { throw .contentLength }
      value = value * 10 + UInt64(bytes[index] & 0x0f)
    }
    guard value <= UInt64(Int64.max) else { throw .contentLength }
    return value
  }
}
