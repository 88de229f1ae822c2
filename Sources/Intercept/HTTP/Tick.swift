// What one turn of the loop lends to an inspected tunnel, and what the tunnel came to in it.
// It relies on the Gate to fill it anew each turn: the rule may have been replaced since the last one.
package import Flow
package import Policy

package struct Tick {
  package var moment: Moment
  /// What requests are judged by; nil where all are refused.
  package var rule: AllowRule?
  package var isReportOnly = false
  /// The tunnel itself goes on only because report mode refuses nothing.
  package var wouldRefuseTunnel = false
  package var headBytesMax: Int
  package var headMs: UInt64
  /// Where a new filter for the rule's requests comes from.
  package var filters: (any FilterSource)?
  /// By which requests ask for an approval; nil where nobody is asked.
  package var approvals: (any ApprovalDesk)?

  package init(_ moment: Moment, rule: AllowRule?, headBytesMax: Int, headMs: UInt64) {
    self.moment = moment
    self.rule = rule
    self.headBytesMax = headBytesMax
    self.headMs = headMs
  }

  package var nowMs: UInt64 { moment.nowMs }
  var isDraining: Bool { moment.isDraining }
}

package enum TunnelProgress {
  /// Nothing more to do before the next edge, or the tunnel's deadline.
  case waiting
  /// The fairness budget is used up.
  case again
  /// For the flow: how the tunnel ended, or why it never stood.
  case event(Event)
}
