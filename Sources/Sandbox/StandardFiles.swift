// Standard input, output and error, which a command inherits: one that would lead out of the sandbox is refused.
// It relies on `fill` being called before anything is opened.
import CSandbox

package enum StandardFiles {
  private static let names = ["standard input", "standard output", "standard error"]

  /// A closed descriptor leads nowhere, instead of to the next file that is opened.
  package static func fill() { csandbox_standard_fill() }

  /// True if somebody can be asked, and can answer.
  package static var areTerminal: Bool { csandbox_standard_asks() != 0 }

  /// One line; nil where `sluice run` itself is gone.
  package static func answer() -> String? {
    var count: Int32 = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 256) { buffer, filled in
      guard let base = buffer.baseAddress else { return }
      // SAFETY: the call writes no more than the room it is told.
      count = unsafe base.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe csandbox_standard_answer($0, 256) }
      filled = max(Int(clamping: count), 0)
    }
    return count < 0 ? nil : String(decoding: bytes, as: UTF8.self).trimmed
  }

  package static func check() throws(LaunchFailure) {
    for (index, name) in names.enumerated() {
      switch csandbox_standard_kind(CInt(truncatingIfNeeded: index)) {
      case CSANDBOX_STANDARD_FINE: continue
      case CSANDBOX_STANDARD_SOCKET:
        throw LaunchFailure(
          "\(name) is a network socket, which the command could connect anew, past the gate; put a pipe in between: "
            + "… | sluice run … | …")
      case CSANDBOX_STANDARD_FOLDER:
        throw LaunchFailure(
          "\(name) is a folder, by which the command could leave the sandbox; show it with --read-only instead")
      case CSANDBOX_STANDARD_DEVICE:
        throw LaunchFailure("\(name) is a device; put a pipe in between: … | sluice run … | …")
      case CSANDBOX_STANDARD_TERMINAL:
        throw LaunchFailure("\(name) is a second terminal; put a pipe in between: sluice run … | tee /dev/…")
      default:
        throw LaunchFailure("\(name) is not a file, pipe or terminal; put a pipe in between: … | sluice run … | …")
      }
    }
  }
}
