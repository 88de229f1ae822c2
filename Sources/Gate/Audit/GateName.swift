// The name of a gate, which stands on each of its log lines, so that the logs of many gates can be read as one.
// It relies on Wire.JSONText for the escapes.
import Kernel
import Wire

package struct GateName: Sendable {
  package static let bytesMax = 255

  package let text: String
  let logField: [UInt8]

  /// nil where it is empty, longer than `bytesMax`, or holds control characters.
  package init?(_ text: String) {
    guard (1...Self.bytesMax).contains(text.utf8.count), !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else {
      return nil
    }
    self.init(known: text)
  }

  private init(known text: String) {
    self.text = text
    logField = JSONText.field("gate", text)
  }

  /// The host's name.
  package static let ofHost = GateName(Machine.hostName() ?? "") ?? GateName(known: "gate")
}
