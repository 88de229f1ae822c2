// The paths that the metrics listener knows, and its answers: `/metrics`, and `/ready` for whoever starts gates.
// It relies on HTTPService for heads; the admin socket answers the same to a request's first line.
package import HTTPService
package import Wire

package enum MetricsRequest: Equatable {
  case metrics(isHead: Bool)
  case ready(isHead: Bool)
  case refused(HTTPAnswer)

  static let headBytesMax = 16 << 10
  package static let path = "/metrics"
  package static let readyPath = "/ready"

  package init(_ head: RequestHead, _ bytes: Span<UInt8>) {
    let target = bytes.extracting(head.requestTarget)
    self.init(method: Self.array(bytes.extracting(head.method))[...], target: Self.array(target)[...])
    // A method that may have a body is refused as such.
    if case .refused = self { return }
    if head.body != .none { self = .refused(HTTPAnswer(400, "a request here has no body")) }
  }

  /// The first line, without its end.
  init(line: ArraySlice<UInt8>) {
    let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard words.count == 3, words[2].elementsEqual("HTTP/1.1".utf8) || words[2].elementsEqual("HTTP/1.0".utf8) else {
      self = .refused(HTTPAnswer(400, "no request of HTTP/1"))
      return
    }
    self.init(method: words[0], target: words[1])
  }

  private init(method: ArraySlice<UInt8>, target: ArraySlice<UInt8>) {
    let path = target.prefix { $0 != UInt8(ascii: "?") }
    let isReady = path.elementsEqual(Self.readyPath.utf8)
    guard isReady || path.elementsEqual(Self.path.utf8) else {
      self = .refused(HTTPAnswer(404, "metrics are at \(Self.path), readiness is at \(Self.readyPath)"))
      return
    }
    let isHead = method.elementsEqual("HEAD".utf8)
    guard isHead || method.elementsEqual("GET".utf8) else {
      self = .refused(HTTPAnswer(405, "GET or HEAD", fields: ["Allow: GET, HEAD"]))
      return
    }
    self = isReady ? .ready(isHead: isHead) : .metrics(isHead: isHead)
  }

  static func answer(metrics text: [UInt8]) -> HTTPAnswer { HTTPAnswer(200, type: Exposition.contentType, text) }

  /// 200 while new tunnels are let out, 503 and why while they are not.
  static func answer(unready reason: String?) -> HTTPAnswer {
    reason.map { HTTPAnswer(503, "not ready: \($0)", fields: ["Retry-After: 1"]) } ?? HTTPAnswer(200, "ready")
  }

  private static func array(_ span: Span<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(span)
    return bytes
  }
}
