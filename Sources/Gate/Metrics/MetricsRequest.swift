// The little of HTTP/1 that asking for metrics takes: a request's first line, and whole answers.
// It relies on nobody sending a body; header lines are read to their end and not looked at.
import Wire

package enum MetricsRequest {
  package enum Parsed: Equatable {
    case incomplete
    case asked(isHead: Bool)
    case refused(Answer)
  }

  package enum Answer: Equatable {
    case ok([UInt8])
    case malformed, tooLarge, notFound, wrongMethod
  }

  static let headBytesMax = 16 << 10
  package static let path = "/metrics"

  package static func parse(_ bytes: [UInt8]) -> Parsed {
    guard hasWholeHead(bytes) else { return bytes.count > headBytesMax ? .refused(.tooLarge) : .incomplete }
    return parse(line: bytes.prefix { $0 != UInt8(ascii: "\r") && $0 != UInt8(ascii: "\n") })
  }

  /// The first line, without its end.
  static func parse(line: ArraySlice<UInt8>) -> Parsed {
    let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard words.count == 3, words[2].elementsEqual("HTTP/1.1".utf8) || words[2].elementsEqual("HTTP/1.0".utf8) else {
      return .refused(.malformed)
    }
    guard words[1].prefix(while: { $0 != UInt8(ascii: "?") }).elementsEqual(path.utf8) else {
      return .refused(.notFound)
    }
    if words[0].elementsEqual("GET".utf8) { return .asked(isHead: false) }
    return words[0].elementsEqual("HEAD".utf8) ? .asked(isHead: true) : .refused(.wrongMethod)
  }

  private static func hasWholeHead(_ bytes: [UInt8]) -> Bool {
    var isLineEmpty = false
    for byte in bytes {
      if byte == UInt8(ascii: "\n") {
        if isLineEmpty { return true }
        isLineEmpty = true
      } else if byte != UInt8(ascii: "\r") {
        isLineEmpty = false
      }
    }
    return false
  }

  /// The connection ends behind it.
  static func answer(_ answer: Answer, isHead: Bool) -> [UInt8] {
    let (status, type, body): (String, String, [UInt8]) =
      switch answer {
      case .ok(let text): ("200 OK", Exposition.contentType, text)
      case .malformed: plain("400 Bad Request", "no request of HTTP/1\n")
      case .tooLarge: plain("431 Request Header Fields Too Large", "a head is at most \(headBytesMax) bytes long\n")
      case .notFound: plain("404 Not Found", "metrics are at \(path)\n")
      case .wrongMethod: plain("405 Method Not Allowed", "GET or HEAD\n")
      }
    var bytes = Array("HTTP/1.1 \(status)\r\nContent-Type: \(type)\r\nContent-Length: \(body.count)\r\n".utf8)
    if answer == .wrongMethod { bytes += "Allow: GET, HEAD\r\n".utf8 }
    bytes += "Connection: close\r\n\r\n".utf8
    return isHead ? bytes : bytes + body
  }

  private static func plain(_ status: String, _ text: String) -> (String, String, [UInt8]) {
    (status, "text/plain; charset=utf-8", Array(text.utf8))
  }
}
