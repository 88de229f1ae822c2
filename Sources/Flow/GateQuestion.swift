// A request to the gate itself, for `sluice.internal`: the parts of it that an answer depends on.
// It relies on AskGate to read it within bounds.

package struct GateQuestion: Sendable {
  package static let bodyBytesMax = 4096

  package var method: [UInt8] = []
  /// With the query.
  package var path: [UInt8] = []
  package var accept: [UInt8] = []
  /// A browser's page asks, and says of which site it is.
  package var origin: [UInt8]?
  package var body: [UInt8] = []
  package var isHEAD = false
  /// Another request may follow on the connection.
  package var keepsConnection: Bool
  /// The body has no length, or is longer than is read.
  package var hasUnreadBody = false

  package init(keepsConnection: Bool) { self.keepsConnection = keepsConnection }
}
