// What a refused client is told: a status line that carries the reason, Proxy-Status (RFC 9209), and a JSON body
// that an agent can act on. It relies on nothing but its arguments, and tells nothing of names, addresses or paths
// that the client did not itself say.
import Policy
import Wire

struct Refusal {
  var reason: Reason
  var target: Target?
  var client: String
  /// What exactly is wrong, for a malformed request.
  var detail: String?
  var retryAfterSeconds: UInt64?
  var wantsCredentials = false
  var closes = true
  var isToHEAD = false
  /// The client did not finish its head in time: 408, since 504 speaks of an upstream.
  var isClientSlow = false

  init(_ reason: Reason, target: Target?, client: String) {
    self.reason = reason
    self.target = target
    self.client = client
  }

  func write(into out: inout [UInt8]) {
    let (status, phrase) = statusLine
    var body: [UInt8] = []
    body.reserveCapacity(512)
    writeBody(into: &body)
    out.reserveCapacity(out.count + 384 + body.count)
    out += "HTTP/1.1 \(status) \(phrase): \(reason.rawValue)\r\n".utf8
    out += "Proxy-Status: sluice; error=\(reason.proxyError); details=\"\(reason.rawValue)\"\r\n".utf8
    out += "X-Sluice-Reason: \(reason.rawValue)\r\n".utf8
    if let retryAfterSeconds { out += "Retry-After: \(retryAfterSeconds)\r\n".utf8 }
    if wantsCredentials { out += "Proxy-Authenticate: Basic realm=\"sluice\"\r\n".utf8 }
    out += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\nCache-Control: no-store\r\n".utf8
    out += (closes ? "Connection: close\r\n\r\n" : "Connection: keep-alive\r\n\r\n").utf8
    if !isToHEAD { out += body }
  }

  private var statusLine: (code: Int, phrase: String) {
    if wantsCredentials { return (407, "Proxy Authentication Required") }
    return isClientSlow ? (408, "Request Timeout") : reason.status
  }

  private func writeBody(into body: inout [UInt8]) {
    body += #"{"error":"refused","reason":""#.utf8
    body += reason.rawValue.utf8
    body += #"","client":"#.utf8
    JSONText.appendString(client, to: &body)
    if let target {
      var text: [UInt8] = []
      target.append(to: &text)
      body += #","target":"#.utf8
      JSONText.appendString(text, to: &body)
    }
    body += #","message":"#.utf8
    JSONText.appendString(message, to: &body)
    if let hint {
      body += #","policy_line":"#.utf8
      JSONText.appendString(hint, to: &body)
    }
    if let retryAfterSeconds {
      body += #","retry_after_seconds":"#.utf8
      body += String(retryAfterSeconds).utf8
    }
    body += "}\n".utf8
  }

  private var message: String {
    if wantsCredentials { return "This gate wants a proxy user and password (Basic)." }
    if let detail { return "\(reason.explanation) \(detail)." }
    return reason.explanation
  }

  /// The line of policy that an operator would add; nil where no line helps.
  private var hint: String? {
    guard let target else { return nil }
    switch reason {
    case .notAllowed, .expired: return "- \"\(target)\""
    case .addressRefused: return "- {host: \"\(target)\", addresses: [ADDRESS/LENGTH]}"
    case .rateLimited: return "rate_limits: [{host: \"\(target)\", requests_per_minute: N}]"
    case .tooMany: return "rate_limits: [{host: \"\(target)\", concurrent: N}]"
    case .notTLS, .noSNI, .sniMismatch: return "- {host: \"\(target)\", protocol: tcp}"
    case .echRefused: return "- {host: \"\(target)\", ech: allow}"
    default: return nil
    }
  }
}

extension Reason {
  /// Status and phrase: the reason stands in the status line, since most clients never show the body of a refused CONNECT.
  var status: (code: Int, phrase: String) {
    switch self {
    case .badRequest: (400, "Bad Request")
    case .rateLimited, .tooMany: (429, "Too Many Requests")
    case .resolveFailed, .connectFailed, .upstreamUntrusted: (502, "Bad Gateway")
    case .timeout: (504, "Gateway Timeout")
    case .shutdown, .logUnwritable: (503, "Service Unavailable")
    default: (403, "Denied by egress policy")
    }
  }

  /// RFC 9209 section 2.3: the nearest registered error type.
  var proxyError: String {
    switch self {
    case .badRequest: "http_request_error"
    case .resolveFailed: "dns_error"
    case .connectFailed: "destination_unavailable"
    case .upstreamUntrusted: "tls_certificate_error"
    case .timeout: "connection_timeout"
    case .addressRefused: "destination_ip_prohibited"
    case .loop: "proxy_loop_detected"
    case .tooMany: "connection_limit_reached"
    case .shutdown, .logUnwritable: "proxy_internal_error"
    default: "http_request_denied"
    }
  }

  var explanation: String {
    switch self {
    case .notAllowed: "No rule of the egress policy allows this target."
    case .deniedByRule: "A deny rule of the egress policy names this target; no allow rule overrides it."
    case .expired: "The rule that allowed this target has expired."
    case .rateLimited: "The request rate that the policy grants for this target is used up; try again later."
    case .addressRefused: "The target has no address that the policy lets the gate connect to."
    case .badRequest: "The gate does not pass on a request that can be read in two ways."
    case .noSNI: "The TLS ClientHello names no server; the policy wants the target's name there."
    case .sniMismatch: "The TLS ClientHello names another server than the target."
    case .notTLS: "The policy lets only TLS through to this target."
    case .echRefused: "The policy refuses Encrypted ClientHello for this target."
    case .methodRefused: "The policy refuses this method."
    case .pathRefused: "The policy refuses this path."
    case .resolveFailed: "The target's name could not be resolved."
    case .connectFailed: "The target did not accept the connection or broke it."
    case .timeout: "The time for this step is over."
    case .tooMany: "Too many connections are open; close some or try again later."
    case .loop: "The target is the gate itself."
    case .upstreamUntrusted: "The target's certificate could not be verified."
    case .contentRefused: "The policy refuses this content."
    case .secretRefused: "The request carries a secret that must not leave."
    case .shutdown: "The gate is shutting down."
    case .logUnwritable: "The gate cannot write its log, and lets nothing out unrecorded."
    }
  }
}

extension Flow {
  /// For a connection that is refused before anything of it was read: there are too many.
  package static let tooManyReply: [UInt8] = {
    var refusal = Refusal(.tooMany, target: nil, client: Policy.fallbackName)
    refusal.retryAfterSeconds = 1
    var reply: [UInt8] = []
    refusal.write(into: &reply)
    return reply
  }()
}
