// `approve --forever`: the approved rule as a line of the policy file, written so that nothing else of the file moves.
// It relies on PolicyEdit for the text, and reads the result as a policy before it replaces the old one.
import Gate
import Kernel
import Policy
import PolicyFile
import Sandbox
import Wire
import YAML

struct ForeverRule {
  struct Problem: Error, CustomStringConvertible {
    let description: String
    init(_ text: String) { description = text }
  }

  private static let bytesMax = 16 << 20

  private let file: String
  private let old: [UInt8]
  private let new: [UInt8]
  private let mode: UInt32
  private let owner: (uid: UInt32, gid: UInt32)

  /// For the terminal: names in it may be those of a hostile client.
  var difference: String {
    TextDifference.unified(old, new, name: file).split(separator: "\n", omittingEmptySubsequences: false).map {
      Text.plain(String($0)).replacing("\\\"", with: "\"")
    }.joined(separator: "\n")
  }

  init(_ item: ApprovalItem, rule: String?, file: String?) throws(Problem) {
    try self.init(file) { old, name throws(Problem) in try Self.edited(old, item, rule, name: name) }
  }

  /// The patterns of flagged content do not count any more, for the rule of its target.
  init(muting item: ApprovalItem, file: String?) throws(Problem) {
    try self.init(file) { old, name throws(Problem) in try Self.muted(old, item, name: name) }
  }

  private init(_ file: String?, edit: ([UInt8], String) throws(Problem) -> [UInt8]) throws(Problem) {
    guard let file else {
      throw Problem(
        "this gate has no policy file to write a rule into; start it with --policy FILE, or approve --session")
    }
    // A link is followed: what it leads to is replaced, and the link stays.
    guard let real = HostFile.realPath(file), let old = FileBytes.read(real, bytesMax: Self.bytesMax) else {
      throw Problem("\(file): cannot be read")
    }
    self.file = real
    self.old = old
    mode = NewFile.mode(real) ?? 0o600
    let owner = HostFile.owner(real)
    self.owner = (owner.uid, owner.gid)
    new = try edit(old, file)
  }

  private static func muted(_ old: [UInt8], _ item: ApprovalItem, name: String) throws(Problem) -> [UInt8] {
    guard let client = item.text("client"), let host = item.text("host"), let port = item.number("port"),
      let target = target("\(host):\(port)")
    else { throw Problem("the gate's answer names no target") }
    func rule(in bytes: [UInt8]) throws(Problem) -> AllowRule {
      let network = try policy(bytes, name: name, client: client).client(named: client)?.network
      guard case .allow(let rule)? = network?.judge(target, nowUnix: Clock.wallMs() / 1000) else {
        throw Problem("\(name): it has no rule that allows \(target)")
      }
      return rule
    }
    let before = try rule(in: old)
    guard before.line.file == name else {
      throw Problem("the rule for \(target) stands in \(before.line.file); mute the patterns there, and reload")
    }
    let known = before.inspection?.content.muted ?? []
    let patterns = item.texts("found").filter { !known.contains($0) }
    guard !patterns.isEmpty else { throw Problem("\(name): what was found is muted already, at \(before.line)") }
    var edit = PolicyEdit(old)
    do throws(PolicyEdit.Problem) {
      let comment =
        "muted \(Timestamp.text(Clock.wallMs() / 1000)) by \(AccountNames.text(uid: Machine.userID)), \(item.id)"
      guard
        try edit.mute(patterns, atRule: before.line.line, column: before.line.column, comment: comment)
      else {
        throw PolicyEdit.Problem(
          description: "the rule at \(before.line) cannot be edited; give it content: "
            + "{muted: [\(patterns.joined(separator: ", "))]}"
        )
      }
    } catch {
      throw Problem("\(name): \(error)")
    }
    guard try rule(in: edit.bytes).inspection?.content.muted.isSuperset(of: patterns) == true else {
      throw Problem("\(name): the patterns would not be muted for \(target); nothing was changed")
    }
    return edit.bytes
  }

  private static func edited(_ old: [UInt8], _ item: ApprovalItem, _ rule: String?, name: String) throws(Problem)
    -> [UInt8]
  {
    guard let client = item.text("client"), let host = item.text("host"), let port = item.number("port"),
      let target = target("\(host):\(port)")
    else { throw Problem("the gate's answer names no target") }
    var edit = PolicyEdit(old)
    let comment =
      "approved \(Timestamp.text(Clock.wallMs() / 1000)) by \(AccountNames.text(uid: Machine.userID)), \(item.id)"
    let before = try policy(old, name: name, client: client)
    do throws(PolicyEdit.Problem) {
      if let method = item.text("method"), let path = item.text("path"), rule == nil {
        try add(method, path, to: &edit, ruleOf: target, in: before, client, comment)
      } else {
        let text = rule ?? "\(target)"
        let isYAML = text.hasPrefix("{") || text.hasPrefix("\"")
        try edit.add(isYAML ? text : PolicyEdit.item(text), of: client, comment: comment)
      }
    } catch {
      throw Problem("\(name): \(error)")
    }
    let after = try policy(edit.bytes, name: name, client: client)
    guard let network = after.client(named: client)?.network,
      case .allow(let allowed) = network.judge(target, nowUnix: Clock.wallMs() / 1000)
    else { throw Problem("\(name): the rule would not let \(target) out; nothing was changed") }
    if let method = item.text("method"), let path = item.text("path"),
      let refusal = allowed.refusal(method: method, path: path)
    {
      throw Problem("\(name): the rule would not allow this request (\(refusal.reason.rawValue)); nothing was changed")
    }
    return edit.bytes
  }

  private static func target(_ text: String) -> Target? {
    // A gate answers with targets that it has read itself; any other text names none.
    try? Authority.parse(Array(text.utf8).span, defaultPort: nil)
  }

  /// Of a sandbox that the file does not name, its rules are the file's own.
  private static func policy(_ bytes: [UInt8], name: String, client: String) throws(Problem) -> Policy {
    let sandbox = client == Policy.fallbackName ? nil : client
    let loaded = PolicyFile.parse(bytes: bytes, name: name, sandbox: sandbox, nowUnix: Clock.wallMs() / 1000) { path in
      FileBytes.read(path, bytesMax: 1 << 20)
    }
    guard let policy = loaded.policy else {
      throw Problem(
        "with this rule the file would not load: \(loaded.problems.map(\.description).joined(separator: "; "))")
    }
    return policy
  }

  /// One more pair of the rule that names the target.
  private static func add(
    _ method: String, _ path: String, to edit: inout PolicyEdit, ruleOf target: Target, in policy: Policy,
    _ client: String,
    _ comment: String
  ) throws(PolicyEdit.Problem) {
    guard case .allow(let rule)? = policy.client(named: client)?.network.judge(target, nowUnix: Clock.wallMs() / 1000)
    else {
      throw PolicyEdit.Problem(description: "it has no rule that allows \(target)")
    }
    let pair = "{methods: [\(PolicyEdit.item(method))], paths: [\(PolicyEdit.item(path))]}"
    guard try edit.add(request: pair, toRuleAt: rule.line.line, column: rule.line.column, comment: comment) else {
      throw PolicyEdit.Problem(
        description:
          "the rule at \(rule.line) has no `requests` that \(pair) could be added to; write it as `requests` by hand")
    }
  }

  /// In one step: whoever reads the file meanwhile reads the old one or the new one.
  func write() throws(SystemError) { try NewFile.replace(file, new, mode: mode, owner: owner) }

  /// The gate did not take it.
  func takeBack() {
    do throws(SystemError) { try NewFile.replace(file, old, mode: mode, owner: owner) } catch {
      Messages.warn("the rule stays in \(file): \(error)")
    }
  }
}
