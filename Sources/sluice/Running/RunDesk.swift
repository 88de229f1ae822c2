// How `sluice run` is reached from a second terminal: its record among the running sandboxes, the door for further
// commands, and, where requests wait for a person, an admin socket beside them. It relies on a folder of this user's
// alone that no sandbox is shown (`SandboxRequest.checkGuarded`); the process that outlives the run clears it.
import Flow
import Gate
import Kernel
import Policy
import Sandbox

struct RunDesk {
  private let record: SandboxRecord
  /// nil where there is no place: the command runs all the same.
  private let folder: String?
  /// Of this gate's own admin socket, which is still to be opened.
  let socket: String?
  private let asksPeople: Bool

  var id: String { record.id }

  /// `gate`: the socket of a running one that serves the sandbox.
  init(
    name: String, command: [String], gate: String?, _ policy: Policy, workspace: String, log: String?
  ) {
    asksPeople = gate == nil && policy.settings.approvals != nil
    folder = Self.folder()
    let process = HostProcess.current
    let id = SandboxRecord.id(name, process)
    socket = asksPeople ? folder.map { SandboxRecord.adminSocket(id, in: $0) } : nil
    let admin = gate.map { $0.hasPrefix("/") ? $0 : "\(Machine.currentFolder() ?? "")/\($0)" } ?? socket
    record = SandboxRecord(
      name: name, process: process, startedWallMs: Clock.wallMs(), workspace: workspace,
      command: command, log: log, admin: admin)
  }

  private static func folder() -> String? {
    guard let folder = SandboxRecord.folder else {
      sayUnfound("there is no folder for records of running sandboxes; set XDG_RUNTIME_DIR")
      return nil
    }
    do throws(SystemError) { try HostFile.makePrivateFolder(folder) } catch {
      sayUnfound("\(folder): \(error)")
      return nil
    }
    return folder
  }

  private static func sayUnfound(_ why: String) {
    Messages.warn("`sluice ps`, `exec`, `stop` and `approvals` do not find this sandbox: \(why)")
  }

  /// Before the gate's threads start, and before it confines itself.
  func open(_ server: Server?) throws(ServerError) -> SandboxDoor? {
    if asksPeople, let server { try openDesk(server) }
    guard let folder else { return nil }
    do { return try SandboxDoor.open(record, in: folder) } catch {
      Self.sayUnfound("\(error)")
      return nil
    }
  }

  private func openDesk(_ server: Server) throws(ServerError) {
    try server.openDesk(at: socket)
    let said = Said()
    server.onApproval = { event in
      guard event.verdict == .asked, said.isFirst() else { return }
      let entry = event.entry
      guard entry.key.subject.content == nil else {
        return Messages.say(
          "\(entry.allows) was flagged, and waits for a decision: in a second terminal, `sluice review \(entry.id)` shows it, and "
            + "`sluice approvals` lists what waits")
      }
      Messages.say(
        "\(entry.allows) is asked for, and no rule allows it: in a second terminal, `sluice approvals` "
          + "lists what waits")
    }
  }

  /// Once a run.
  private final class Said {
    private var isSaid = false

    func isFirst() -> Bool {
      defer { isSaid = true }
      return !isSaid
    }
  }
}
