// A notification on the caller's desktop when a request of the sandbox waits: by notify-send, where that is installed.
// It relies on the words being fixed: nothing that a client says, a host's name least of all, is shown there.
import Kernel
import Sandbox

enum DesktopNotice {
  private static let program = "notify-send"
  /// Each step of an approval comes in as JSON; only what is asked is told.
  private static let script = """
    grep -q '"verdict":"asked"' || exit 0
    exec "$0" --app-name=sluice "$1" "sluice approvals lists it"
    """

  /// nil without a desktop.
  static func command(sandbox: String) -> [String]? {
    guard SessionBus.isThere else { return nil }
    for folder in (Environment.value("PATH") ?? "").split(separator: ":") where folder.hasPrefix("/") {
      let path = "\(folder)/\(program)"
      guard HostFile.kind(path) != .missing, HostFile.mayRead(path) else { continue }
      return ["/bin/sh", "-c", script, path, "The sandbox \(sandbox) asks for a target that no rule allows"]
    }
    return nil
  }
}
