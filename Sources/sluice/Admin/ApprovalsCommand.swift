// `sluice approvals`: what waits for a person at the running gates of this user, once, or as a live view with keys.
// It relies on the gate for the list; a hostile client wrote the names, so nothing of them reaches a terminal raw.
import ArgumentParser
import Gate
import Kernel
import LogView
import Policy
import Wire

struct ApprovalsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "approvals",
    abstract: "List requests that wait for approval, and past decisions.",
    discussion: """
      Asks the gate named by --socket or --policy; by default every `sluice run` of
      this user and the gate of the service. With --watch on a terminal: j and k
      choose, o approves once, h for one hour, s for the session, r refuses, q quits.
      Keys act on an entry once it has been shown for a second. Flagged requests and
      responses are in the same list: `sluice review ID` shows them.

      Exit status: 0, or 2 when no gate could be asked.
      """)

  @OptionGroup var options: AdminOptions
  @Flag(help: "Keep running, and show changes.") var watch = false

  func run() throws {
    guard watch else { return try list() }
    if options.json || !Terminal.isThere { return try follow() }
    try ApprovalsWatch(options: options).run()
  }

  private func list() throws {
    var entries: [ApprovalItem] = []
    for gate in try options.gates() {
      let answer = try options.ask(.command("approvals"), at: gate) { line in
        if let item = ApprovalItem(line, gate: gate) { entries.append(item) }
      }
      guard answer["ok"]?.asBool == true else { try options.fail(answer) }
      if !options.json, answer["enabled"]?.asBool != true {
        Messages.say("\(gate): the policy has no `approvals` section, so no request can wait")
      }
    }
    guard !options.json else { return }
    print(Text.table([ApprovalItem.headings] + entries.map(\.row)))
    for item in entries where item.isOpen { for warning in item.warnings { print("\(item.id)  ! \(warning)") } }
  }

  /// Each entry when it comes and when its state moves, a line each.
  private func follow() throws {
    var known: [String: String] = [:]
    while true {
      for gate in try options.gates() {
        for item in try ApprovalItem.all(at: gate) where known.updateValue(item.state, forKey: item.id) != item.state {
          var line = Array(((options.json ? "\(Text(item.line))" : item.row.joined(separator: "  ")) + "\n").utf8)
          try StandardOutput.write(&line)
        }
      }
      Clock.pause(ms: 500)
    }
  }
}

/// One entry as a gate says it.
struct ApprovalItem {
  static let headings = ["ID", "CLIENT", "STATE", "WANTS", "REASON", "ASKED", "AGE", "LEFT", "FOR", "BY"]

  let id: String
  let gate: String
  let state: String
  let line: JSONValue
  private let entry: JSONValue

  init?(_ line: JSONValue, gate: String) {
    guard let entry = line["approval"], let id = entry["id"]?.asText, let state = entry["state"]?.asText else {
      return nil
    }
    (self.id, self.state, self.entry, self.line, self.gate) = (Text.plain(id), Text.plain(state), entry, line, gate)
  }

  static func all(at gate: String) throws -> [ApprovalItem] {
    var items: [ApprovalItem] = []
    do throws(AdminFailure) {
      var client = try AdminClient(gate)
      let answer = try client.ask(.command("approvals")) { line in
        if let item = ApprovalItem(line, gate: gate) { items.append(item) }
      }
      guard answer["ok"]?.asBool == true else { throw AdminFailure("\(gate): \(AdminClient.error(in: answer))") }
    } catch {
      Messages.say("\(error)")
      throw ExitCode(2)
    }
    return items
  }

  /// Rules that are approved at a gate and in force, by the client's name.
  static func rules(at gate: String) throws -> [String: [ApprovedRule]] {
    var rules: [String: [ApprovedRule]] = [:]
    for item in try all(at: gate) where item.text("rule") != nil {
      guard let client = item.text("client"), let rule = item.approvedRule else { continue }
      rules[client, default: []].append(rule)
    }
    return rules
  }

  private var approvedRule: ApprovedRule? {
    let end = text("expires").flatMap(Timestamp.parse)
    if entry["given"]?.asBool != true, let method = text("method"), let path = text("path") {
      guard let host = text("host"), let port = number("port") else { return nil }
      // A gate answers with targets that it has read itself.
      guard let target = try? Authority.parse(Array("\(host):\(port)".utf8).span, defaultPort: nil),
        // So are paths.
        let pattern = try? PathPattern(path)
      else { return nil }
      let request = Inspection.RequestPattern(methods: [Array(method.utf8)], paths: [pattern])
      return ApprovedRule(id: id, scope: .request(target, request), expiresAt: end)
    }
    guard let text = text("allows"), case .success(let spec) = PolicyOnDisk.rule(text) else { return nil }
    return ApprovedRule(id: id, scope: .rule(spec), expiresAt: end)
  }

  func text(_ name: String) -> String? { entry[name]?.asText }
  func texts(_ name: String) -> [String] { entry[name]?.asList.compactMap(\.asText) ?? [] }
  func number(_ name: String) -> Int? { entry[name]?.asNumber }
  /// Flagged content, for `sluice review`.
  var isContent: Bool { entry["content"] != nil }
  /// Nobody has decided.
  var isOpen: Bool { ["waiting", "recorded", "expired"].contains(state) }
  /// The rule of an approval, given or to come.
  var allows: String { TerminalText.safe((text("allows") ?? "-").utf8) }

  var row: [String] {
    func word(_ name: String) -> String { TerminalText.safe((text(name) ?? "-").utf8) }
    return [
      id, word("client"), state, allows, word("reason"), "\(number("count") ?? 0)x",
      Text.duration(ms: number("age_ms") ?? 0),
      number("left_ms").map { Text.duration(ms: $0) } ?? "-", entry["always"]?.asBool == true ? "always" : word("for"),
      word("by"),
    ]
  }

  /// The warnings of `sluice learn` about the host.
  var warnings: [String] {
    guard let host = text("host") else { return [] }
    let bytes = Array(host.utf8)
    // Brackets are the log's way to write IPv6.
    let inner = host.hasPrefix("[") && host.hasSuffix("]") ? Array(bytes.dropFirst().dropLast()) : bytes
    let parsed: Host
    if let address = IPAddress(String(decoding: inner, as: UTF8.self)) {
      parsed = .address(address)
    } else {
      do throws(HostNameProblem) { parsed = .name(try HostName(host)) } catch { return ["not a host name: \(error)"] }
    }
    return Suspicion(trusted: []).reasons(against: parsed).map { TerminalText.safe($0.utf8) }
  }
}
