// A running sandbox, as a file in a folder of this user's alone: `sluice ps` lists them, and `exec`, `stop` and others
// find by them whom to ask. It relies on the number and the start of a process: the record of one that has ended is
// removed.
import Gate
import Kernel
import Sandbox
import Wire
import YAML

struct SandboxRecord {
  let name: String
  let process: HostProcess
  let startedWallMs: Int64
  let workspace: String
  let command: [String]
  let log: String?
  /// The admin socket of the gate that serves it: that of a running one, or the sandbox's own where requests wait for
  /// a person.
  let admin: String?

  /// Of several that have the same name, one has this.
  var id: String { Self.id(name, process) }

  static func id(_ name: String, _ process: HostProcess) -> String { "\(name)-\(process.pid)" }

  // MARK: - The folder

  /// nil where there is no place for it.
  static var folder: String? {
    let user = Machine.userID
    let candidates = [
      Environment.value("XDG_RUNTIME_DIR"), "/run/user/\(user)", user == 0 ? "/run" : nil, "/tmp",
    ]
    guard let base = candidates.compactMap({ $0 }).first(where: { $0.hasPrefix("/") && HostFile.kind($0) == .folder })
    else { return nil }
    // Others have folders of the same purpose in a base that is everybody's, and /run/sluice is the service's.
    return base == "/tmp" || base == "/run" ? "\(base)/sluice-run-\(user)" : "\(base)/sluice"
  }

  static func file(_ id: String, in folder: String) -> String { "\(folder)/\(id).json" }
  /// Where requests that wait for a person are answered.
  static func adminSocket(_ id: String, in folder: String) -> String { "\(folder)/\(id).sock" }
  /// Where further commands are asked for.
  static func door(_ id: String, in folder: String) -> String { "\(folder)/\(id).door" }

  /// The oldest first. What a sandbox that has ended left is removed.
  static func all() -> [SandboxRecord] {
    guard let folder, HostFile.owner(folder) == (.folder, Machine.userID, HostFile.owner(folder).gid) else { return [] }
    var records: [SandboxRecord] = []
    for entry in HostFile.list(folder) where entry.kind == .file && entry.name.hasSuffix(".json") {
      let path = "\(folder)/\(entry.name)"
      guard let bytes = FileBytes.read(path, bytesMax: bytesMax), let record = SandboxRecord(bytes),
        entry.name == "\(record.id).json"
      else { continue }
      if record.process.isAlive { records.append(record) } else { remove(record.id, in: folder) }
    }
    return records.sorted { ($0.startedWallMs, $0.id) < ($1.startedWallMs, $1.id) }
  }

  /// By name, or by name and number where several have that name.
  static func find(_ text: String) throws(LaunchFailure) -> SandboxRecord {
    let all = all()
    let found = all.filter { $0.id == text }
    let named = found.isEmpty ? all.filter { $0.name == text } : found
    guard let record = named.first else {
      throw LaunchFailure("no running sandbox is named \(text.quotable); `sluice ps` lists them")
    }
    guard named.count == 1 else {
      throw LaunchFailure(
        "several sandboxes are named \(text): write one of \(named.map(\.id).joined(separator: ", "))")
    }
    return record
  }

  static func remove(_ id: String, in folder: String) {
    for path in [door(id, in: folder), adminSocket(id, in: folder), file(id, in: folder)] { NewFile.remove(path) }
  }

  // MARK: - The file

  private static let bytesMax = 1 << 20

  func write(to folder: String) throws(SystemError) {
    try NewFile.replace(Self.file(id, in: folder), value.line, mode: 0o600, isLasting: false)
  }

  var value: JSONValue {
    var members = [
      JSONMember("name", .text(name)), JSONMember("pid", .number(Int(process.pid))),
      JSONMember("start", .number(Int(clamping: process.start))),
      JSONMember("started_ms", .number(Int(clamping: startedWallMs))), JSONMember("workspace", .text(workspace)),
      JSONMember("command", .list(command.map { .text($0) })),
    ]
    if let log { members.append(JSONMember("log", .text(log))) }
    if let admin { members.append(JSONMember("admin", .text(admin))) }
    return .object(members)
  }

  /// nil for what is no record.
  private init?(_ bytes: [UInt8]) {
    // A file that is no JSON is not a record either.
    guard let value = try? JSONValue.parse(bytes), let name = value["name"]?.asText,
      let pid = value["pid"]?.asNumber.flatMap({ Int32(exactly: $0) }),
      let start = value["start"]?.asNumber.flatMap({ UInt64(exactly: $0) }),
      let started = value["started_ms"]?.asNumber,
      let workspace = value["workspace"]?.asText
    else { return nil }
    self.init(
      name: name, process: HostProcess(pid: pid, start: start), startedWallMs: Int64(clamping: started),
      workspace: workspace,
      command: (value["command"]?.asList ?? []).compactMap(\.asText), log: value["log"]?.asText,
      admin: value["admin"]?.asText)
  }

  init(
    name: String, process: HostProcess, startedWallMs: Int64, workspace: String, command: [String], log: String?,
    admin: String?
  ) {
    (self.name, self.process, self.startedWallMs) = (name, process, startedWallMs)
    (self.workspace, self.command, self.log, self.admin) = (workspace, command, log, admin)
  }
}

/// The socket on which further commands for this process's own sandbox are asked for, with the record beside it.
final class SandboxDoor {
  private let listener: LocalListener
  var fd: CInt { listener.fd }

  private init(_ listener: consuming LocalListener) { self.listener = listener }

  /// Throws where it cannot be opened, or the record cannot be written.
  static func open(_ record: SandboxRecord, in folder: String) throws -> SandboxDoor {
    let listener = try LocalListener(at: SandboxRecord.door(record.id, in: folder))
    try record.write(to: folder)
    return SandboxDoor(listener)
  }

  /// Hands those who knock on to the sandbox: root and this user, and nobody out of a sandbox or a container.
  func answer(_ sandbox: borrowing Launched) {
    while case .connection(let connection, _) = listener.accept() {
      guard let peer = LocalSocket.peer(of: connection.raw), peer.uid == 0 || peer.uid == Machine.userID,
        LocalSocket.sharesNamespace(pid: peer.pid)
      else { continue }
      sandbox.join(connection)
    }
  }
}
