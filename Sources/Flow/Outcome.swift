// What the log says of a flow: how it ended, or what report mode let pass.
// The words are those of the log's `event` field; the Gate adds bytes, times and numbers.
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
  /// What the client said in its ClientHello, where that matters.
  package var sni: HostName?
  package var wouldDeny = false
  /// Of a tunnel whose requests are seen, or of one of these requests.
  package var isInspected = false
  /// Which request of its connection this is about, counted from zero.
  package var ordinal: UInt32 = 0
  /// Why, in a few words, for a malformed request and for what failed.
  package private(set) var detail: String?
  /// The bucket as it stood, for a limited request.
  package var bucket: BucketLevel?

  package init(_ event: LogEvent, _ reason: Reason? = nil, line: SourceLine? = nil, address: IPAddress? = nil) {
    self.event = event
    self.reason = reason
    self.line = line
    self.address = address
  }

  /// Keeps what the client is told where the reason alone does not say what to mend.
  package mutating func explain(_ detail: String?) {
    if event == .failed || reason == .badRequest || reason == .notTLS { self.detail = detail }
  }

  /// Report mode let it out; enforce mode would have refused.
  package init(noting reason: Reason, line: SourceLine?) {
    let event = reason.logEvent
    // An upstream or a secret did not fail here: the line says what the policy would have done.
    self.init(event == .limited ? .limited : .denied, reason, line: line)
    wouldDeny = true
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
  /// Where a redirected connection went: an address made up for a name, or one that a rule names.
  case address
}
