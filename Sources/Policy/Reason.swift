// Reasons for a refusal or an early end: one closed set for log, reply, metrics and documents.
// It relies on Wire for JSON; docs/denials.md has one entry per case, and a test compares the two.
import Wire

package enum Reason: String, CaseIterable, Sendable {
  case notAllowed = "not_allowed"
  /// The policy requires a proxy user and password, and they are missing or wrong.
  case notAuthenticated = "not_authenticated"
  case deniedByRule = "denied_by_rule"
  case expired
  case rateLimited = "rate_limited"
  case addressRefused = "address_refused"
  case badRequest = "bad_request"
  case noSNI = "no_sni"
  case sniMismatch = "sni_mismatch"
  case notTLS = "not_tls"
  case echRefused = "ech_refused"
  /// A request inside a tunnel names another authority than the tunnel's target.
  case authorityMismatch = "authority_mismatch"
  case methodRefused = "method_refused"
  case pathRefused = "path_refused"
  case resolveFailed = "resolve_failed"
  case connectFailed = "connect_failed"
  case timeout
  case tooMany = "too_many"
  case loop
  case upstreamUntrusted = "upstream_untrusted"
  case contentRefused = "content_refused"
  case secretRefused = "secret_refused"
  case credentialFailed = "credential_failed"
  /// A person refused the request, or nobody answered in time.
  case notApproved = "not_approved"
  case shutdown
  case logUnwritable = "log_unwritable"

  /// The index of the reason in tables by reason.
  package var column: Int { Self.columns[self] ?? 0 }

  private static let columns = Dictionary(uniqueKeysWithValues: allCases.enumerated().map { ($0.element, $0.offset) })
}

/// A place in a policy file. The column distinguishes rules on one line.
package final class SourceLine: Hashable, Sendable, CustomStringConvertible {
  package let file: String
  package let line: Int
  package let column: Int
  /// The place as a prepared log field, since every line has it.
  package let logField: [UInt8]

  package init(file: String, line: Int, column: Int = 1) {
    self.file = file
    self.line = line
    self.column = column
    description = "\(file):\(line):\(column)"
    logField = JSONText.field("rule", description)
  }

  /// The place of an approved rule.
  package init(approval id: String) {
    file = "approval"
    (line, column) = (0, 0)
    description = "approval:\(id)"
    logField = JSONText.field("rule", description)
  }

  package let description: String

  package static func == (one: SourceLine, other: SourceLine) -> Bool {
    one === other || (one.line == other.line && one.column == other.column && one.description == other.description)
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(description)
    hasher.combine(line)
    hasher.combine(column)
  }
}
