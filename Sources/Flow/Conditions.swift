// The surroundings of a flow at the moment of an event: the clocks and the policy in force.
// It relies on being passed in with each event, so that a flow owns no clock and a simulation can set every value.
package import Policy

package struct Conditions: ~Copyable, Sendable {
  package var nowMs: UInt64
  package var nowNs: UInt64
  package var unixSeconds: Int64
  package var policy: Policy
  package var gate: GateAddresses
  package var isDraining: Bool
  package var isLogUnwritable: Bool
  /// Explain refusals of TLS targets inside TLS: the client trusts the gate's CA.
  package var explainsDenials: Bool

  package init(policy: Policy, gate: GateAddresses) {
    self.nowMs = 0
    self.nowNs = 0
    self.unixSeconds = 0
    self.policy = policy
    self.gate = gate
    self.isDraining = false
    self.isLogUnwritable = false
    self.explainsDenials = false
  }

  /// The same facts in the judge's form.
  package var moment: Moment {
    Moment(
      nowMs: nowMs, nowNs: nowNs, unixSeconds: unixSeconds, isDraining: isDraining, isLogUnwritable: isLogUnwritable)
  }
}
