// Replies of the dashboard as bytes: each carries what a browser must hold the page to.
// It relies on nothing; a reply ends its connection, but for a stream of events, which goes on.
import HTTPService

enum PageReply {
  /// Nothing but the page's own files: no inline script or style, no frame around it, no text made into markup.
  private static let policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    + "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

  static func whole(_ status: Int, type: String, _ body: [UInt8], isHEAD: Bool) -> [UInt8] {
    HTTPAnswer(status, type: type, body, fields: fields).bytes(isHead: isHEAD)
  }

  static func problem(_ status: Int, _ text: String, isHEAD: Bool, allowed: String = "GET, HEAD") -> [UInt8] {
    let more = status == 405 ? ["Allow: \(allowed)"] : status == 503 ? ["Retry-After: 5"] : []
    return HTTPAnswer(status, text, fields: fields + more).bytes(isHead: isHEAD)
  }

  /// The one answer that gives a cookie.
  static func redirect(to path: String, cookie: String) -> [UInt8] {
    HTTPAnswer(303, "see \(path)", fields: fields + ["Location: \(path)", "Set-Cookie: \(cookie)"]).bytes(isHead: false)
  }

  /// Events follow, until either side ends.
  static func stream() -> [UInt8] {
    HTTPAnswer.head(200, type: "text/event-stream", fields) + Array("retry: 1000\n\n".utf8)
  }

  /// `data` is one line: JSON has no line ends.
  static func event(_ name: String, _ data: [UInt8]) -> [UInt8] {
    Array("event: \(name)\ndata: ".utf8) + data + Array("\n\n".utf8)
  }

  private static let fields = [
    "Content-Security-Policy: \(policy)", "X-Content-Type-Options: nosniff", "X-Frame-Options: DENY",
    "Referrer-Policy: no-referrer", "Cross-Origin-Resource-Policy: same-origin",
    "Cross-Origin-Opener-Policy: same-origin", "Cache-Control: no-store",
  ]
}
