// An HTTP answer that was read to its end, taken apart: status, fields, and the body without its framing.
// It relies on Wire.ResponseHead, and on a bound by its caller: all of the answer is in memory.
import Wire

struct WholeAnswer {
  static let headBytesMax = 32 * 1024

  let head: ResponseHead
  /// Without its framing; nil: the answer ended early.
  private(set) var body: [UInt8]?

  /// The pause that the server asks for (RFC 9110 section 10.2.3); a date is not read.
  let retryAfterSeconds: UInt64?

  /// nil: this is no HTTP answer.
  init?(_ bytes: [UInt8]) {
    var head = ResponseHead()
    guard case .complete(let length) = head.parse(bytes.span, bytesMax: Self.headBytesMax) else { return nil }
    self.head = head
    body = Self.body(bytes[length...], head)
    retryAfterSeconds = head.field("retry-after", in: bytes.span).flatMap { range in
      UInt64.init(String(decoding: bytes[range], as: UTF8.self))
    }
  }

  /// Hands the body out for good: whoever wipes it leaves no copy here.
  mutating func takeBody() -> [UInt8]? {
    var taken: [UInt8]?
    swap(&taken, &body)
    return taken
  }

  /// True if the answer is complete by its own framing: a server may keep the connection open.
  static func isWhole(_ bytes: [UInt8]) -> Bool {
    var head = ResponseHead()
    guard case .complete(let length) = head.parse(bytes.span, bytesMax: headBytesMax) else { return false }
    if case .untilClose = head.body(toHEAD: false) { return false }
    return body(bytes[length...], head) != nil
  }

  private static func body(_ rest: ArraySlice<UInt8>, _ head: ResponseHead) -> [UInt8]? {
    let rest = Array(rest)
    switch head.body(toHEAD: false) {
    case .none: return []
    case .untilClose: return rest
    case .length(let length):
      guard let length = Int(exactly: length), length <= rest.count else { return nil }
      return Array(rest.prefix(length))
    case .chunked:
      var scanner = ChunkedScanner()
      var (index, body): (Int, [UInt8]) = (0, [])
      while true {
        switch scanner.next(rest.span, from: index) {
        case .data(let range):
          body += rest[range]
          index = range.upperBound
        case .done: return body
        case .needsMore, .malformed: return nil
        }
      }
    }
  }
}
