// Records of running sandboxes: one small file each, which says where its gate can be asked and which process it is.
// It relies on a folder that only this user can write, and that no sandbox sees; a record outlives no process.
import Gate
import Kernel
import Sandbox
import Wire

/// `name`, `pid` and, as two processes may have one number after each other, when the kernel started it.
struct SandboxRecord {
  let name: String
  let pid: Int32
  let started: String
  /// The admin socket of the gate that serves it; nil where there is none.
  let admin: String?
  let command: [String]

  private static let bytesMax = 64 << 10

  fileprivate var json: JSONValue {
    .object([
      JSONMember("v", .number(1)), JSONMember("name", .text(name)), JSONMember("pid", .number(Int(pid))),
      JSONMember("started", .text(started)), JSONMember("admin", admin.map { .text($0) } ?? .null),
      JSONMember("command", .list(command.map { .text($0) })),
    ])
  }

  fileprivate init?(file: String) {
    guard let bytes = FileBytes.read(file, bytesMax: Self.bytesMax) else { return nil }
    let value: JSONValue
    // A file that is being written, or of a later version, is none of ours.
    do throws(JSONProblem) { value = try JSONValue.parse(bytes.filter { $0 != 0x0a }) } catch { return nil }
    guard value["v"]?.asNumber == 1, let name = value["name"]?.asText, let number = value["pid"]?.asNumber,
      let pid = Int32(exactly: number), let started = value["started"]?.asText
    else { return nil }
    (self.name, self.pid, self.started, admin) = (name, pid, started, value["admin"]?.asText)
    command = (value["command"]?.asList ?? []).compactMap(\.asText)
  }

  init(name: String, admin: String?, command: [String]) {
    (self.name, self.admin, self.command) = (name, admin, command)
    pid = Machine.processID
    started = Self.start(of: Machine.processID) ?? ""
  }

  var isAlive: Bool { Self.start(of: pid) == started }

  /// The 22nd field of proc_pid_stat(5), in clock ticks since the boot; the name before it may hold anything.
  private static func start(of pid: Int32) -> String? {
    guard let bytes = FileBytes.read("/proc/\(pid)/stat", bytesMax: 4096),
      let end = bytes.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    let fields = bytes[(end + 1)...].split(separator: 0x20)
    return fields.count > 19 ? String(decoding: fields[19], as: UTF8.self) : nil
  }
}

enum SandboxRecords {
  /// Of this user alone; nil where neither XDG_RUNTIME_DIR nor HOME says where that would be.
  static var folder: String? {
    if let folder = Environment.value("XDG_RUNTIME_DIR"), folder.hasPrefix("/") { return "\(folder)/sluice" }
    return LogFile.folder.map { "\($0)/run" }
  }

  /// The name of this process's file of a kind in the folder.
  static func path(_ name: String, _ suffix: String) -> String? {
    folder.map { "\($0)/\(name)-\(Machine.processID).\(suffix)" }
  }

  static func make() throws(SystemError) { if let folder { try NewFile.makeFolders(folder) } }

  static func write(_ record: SandboxRecord) throws(SystemError) {
    guard let path = path(record.name, "json") else { return }
    try make()
    try NewFile.replace(path, record.json.line, mode: 0o600)
  }

  /// The oldest first. Records of processes that are gone are passed over, and cleared away by `clear`.
  static func running() -> [SandboxRecord] {
    guard let folder else { return [] }
    return HostFile.names(in: folder).filter { $0.hasSuffix(".json") }.compactMap {
      SandboxRecord(file: "\(folder)/\($0)")
    }
    .filter(\.isAlive).sorted { ($0.started.utf8.count, $0.started) < ($1.started.utf8.count, $1.started) }
  }

  /// At the end of this process's sandbox; also files of processes that were killed before they could.
  static func clear(_ name: String) {
    for suffix in ["json", "sock"] { if let path = path(name, suffix) { NewFile.remove(path) } }
    guard let folder else { return }
    for file in HostFile.names(in: folder) where file.hasSuffix(".json") {
      guard let record = SandboxRecord(file: "\(folder)/\(file)"), !record.isAlive else { continue }
      NewFile.remove("\(folder)/\(file)")
      NewFile.remove("\(folder)/\(file.dropLast(5)).sock")
    }
  }
}
