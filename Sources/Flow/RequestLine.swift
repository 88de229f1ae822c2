// The parts of a request's head that rules check: method, path, and method overrides in fields.
// It relies on one array that is reused for the next request; it outlives the head, since a reload judges it again.
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

  /// Keeps the line of a complete HTTP/1 head in these bytes.
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
