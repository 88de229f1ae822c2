// What one turn of the loop lends to an inspected tunnel, and what the tunnel came to in it.
// It relies on the Gate to fill it anew each turn: the rule may have been replaced since the last one.
package import Flow
package import Policy

package struct Tick {
  package var nowMs: UInt64
  package var nowNs: UInt64
  /// What requests are judged by; nil where all are refused.
  package var rule: AllowRule?
  package var isReportOnly: Bool
  /// The tunnel itself goes on only because report mode refuses nothing.
  package var wouldRefuseTunnel = false
  package var isDraining: Bool
  package var isLogUnwritable: Bool
  package var headBytesMax: Int
  package var headMs: UInt64
  /// Where a new filter for the rule's requests comes from.
  package var filters: (any FilterSource)?

  package init(nowMs: UInt64, nowNs: UInt64, rule: AllowRule?, headBytesMax: Int, headMs: UInt64) {
    self.nowMs = nowMs
    self.nowNs = nowNs
    self.rule = rule
    self.headBytesMax = headBytesMax
    self.headMs = headMs
    isReportOnly = false
    isDraining = false
    isLogUnwritable = false
  }
}

package enum TunnelProgress {
  /// Nothing more to do before the next edge, or the tunnel's deadline.
  case waiting
  /// The fairness budget is used up.
  case again
  /// For the flow: how the tunnel ended, or why it never stood.
  case event(Event)
}
