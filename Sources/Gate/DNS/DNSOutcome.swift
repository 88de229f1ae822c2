// The log's view of one DNS query: refused, failed, or a refusal that only enforce mode would have made.
// It relies on AuditLog for the line; a query that is answered leaves none, as the connection that follows leaves one.
import Flow
import Policy
import Wire

struct DNSOutcome {
  let event: LogEvent
  let reason: Reason
  /// nil where what was asked for is no host name.
  var host: HostName?
  var line: SourceLine?
  /// The first address that was refused.
  var address: IPAddress?
  var wouldDeny = false

  init(_ event: LogEvent, _ reason: Reason, host: HostName? = nil, line: SourceLine? = nil) {
    self.event = event
    self.reason = reason
    self.host = host
    self.line = line
  }
}
