// Where the admin socket is, and how answers are shown: what all commands for a running gate have in common.
// It relies on exit status 2 for whatever kept the gate from being asked.
import ArgumentParser
import Gate
import Kernel
import LogView
import Policy
import Wire

struct AdminOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The gate's admin socket. Default: `listen.admin` of --policy, else $SLUICE_ADMIN, else that of the service.",
      valueName: "path"),
    completion: .file())
  var socket: String?
  @Option(
    help: ArgumentHelp("The gate's policy file, for its `listen.admin`.", valueName: "file"), completion: .policy)
  var policy: String?
  @Flag(help: "The gate's answer as JSON, one object per line.") var json = false

  /// Where the units of the Debian package put it.
  private static let servicePath = "/run/sluice/admin.sock"

  /// Every gate that is meant: the one that is named, or those of this user's sandboxes and of the service.
  func gates() throws -> [String] {
    if socket != nil || policy != nil || Environment.value("SLUICE_ADMIN")?.isEmpty == false { return [try one()] }
    let service = FileStamp(path: Self.servicePath) == nil ? [] : [Self.servicePath]
    let found = service + SandboxRecord.all().compactMap(\.admin)
    return found.isEmpty ? [try one()] : found
  }

  private func one() throws -> String {
    do throws(AdminFailure) { return try path() } catch {
      Messages.say("\(error)")
      throw ExitCode(2)
    }
  }

  func ask(_ request: JSONValue, each: (JSONValue) -> Void = { _ in }) throws -> JSONValue {
    try ask(request, at: one(), each: each)
  }

  func ask(_ request: JSONValue, at path: String, each: (JSONValue) -> Void = { _ in }) throws -> JSONValue {
    do throws(AdminFailure) {
      var client = try AdminClient(path)
      let answer = try client.ask(request) { line in
        if json { print(Text(line)) } else { each(line) }
      }
      if json { print(Text(answer)) }
      return answer
    } catch {
      Messages.say("\(error)")
      throw ExitCode(2)
    }
  }

  /// The answer of a command that has to go well.
  func demand(_ request: JSONValue) throws -> JSONValue {
    let answer = try ask(request)
    if answer["ok"]?.asBool != true { try fail(answer) }
    return answer
  }

  func fail(_ answer: JSONValue, status: Int32 = 2) throws -> Never {
    if !json { Messages.say(Text.plain(AdminClient.error(in: answer))) }
    throw ExitCode(status)
  }

  private func path() throws(AdminFailure) -> String {
    if let socket { return socket }
    if let policy {
      guard let loaded = PolicyOnDisk.load(policy) else {
        throw AdminFailure("the file has problems, so its `listen.admin` is unknown; give --socket PATH")
      }
      guard let path = loaded.settings.listen.admin else {
        throw AdminFailure("\(policy) has no `listen: {admin: PATH}`; give --socket PATH")
      }
      return path
    }
    if let path = Environment.value("SLUICE_ADMIN"), !path.isEmpty { return path }
    guard FileStamp(path: Self.servicePath) != nil else {
      let sandboxes = SandboxRecord.all().compactMap(\.admin)
      if sandboxes.count == 1 { return sandboxes[0] }
      throw AdminFailure("no gate is named; give --socket PATH, or --policy FILE, or set SLUICE_ADMIN")
    }
    return Self.servicePath
  }
}

/// Answers for people: no byte of a name or a path may move their cursor.
struct Text: CustomStringConvertible {
  let description: String

  init(_ value: JSONValue) {
    var bytes: [UInt8] = []
    value.append(to: &bytes)
    // A program reads the same, and a terminal that shows it nothing but ASCII.
    var shown: [UInt8] = []
    TerminalText.appendJSON(bytes.span, to: &shown)
    description = String(decoding: shown, as: UTF8.self)
  }

  /// Escaped as in JSON, without the quotes.
  static func plain(_ text: String) -> String {
    var bytes: [UInt8] = []
    JSONText.appendString(text, to: &bytes)
    return String(decoding: bytes.dropFirst().dropLast(), as: UTF8.self)
  }

  static func bytes(_ count: Int) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"]
    var (value, unit) = (Double(count), "B")
    for next in units where value >= 1024 { (value, unit) = (value / 1024, next) }
    guard unit != "B" else { return "\(count) B" }
    let tenths = Int(value * 10)
    return "\(tenths / 10).\(tenths % 10) \(unit)"
  }

  static func duration(ms: Int) -> String {
    let seconds = ms / 1000
    switch seconds {
    case 0: return "\(ms) ms"
    case ..<60: return "\(seconds) s"
    case ..<3600: return "\(seconds / 60) min \(seconds % 60) s"
    case ..<86_400: return "\(seconds / 3600) h \(seconds / 60 % 60) min"
    default: return "\(seconds / 86_400) d \(seconds / 3600 % 24) h"
    }
  }

  /// Columns as wide as what stands in them.
  static func table(_ rows: [[String]]) -> String {
    guard let count = rows.first?.count else { return "" }
    let widths = (0..<count).map { column in rows.map { $0[column].count }.max() ?? 0 }
    let lines = rows.map { row in
      let cells = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
      return String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
    }
    return lines.joined(separator: "\n")
  }
}
