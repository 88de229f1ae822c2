// What a refused client is told: a status line that carries the reason, Proxy-Status (RFC 9209), and a JSON body
// that an agent can act on. It relies on nothing but its arguments, and tells nothing of names, addresses or paths
// that the client did not itself say.
package import Policy
package import Wire

package struct Refusal: Sendable {
  package var reason: Reason
  package var target: Target?
  package var client: String
  /// A rule names the target already, so no further rule is suggested.
  package var hasRule = false
  /// The exact error of a malformed request.
  package var detail: String?
  package var retryAfterSeconds: UInt64?
  package var closes = true
  package var isToHEAD = false
  /// The client reads the answer as an API's: `error` is then an object, as the SDKs of model providers expect.
  package var isToAPI = false
  /// The form of the body, chosen by the request's fields.
  package var form = RefusalForm()
  /// The client did not finish its head in time: 408, since 504 speaks of an upstream.
  var isClientSlow = false
  /// The request's head is longer, or has more fields, than the gate takes: 431 (RFC 6585 section 5).
  package var isHeadTooLarge = false
  /// The identifier by which the client and a person can refer to this request.
  package var requestID: String?

  package init(_ reason: Reason, target: Target?, client: String) {
    self.reason = reason
    self.target = target
    self.client = client
  }

  /// The refusal for HTTP/2: status, fields with lower-case names, body.
  package var message: (status: Int, fields: [(name: String, value: String)], body: [UInt8]) {
    if form.form == .grpc { return grpcMessage }
    var body: [UInt8] = []
    writeBody(into: &body)
    var fields = [
      (name: "proxy-status", value: "sluice; error=\(reason.row.proxyError); details=\"\(reason.rawValue)\""),
      (name: "x-sluice-reason", value: reason.rawValue), (name: "content-type", value: "\(contentType)"),
      (name: "content-length", value: "\(body.count)"), (name: "cache-control", value: "no-store"),
    ]
    if let retryAfterSeconds { fields.append(("retry-after", "\(retryAfterSeconds)")) }
    return (statusLine.code, fields, isToHEAD ? [] : body)
  }

  /// Writes bytes without Strings: Strings double the cost, and a hostile client can ask for many refusals.
  package func write(into out: inout [UInt8]) {
    let (status, phrase) = statusLine
    var body: [UInt8] = []
    body.reserveCapacity(512)
    writeBody(into: &body)
    out.reserveCapacity(out.count + 384 + body.count)
    out.append("HTTP/1.1 ")
    JSONText.appendDecimal(status, to: &out)
    out.append(" ")
    out.append(phrase)
    out.append(": ")
    out += reason.rawValue.utf8
    out.append("\r\nProxy-Status: sluice; error=")
    out.append(reason.row.proxyError)
    out.append("; details=\"")
    out += reason.rawValue.utf8
    out.append("\"\r\nX-Sluice-Reason: ")
    out += reason.rawValue.utf8
    if let retryAfterSeconds {
      out.append("\r\nRetry-After: ")
      JSONText.appendDecimal(retryAfterSeconds, to: &out)
    }
    if reason == .notAuthenticated { out.append("\r\nProxy-Authenticate: Basic realm=\"sluice\"") }
    out.append("\r\nContent-Type: ")
    out.append(contentType)
    out.append("\r\nContent-Length: ")
    JSONText.appendDecimal(body.count, to: &out)
    out.append("\r\nCache-Control: no-store\r\nConnection: ")
    out.append(closes ? "close\r\n\r\n" : "keep-alive\r\n\r\n")
    if !isToHEAD { out += body }
  }

  package var status: Int { statusLine.code }

  var statusLine: (code: Int, phrase: StaticString) {
    if isHeadTooLarge { return (431, "Request Header Fields Too Large") }
    return isClientSlow ? (408, "Request Timeout") : (reason.row.status, reason.row.phrase)
  }

  private func writeBody(into body: inout [UInt8]) {
    switch form.form {
    case .json, .grpc: writeJSON(into: &body)
    case .text: body += "\(sentence)\n".utf8
    case .s3: body += s3Body.utf8
    }
  }

  private func writeJSON(into body: inout [UInt8]) {
    body.append("{")
    if isToAPI { writeError(into: &body) } else { body.append(#""error":"refused""#) }
    body.append(#","reason":""#)
    body += reason.rawValue.utf8
    body.append(#"","client":"#)
    JSONText.appendString(client, to: &body)
    if let target {
      body.append(#","target":""#)
      // A target's text has no characters that need an escape.
      target.append(to: &body)
      body.append("\"")
    }
    body.append(#","message":"#)
    writeMessage(into: &body)
    if let target { writeHint(target, into: &body) }
    if let retryAfterSeconds {
      body.append(#","retry_after_seconds":"#)
      JSONText.appendDecimal(retryAfterSeconds, to: &body)
    }
    if mentionsGate {
      body.append(#","help":""#)
      body.append(GateHost.url)
      body.append("\"")
    }
    if let requestID {
      body.append(#","request_id":""#)
      body += requestID.utf8
      body.append("\"")
    }
    body.append("}\n")
  }

  /// False for a client that has not authenticated: it learns nothing of the gate.
  var mentionsGate: Bool { target != nil && reason != .notAuthenticated }

  /// The shape of OpenAI (`error.message`, `error.code`) and of Anthropic (`type`, `error.type`, `error.message`) at
  /// once. The words stand in `error.message` whole, as some SDKs show nothing else.
  private func writeError(into body: inout [UInt8]) {
    body.append(#""type":"error","error":{"type":""#)
    body.append(errorType)
    body.append(#"","code":""#)
    body += reason.rawValue.utf8
    body.append(#"","message":"#)
    var words = "\(reason.row.explanation)"
    if let detail { words += " \(detail)." }
    words += " This is the answer of the egress gate, not of the server: \(reason.rawValue)"
    if let target { words += " for \(target)" }
    words += mentionsGate ? "; \(GateHost.url) says what is allowed." : "."
    JSONText.appendString(words, to: &body)
    body.append("}")
  }

  /// The error type of Anthropic's API, which OpenAI's partly shares.
  private var errorType: StaticString {
    switch statusLine.code {
    case 400: "invalid_request_error"
    case 403: "permission_error"
    case 429: "rate_limit_error"
    default: "api_error"
    }
  }

  private func writeMessage(into body: inout [UInt8]) {
    if let detail {
      JSONText.appendString("\(reason.row.explanation) \(detail).", to: &body)
    } else {
      JSONText.appendString(reason.row.explanation, to: &body)
    }
  }

  /// Writes the policy line that an operator would add, or nothing if no line helps.
  private func writeHint(_ target: Target, into body: inout [UInt8]) {
    guard !target.host.isGate, let (before, behind) = reason.hint(hasRule: hasRule) else { return }
    body.append(#","policy_line":""#)
    body.append(before)
    body.append(#"\""#)
    target.append(to: &body)
    body.append(#"\""#)
    body.append(behind)
    body.append("\"")
  }
}

extension Reason {
  /// The text around the target in the policy line that would allow it. Nil if a rule names the target already: a
  /// second rule could only weaken the first, e.g. end its inspection, widen its addresses or raise its limits.
  package func hint(hasRule: Bool) -> (before: StaticString, behind: StaticString)? {
    self == .notAllowed && !hasRule ? ("- ", "") : nil
  }
}

extension Flow {
  /// The reply to a client that does not start with TLS at a TLS listener.
  package static let wantsTLSReply: [UInt8] = {
    var refusal = Refusal(.badRequest, target: nil, client: Policy.fallbackName)
    refusal.detail = "This listener speaks TLS: point the client at https://, such as HTTPS_PROXY=https://GATE:PORT"
    var reply: [UInt8] = []
    refusal.write(into: &reply)
    return reply
  }()

  /// The reply to a connection refused before any byte was read, as there are too many.
  package static let tooManyReply: [UInt8] = {
    var refusal = Refusal(.tooMany, target: nil, client: Policy.fallbackName)
    refusal.retryAfterSeconds = 1
    var reply: [UInt8] = []
    refusal.write(into: &reply)
    return reply
  }()
}
