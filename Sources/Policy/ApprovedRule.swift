// A rule that a person approved for one client while the gate runs. It joins that client's rules.
// It relies on Approval for its end; docs/approvals.md has the commands.
package import Wire

package struct ApprovedRule: Sendable {
  package enum Scope: Sendable {
    /// A whole rule.
    case rule(AllowSpec)
    /// One more method and path for a target that a rule inspects.
    case request(Target, Inspection.RequestPattern)
  }

  package let id: String
  package let scope: Scope
  /// Unix seconds.
  package let expiresAt: Int64?
  package let uses: RemainingUses?

  package init(id: String, scope: Scope, expiresAt: Int64? = nil, uses: RemainingUses? = nil) {
    (self.id, self.scope, self.expiresAt, self.uses) = (id, scope, expiresAt, uses)
  }

  /// The rule's place as the log's `rule` field shows it.
  package var line: SourceLine { SourceLine(approval: id) }

  /// The rule in the syntax of the policy file.
  package var text: String {
    switch scope {
    case .rule(let spec): "\(spec.pattern):\(spec.ports)"
    case .request(let target, let pattern): "\(pattern) of \(target)"
    }
  }
}
