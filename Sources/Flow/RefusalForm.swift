// In which form an HTTP client reads a refusal, as its request's fields tell: JSON, text, gRPC's status, or S3's XML.
// Relies on Wire for the fields; a client whose fields say nothing gets JSON.
package import Wire

package struct RefusalForm: Sendable, Equatable {
  package enum Form: Sendable { case json, text, grpc, s3 }

  package private(set) var form = Form.json

  package init() {}

  /// The form for a complete HTTP/1 head in these bytes.
  package init(_ request: RequestHead, in bytes: Span<UInt8>) {
    request.forEachField(in: bytes) { note(name: $0, value: $1) }
  }

  /// Each field of the request, in any order.
  package mutating func note(name: Span<UInt8>, value: Span<UInt8>) {
    if name.matches("content-type") {
      // Trailers are all that a gRPC client shows; its status is theirs, and not HTTP's.
      if value.begins("application/grpc") { form = .grpc }
    } else if name.matches("x-amz-content-sha256") {
      // S3 demands this field of each signed request, and its clients read errors as XML.
      form = .s3
    } else if name.matches("user-agent") {
      // Git shows its user an error's body if that is text, and asks with `Accept: */*`.
      if value.begins("git/") { form = .text }
    } else if name.matches("accept") {
      if value.begins("text/plain") { form = .text }
    }
  }
}
