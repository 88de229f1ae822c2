// A request to the gate itself, for `sluice.internal`: the parts that an answer depends on.
// It relies on AskGate to read it within limits.

package struct GateQuestion: Sendable {
  package static let bodyBytesMax = 4096

  package var method: [UInt8] = []
  /// Includes the query.
  package var path: [UInt8] = []
  package var accept: [UInt8] = []
  /// The Origin field, which a browser sends for a page of another site.
  package var origin: [UInt8]?
  package var body: [UInt8] = []
  package var isHEAD = false
  /// Another request may follow on the connection.
  package var keepsConnection: Bool
  /// The body has no declared length, or exceeds the limit.
  package var hasUnreadBody = false

  package init(keepsConnection: Bool) { self.keepsConnection = keepsConnection }
}
