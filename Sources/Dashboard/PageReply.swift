// Replies of the dashboard as bytes: each carries what a browser must hold the page to.
// It relies on nothing; a reply ends its connection, but for a stream of events, which goes on.

enum PageReply {
  /// Nothing but the page's own files: no inline script or style, no frame around it, no text made into markup.
  private static let policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    + "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

  static func whole(_ status: Int, type: String, _ body: [UInt8], isHEAD: Bool) -> [UInt8] {
    head(status, type, ["Content-Length: \(body.count)"]) + (isHEAD ? [] : body)
  }

  static func problem(_ status: Int, _ text: String, isHEAD: Bool) -> [UInt8] {
    let more = status == 405 ? ["Allow: GET, HEAD"] : status == 503 ? ["Retry-After: 5"] : []
    let body = Array("\(text)\n".utf8)
    let head = head(status, "text/plain; charset=utf-8", ["Content-Length: \(body.count)"] + more)
    return head + (isHEAD ? [] : body)
  }

  /// Events follow, until either side ends.
  static func stream() -> [UInt8] { head(200, "text/event-stream", []) + Array("retry: 1000\n\n".utf8) }

  /// `data` is one line: JSON has no line ends.
  static func event(_ name: String, _ data: [UInt8]) -> [UInt8] {
    Array("event: \(name)\ndata: ".utf8) + data + Array("\n\n".utf8)
  }

  private static func head(_ status: Int, _ type: String, _ more: [String]) -> [UInt8] {
    let lines = [
      "HTTP/1.1 \(status) \(phrase(status))", "Content-Type: \(type)", "Content-Security-Policy: \(policy)",
      "X-Content-Type-Options: nosniff", "X-Frame-Options: DENY", "Referrer-Policy: no-referrer",
      "Cross-Origin-Resource-Policy: same-origin", "Cross-Origin-Opener-Policy: same-origin",
      "Cache-Control: no-store", "Connection: close",
    ]
    return Array(((lines + more).joined(separator: "\r\n") + "\r\n\r\n").utf8)
  }

  private static func phrase(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 400: "Bad Request"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 408: "Request Timeout"
    case 421: "Misdirected Request"
    case 431: "Request Header Fields Too Large"
    default: "Service Unavailable"
    }
  }
}
