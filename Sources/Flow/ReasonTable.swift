// The table of reasons: the status, the log event, the replies, and if the connection continues.
// It relies on Policy for the closed set; no other file in Sources decides any of this, which a test checks.
package import Policy
import Wire

/// One row of the table.
struct ReasonRow: Sendable {
  /// The reason is the status line's phrase, since most clients never show the body of a refused CONNECT.
  let status: Int
  let phrase: StaticString
  let event: LogEvent
  /// True if another request may follow on the connection, provided that the refused one had no body.
  let keepsConnection: Bool
  /// The nearest registered error type (RFC 9209 section 2.3).
  let proxyError: StaticString
  /// The description of a fatal TLS alert (RFC 8446 section 6).
  let alert: UInt8
  /// RFC 1928 section 6. A refusal by policy never looks like a broken network.
  let socks: SOCKSReply
  /// The party that caused the refusal: only some causes are worth an explanation inside a client's TLS.
  let origin: Origin
  let explanation: StaticString

  enum Origin: Sendable {
    /// The operator's policy.
    case policy
    /// The upstream, or the state of the gate.
    case upstream
    /// The client.
    case client
  }

  static func denied(
    _ explanation: StaticString, proxyError: StaticString = "http_request_denied", alert: Alert = .accessDenied,
    origin: Origin = .policy, keepsConnection: Bool = false, event: LogEvent = .denied
  ) -> ReasonRow {
    ReasonRow(
      status: 403, phrase: "Denied by egress policy", event: event, keepsConnection: keepsConnection,
      proxyError: proxyError, alert: alert.rawValue, socks: .notAllowed, origin: origin, explanation: explanation)
  }

  static func limited(_ explanation: StaticString, proxyError: StaticString = "http_request_denied") -> ReasonRow {
    ReasonRow(
      status: 429, phrase: "Too Many Requests", event: .limited, keepsConnection: true, proxyError: proxyError,
      alert: Alert.accessDenied.rawValue, socks: .notAllowed, origin: .policy, explanation: explanation)
  }

  static func badGateway(_ explanation: StaticString, proxyError: StaticString, socks: SOCKSReply) -> ReasonRow {
    ReasonRow(
      status: 502, phrase: "Bad Gateway", event: .failed, keepsConnection: false, proxyError: proxyError,
      alert: Alert.internalError.rawValue, socks: socks, origin: .upstream, explanation: explanation)
  }

  static func unavailable(
    _ explanation: StaticString, event: LogEvent = .denied, keepsConnection: Bool = false,
    alert: Alert = .internalError,
    socks: SOCKSReply = .generalFailure, origin: Origin = .upstream
  ) -> ReasonRow {
    ReasonRow(
      status: 503, phrase: "Service Unavailable", event: event, keepsConnection: keepsConnection,
      proxyError: "proxy_internal_error", alert: alert.rawValue, socks: socks, origin: origin, explanation: explanation)
  }

  enum Alert: UInt8 {
    case accessDenied = 49
    case decodeError = 50
    case protocolVersion = 70
    case internalError = 80
    case unrecognizedName = 112
  }
}

extension Reason {
  var row: ReasonRow {
    switch self {
    case .notAllowed: .denied("No rule of the egress policy allows this target.", keepsConnection: true)
    case .notAuthenticated:
      ReasonRow(
        status: 407, phrase: "Proxy Authentication Required", event: .denied, keepsConnection: true,
        proxyError: "http_request_denied", alert: ReasonRow.Alert.accessDenied.rawValue, socks: .notAllowed,
        origin: .client, explanation: "This gate wants a proxy user and password (Basic).")
    case .deniedByRule:
      .denied(
        "A deny rule of the egress policy names this target; no allow rule overrides it.", keepsConnection: true)
    case .expired: .denied("The rule that allowed this target has expired.", keepsConnection: true)
    case .rateLimited:
      .limited("The request rate that the policy grants for this target is used up; try again later.")
    case .tooMany:
      .limited(
        "Too many connections are open; close some or try again later.", proxyError: "connection_limit_reached")
    case .addressRefused:
      .denied(
        "The target has no address that the policy lets the gate connect to.",
        proxyError: "destination_ip_prohibited")
    case .badRequest:
      ReasonRow(
        status: 400, phrase: "Bad Request", event: .denied, keepsConnection: false, proxyError: "http_request_error",
        alert: ReasonRow.Alert.decodeError.rawValue, socks: .generalFailure, origin: .client,
        explanation: "The gate does not pass on a request that is malformed or can be read in two ways.")
    case .noSNI:
      .denied(
        "The TLS ClientHello names no server; the policy wants the target's name there.", alert: .unrecognizedName,
        origin: .client)
    case .sniMismatch:
      .denied(
        "The TLS ClientHello names another server than the target.", alert: .unrecognizedName, origin: .client)
    case .notTLS:
      .denied("The policy lets only TLS through to this target.", alert: .protocolVersion, origin: .client)
    case .echRefused: .denied("The policy refuses Encrypted ClientHello for this target.")
    case .authorityMismatch:
      .denied(
        "The request names another authority than the tunnel that it is in.", origin: .client)
    case .methodRefused: .denied("The policy refuses this method.", origin: .client, keepsConnection: true)
    case .pathRefused: .denied("The policy refuses this path.", origin: .client, keepsConnection: true)
    case .contentRefused: .denied("The policy refuses this content.", origin: .client, keepsConnection: true)
    case .secretRefused:
      .denied(
        "The request carries a secret that must not leave.", origin: .client, keepsConnection: true, event: .flagged)
    case .loop: .denied("The target is the gate itself.", proxyError: "proxy_loop_detected", origin: .client)
    case .resolveFailed:
      .badGateway("The target's name could not be resolved.", proxyError: "dns_error", socks: .hostUnreachable)
    case .connectFailed:
      .badGateway(
        "The target did not accept the connection or broke it.", proxyError: "destination_unavailable",
        socks: .connectionRefused)
    case .upstreamUntrusted:
      .badGateway(
        "The target's certificate could not be verified.", proxyError: "tls_certificate_error",
        socks: .generalFailure)
    case .timeout:
      ReasonRow(
        status: 504, phrase: "Gateway Timeout", event: .failed, keepsConnection: false,
        proxyError: "connection_timeout", alert: ReasonRow.Alert.internalError.rawValue, socks: .ttlExpired,
        origin: .upstream, explanation: "The time for this step is over.")
    case .credentialFailed:
      .unavailable(
        "The gate has no valid credential for this target at the moment.", event: .failed, keepsConnection: true,
        alert: .accessDenied, socks: .notAllowed, origin: .client)
    case .notApproved: .denied("The request for this target was not approved.", keepsConnection: true)
    case .shutdown: .unavailable("The gate is shutting down.")
    case .logUnwritable: .unavailable("The gate cannot write its log, and lets nothing out unrecorded.")
    }
  }

  package var explanation: StaticString { row.explanation }
  package var logEvent: LogEvent { row.event }
  package var keepsConnection: Bool { row.keepsConnection }
}
