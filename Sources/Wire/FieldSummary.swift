// What the fields of one head say together about framing, persistence, upgrade and credentials.
// It relies on `HeadLines`; whatever two parsers could read in two ways is a problem here, never a choice.

struct FieldSummary: Sendable {
  /// A Connection field may name that many fields of its own, which bounds the work of finding them.
  static let nominationsMax = 32

  private(set) var host: Range<Int>?
  private(set) var contentLength: UInt64?
  private(set) var isChunked = false
  private(set) var saysClose = false
  private(set) var saysKeepAlive = false
  private(set) var saysUpgrade = false
  private(set) var proxySaysClose = false
  private(set) var offersWebSocket = false
  private(set) var expectsContinue = false
  private(set) var proxyAuthorization: Range<Int>?
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
        guard contentLength == nil else { throw .duplicateContentLength }
        contentLength = try FieldSummary.decimal(bytes, field.value)
      case .transferEncoding:
        guard !isChunked else { throw .duplicateTransferEncoding }
        guard bytes.matches("chunked", at: field.value) else { throw .transferEncoding }
        isChunked = true
      case .connection: try readConnection(bytes, field.value, &lines)
      case .proxyConnection:
        FieldSummary.forEachElement(bytes, field.value) { element in
          if bytes.matches("close", at: element) { proxySaysClose = true }
        }
      case .upgrade:
        FieldSummary.forEachElement(bytes, field.value) { element in
          if bytes.matches("websocket", at: element) { offersWebSocket = true }
        }
      case .expect: expectsContinue = expectsContinue || bytes.matches("100-continue", at: field.value)
      case .proxyAuthorization:
        guard proxyAuthorization == nil else { throw .duplicateProxyAuthorization }
        proxyAuthorization = field.value
      case .keepAlive, .te, .http2Settings, .proxyStatus, .proxyOther, .sluice: continue
      }
    }
    if isChunked, contentLength != nil { throw .transferEncodingWithContentLength }
  }

  private mutating func readConnection(
    _ bytes: Span<UInt8>, _ value: Range<Int>, _ lines: inout HeadLines
  ) throws(HeadProblem) {
    var start = value.lowerBound
    while start < value.upperBound {
      let comma = bytes.firstIndex(of: UInt8(ascii: ","), in: start..<value.upperBound) ?? value.upperBound
      let option = bytes.trimmed(start..<comma)
      start = comma + 1
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

  private static func forEachElement(_ bytes: Span<UInt8>, _ value: Range<Int>, _ body: (Range<Int>) -> Void) {
    var start = value.lowerBound
    while start < value.upperBound {
      let comma = bytes.firstIndex(of: UInt8(ascii: ","), in: start..<value.upperBound) ?? value.upperBound
      body(bytes.trimmed(start..<comma))
      start = comma + 1
    }
  }

  /// Digits alone: no sign, no list, no blank. Below 2^63, so that no implementation behind us sees it negative.
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
