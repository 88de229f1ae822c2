// What of a request's head a rule is asked about: method, path, and methods that fields ask for in place of the first.
// It relies on one array that is used again for the next request, and outlives the head: a reload is held to it.
package import Policy
package import Wire

package struct RequestLine: Sendable {
  private var bytes: [UInt8] = []
  private var methodCount = 0
  package private(set) var overrides = MethodOverrides()

  package init() {}

  package func read<Result>(_ body: (_ method: Span<UInt8>, _ path: Span<UInt8>) -> Result) -> Result {
    body(bytes.span.extracting(first: methodCount), bytes.span.extracting(droppingFirst: methodCount))
  }

  /// Of a complete head of HTTP/1, in the same bytes.
  package mutating func keep(_ request: RequestHead, in bytes: Span<UInt8>) {
    var overrides = MethodOverrides()
    request.forEachField(in: bytes) { overrides.note(name: $0, value: $1) }
    let path = request.pathAndQuery(in: bytes)
    keep(method: bytes.extracting(request.method), path: path.span, overrides: overrides)
  }

  package mutating func keep(
    method: Span<UInt8>, path: Span<UInt8>, overrides: MethodOverrides = MethodOverrides()
  ) {
    bytes.removeAll(keepingCapacity: true)
    bytes.append(method)
    methodCount = bytes.count
    bytes.append(path)
    self.overrides = overrides
  }
}
