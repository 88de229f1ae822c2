// The log's view of a flow: how it ended, or what report mode let pass.
// It relies on the Gate to add bytes, times and numbers; the words are those of the log's `event` field.
package import Policy
package import Wire

package enum LogEvent: String, CaseIterable, Sendable {
  case denied, limited, closed, failed, revoked, policy, flagged, credential, approval, limits
}

package struct Outcome: Sendable {
  package var event: LogEvent
  package var reason: Reason?
  package var line: SourceLine?
  /// The address that was dialled, or the first one that was refused.
  package var address: IPAddress?
  /// The SNI of the client's ClientHello, if relevant.
  package var sni: HostName?
  package var wouldDeny = false
  /// True for an inspected tunnel and for its requests.
  package var isInspected = false
  /// The number of the request on its connection, from zero.
  package var ordinal: UInt32 = 0
  /// A short reason for a malformed request or a failure.
  package private(set) var detail: String?
  /// The request, where the gate reads requests of this target.
  package var request: LoggedRequest?
  /// The bucket's level, for a limited request.
  package var bucket: BucketLevel?

  package init(_ event: LogEvent, _ reason: Reason? = nil, line: SourceLine? = nil, address: IPAddress? = nil) {
    self.event = event
    self.reason = reason
    self.line = line
    self.address = address
  }

  /// Keeps the detail for the client, where the reason alone does not say what to fix.
  package mutating func explain(_ detail: String?) {
    if event == .failed || reason == .badRequest || reason == .notTLS { self.detail = detail }
  }

  /// An outcome that report mode let pass and enforce mode would have refused.
  package init(noting reason: Reason, line: SourceLine?) {
    let event = reason.logEvent
    // Nothing failed here: the line says what the policy would have done.
    self.init(event == .limited ? .limited : .denied, reason, line: line)
    wouldDeny = true
  }
}

/// Method and path of a request that has a log line. A class, so that outcomes of tunnels stay small.
package final class LoggedRequest: Sendable {
  package let line: RequestLine
  /// The status of the gate's refusal; nil where the request went on.
  package let status: Int?

  package init(_ line: RequestLine, status: Int?) { (self.line, self.status) = (line, status) }

  /// Empty where the request was refused before its head was read.
  package var method: [UInt8] {
    var bytes: [UInt8] = []
    line.read { method, _ in bytes.append(method) }
    return bytes
  }

  /// With its query.
  package var path: [UInt8] {
    var bytes: [UInt8] = []
    line.read { _, path in bytes.append(path) }
    return bytes
  }
}

package struct BucketLevel: Sendable, Equatable {
  package var tokens: Int
  package var capacity: Int
  package var perMinute: Int

  package init(tokens: Int, capacity: Int, perMinute: Int) {
    (self.tokens, self.capacity, self.perMinute) = (tokens, capacity, perMinute)
  }
}

/// How the target was named: the log's `via`.
package enum Via: String, Sendable {
  /// CONNECT of HTTP or SOCKS 5.
  case connect
  case http
  /// The SNI of a redirected connection.
  case tls
  /// The destination of a redirected connection: a synthetic address, or an address that a rule names.
  case address
}
