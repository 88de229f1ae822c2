// What carries requests and answers between the two TLS connections of a tunnel, in one of the protocols.
// It relies on both connections speaking the same one: see InspectedTunnel.
import Flow

protocol Bridge: AnyObject {
  /// Does all that the two connections now allow.
  func advance(_ turn: Turn) -> TunnelProgress
  /// When it wants another turn without an edge.
  var deadlineMs: UInt64 { get }
  /// What is to be written down.
  func takeOutcomes() -> [Outcome]
}
