// Results of parsing a message head, and the reasons to refuse one.
// It relies on nothing: the reasons go to the log and to the body of the 400, so each has its own text.

package enum HeadResult: Equatable, Sendable {
  /// Call again with the same bytes and more behind them.
  case incomplete
  /// The head is the first `length` bytes.
  case complete(length: Int)
  case malformed(HeadProblem)
}

/// The framing of a message body (RFC 9112 section 6.3).
package enum BodyLength: Hashable, Sendable {
  case none
  case length(UInt64)
  case chunked
  /// Responses only.
  case untilClose
}

package enum HeadProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case tooLarge(bytesMax: Int)
  case tooManyFields
  case bareLineFeed
  case bareCarriageReturn
  case controlByte
  case emptyFirstLine
  case requestLine
  case statusLine
  case http2Preface
  case version
  case foldedLine
  case fieldWithoutColon
  case spaceBeforeColon
  case fieldName
  case missingHost
  case duplicateHost
  case host(AuthorityProblem)
  case target(AuthorityProblem)
  case targetForm
  case scheme
  case fragment
  case duplicateContentLength
  case contentLength
  case duplicateTransferEncoding
  case transferEncoding
  case transferEncodingWithContentLength
  case transferEncodingBeforeHTTP11
  case bodyOnConnect
  case connectionOptions
  case duplicateProxyAuthorization

  /// Answered with 431 in a request (RFC 6585 section 5).
  package var isTooLarge: Bool {
    switch self {
    case .tooLarge, .tooManyFields: true
    default: false
    }
  }

  package var description: String {
    switch self {
    case .tooLarge(let bytesMax): "head is larger than limits.head_bytes (\(bytesMax) bytes)"
    case .tooManyFields: "more than \(HeadLines.fieldsMax) fields"
    case .bareLineFeed: "line ends in LF without CR (RFC 9112 section 2.2)"
    case .bareCarriageReturn: "CR without LF (RFC 9112 section 2.2)"
    case .controlByte: "NUL or control byte in the head"
    case .emptyFirstLine: "empty line before the first line"
    case .requestLine:
      "request line is not METHOD TARGET VERSION, one space between, no space or control byte in the target"
    case .statusLine: "status line is not VERSION STATUS REASON"
    case .http2Preface: "HTTP/2 is not spoken here"
    case .version: "version is not HTTP/1.0 or HTTP/1.1"
    case .foldedLine: "folded field line (RFC 9112 section 5.2)"
    case .fieldWithoutColon: "field line without a colon"
    case .spaceBeforeColon: "space before the colon of a field (RFC 9112 section 5.1)"
    case .fieldName: "field name is not a token"
    case .missingHost: "Host is missing"
    case .duplicateHost: "more than one Host"
    case .host(let problem): "Host: \(problem)"
    case .target(let problem): "target: \(problem)"
    case .targetForm: "request target has no form that goes with this method"
    case .scheme: "only http:// and ws:// targets are proxied; use CONNECT for TLS"
    case .fragment: "request target has a fragment"
    case .duplicateContentLength: "more than one Content-Length"
    case .contentLength: "Content-Length is not a decimal number below 2^63"
    case .duplicateTransferEncoding: "more than one Transfer-Encoding"
    case .transferEncoding: "Transfer-Encoding other than chunked"
    case .transferEncodingWithContentLength: "Transfer-Encoding and Content-Length together"
    case .transferEncodingBeforeHTTP11: "Transfer-Encoding in an HTTP/1.0 message"
    case .bodyOnConnect: "CONNECT with a body"
    case .connectionOptions: "Connection is not a list of at most \(FieldSummary.nominationsMax) options"
    case .duplicateProxyAuthorization: "more than one Proxy-Authorization"
    }
  }
}
