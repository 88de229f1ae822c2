// How `sluice run` is reached from a second terminal: its record among the running sandboxes, and, where requests wait
// for a person, an admin socket beside it. It relies on a folder that the command cannot see; without one there is
// neither.
import Flow
import Gate
import Kernel
import Policy
import Sandbox
import Wire

struct RunDesk {
  private let name: String
  private let command: [String]
  /// Of this gate's own socket, which is still to be opened.
  let socket: String?
  /// As the record says it: that of the running gate, with `--gate`.
  private let admin: String?
  private let hasRecord: Bool
  private let asksPeople: Bool

  /// `gate`: the socket of a running one that serves the sandbox.
  init(name: String, command: [String], gate: String?, _ policy: Policy, _ plan: SandboxPlan) {
    (self.name, self.command) = (name, command)
    asksPeople = gate == nil && policy.settings.approvals != nil
    let folder = Self.folder(plan)
    hasRecord = folder != nil
    socket = asksPeople && folder != nil ? SandboxRecords.path(name, "sock") : nil
    admin = gate.map { $0.hasPrefix("/") ? $0 : "\(Machine.currentFolder() ?? "")/\($0)" } ?? socket
  }

  /// A command that could write records could send its own to whoever answers.
  private static func folder(_ plan: SandboxPlan) -> String? {
    guard let folder = SandboxRecords.folder else { return nil }
    do throws(SystemError) { try SandboxRecords.make() } catch { return nil }
    guard let real = HostFile.realPath(folder), !plan.shows(real) else { return nil }
    return folder
  }

  /// Before the gate's threads start, and before it confines itself.
  func open(_ server: Server?) throws(ServerError) {
    if hasRecord {
      SandboxRecords.clear(name)
      do throws(SystemError) {
        try SandboxRecords.write(SandboxRecord(name: name, admin: admin, command: command))
      } catch {
        Messages.warn("`sluice approvals` will not find this sandbox: \(error)")
      }
    }
    guard asksPeople, let server else { return }
    try server.openDesk(at: socket)
    let said = Said()
    server.onApproval = { event in
      guard event.verdict == .asked, said.isFirst() else { return }
      Messages.say(
        "\(event.entry.allows) is asked for, and no rule allows it: "
          + "in a second terminal, `sluice approvals` lists what waits"
      )
    }
  }

  /// A folder that the process must still clear once it has confined itself.
  var recordFolder: String? { hasRecord ? SandboxRecords.folder : nil }

  func close() { if hasRecord { SandboxRecords.clear(name) } }

  /// Once a run.
  private final class Said {
    private var isSaid = false

    func isFirst() -> Bool {
      defer { isSaid = true }
      return !isSaid
    }
  }
}

extension SandboxPlan {
  /// True where the command sees this path of the host.
  fileprivate func shows(_ path: String) -> Bool {
    steps.contains { if case .bind(let shown, _, _) = $0 { path.isAtOrBelow(shown) } else { false } }
  }
}
