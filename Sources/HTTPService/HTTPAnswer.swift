// An answer of the gate's own small HTTP server, as bytes. Its connection ends behind it, unless the caller keeps it.
// It relies on its fields being the caller's own text: nothing of a client's goes into a head.

package struct HTTPAnswer: Equatable, Sendable {
  package static let plainText = "text/plain; charset=utf-8"

  package var status: Int
  package var type: String
  package var body: [UInt8]
  /// Further lines of the head.
  package var fields: [String]

  package init(_ status: Int, type: String, _ body: [UInt8], fields: [String] = []) {
    (self.status, self.type, self.body, self.fields) = (status, type, body, fields)
  }

  package init(_ status: Int, _ text: String, fields: [String] = []) {
    self.init(status, type: Self.plainText, Array("\(text)\n".utf8), fields: fields)
  }

  /// To HEAD goes the head alone, with the length that the body would have.
  package func bytes(isHead: Bool, keepsConnection: Bool = false) -> [UInt8] {
    let all = fields + ["Content-Length: \(body.count)"]
    return Self.head(status, type: type, all, keepsConnection: keepsConnection) + (isHead ? [] : body)
  }

  /// Of a stream, which has no length and ends with its connection.
  package static func head(
    _ status: Int, type: String, _ fields: [String], keepsConnection: Bool = false
  ) -> [UInt8] {
    let connection = keepsConnection ? "Connection: keep-alive" : "Connection: close"
    let lines = ["HTTP/1.1 \(status) \(phrase(status))", "Content-Type: \(type)"] + fields + [connection]
    return Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
  }

  private static func phrase(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 202: "Accepted"
    case 303: "See Other"
    case 400: "Bad Request"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 408: "Request Timeout"
    case 413: "Content Too Large"
    case 421: "Misdirected Request"
    case 429: "Too Many Requests"
    case 431: "Request Header Fields Too Large"
    default: "Service Unavailable"
    }
  }
}
