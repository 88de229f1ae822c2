// `sluice approve` and `sluice refuse`: a person's answer to one entry of `sluice approvals`.
// It relies on the gate to allow exactly the entry's target, or a rule that covers it, and to write down who answered.
import ArgumentParser
import Gate
import Kernel
import Wire

struct Approve: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "approve",
    abstract: "Approve a waiting request.",
    discussion: """
      ID is the number that `sluice approvals` prints. By default the approval is for
      the waiting requests, or else for the next one. --session lasts until the
      sandbox ends, or the client's last connection. --forever writes the rule into
      the policy file, shows the difference, and reloads the gate.

      Exit status: 0 approved; 1 there is no such entry, or not any more, or the rule
      cannot be; 2 the gate could not be asked.
      """)

  @OptionGroup var options: AdminOptions
  @Argument(help: "The entry's number.", completion: .shellCommand("sluice approvals 2>/dev/null | sed '1d; s/ .*//'"))
  var id: String
  @Flag(help: "For the waiting requests, or else for the next one. The default.") var once = false
  @Option(name: .customLong("for"), help: ArgumentHelp("For this long: 90s, 30m, 8h, 7d.", valueName: "time")) var time:
    String?
  @Flag(help: "Until the sandbox ends, or the client's last connection.") var session = false
  @Flag(help: "Add a rule to the policy file.") var forever = false
  @Option(
    help: ArgumentHelp(
      "The rule to add in place of the exact target: HOST:PORT, or {host: HOST:PORT, methods: [GET]}. "
        + "It must allow the request.",
      valueName: "rule"))
  var rule: String?

  func validate() throws {
    if [once, time != nil, session, forever].count(where: { $0 }) > 1 {
      throw ValidationError("Give one of --once, --for, --session and --forever.")
    }
    if let time, !AdminRequest.isTime(time) {
      throw ValidationError("--for takes a time such as 90s, 30m, 8h or 7d; got \(time).")
    }
  }

  func run() throws {
    let (gate, item, file) = try options.find(id)
    var edit: ForeverRule?
    if forever {
      do throws(ForeverRule.Problem) { edit = try ForeverRule(item, rule: rule, file: file) } catch {
        Messages.say("\(error)")
        throw ExitCode(1)
      }
    }
    do throws(SystemError) { try edit?.write() } catch {
      Messages.say("the policy file cannot be written: \(error); nothing was changed")
      throw ExitCode(1)
    }
    let grant = forever ? "forever" : session ? "session" : time ?? "once"
    var members = [JSONMember("id", .text(id)), JSONMember("for", .text(grant))]
    if let rule, !forever { members.append(JSONMember("rule", .text(rule))) }
    let answer = try options.ask(.command("approve", members), at: gate)
    guard answer["ok"]?.asBool == true else {
      if let edit { edit.takeBack() }
      try options.fail(answer, status: 1)
    }
    guard !options.json else { return }
    if let edit { print(edit.difference, terminator: "") }
    let allows = answer["approval"]?["allows"]?.asText ?? item.allows
    Messages.say("approved (\(grant)): \(Text.plain(item.text("client") ?? "")) may reach \(Text.plain(allows))")
  }
}

struct RefuseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "refuse",
    abstract: "Refuse a waiting request, or withdraw an approval.",
    discussion: """
      ID is the number that `sluice approvals` prints. The same request of the client
      is refused without asking for one minute, with --always until the gate ends. A
      deny rule in the policy file refuses it permanently.

      Exit status: 0 refused; 1 there is no such entry, or not any more; 2 the gate
      could not be asked.
      """)

  @OptionGroup var options: AdminOptions
  @Argument(help: "The entry's number.", completion: .shellCommand("sluice approvals 2>/dev/null | sed '1d; s/ .*//'"))
  var id: String
  @Flag(help: "Until the gate ends.") var always = false

  func run() throws {
    let (gate, item, _) = try options.find(id)
    let answer = try options.ask(
      .command("refuse", [JSONMember("id", .text(id)), JSONMember("always", .bool(always))]), at: gate)
    guard answer["ok"]?.asBool == true else { try options.fail(answer, status: 1) }
    if !options.json { Messages.say("refused: \(Text.plain(item.text("client") ?? "")), \(item.allows)") }
  }
}

extension AdminOptions {
  /// The gate that has an entry of this number, the entry, and that gate's policy file.
  func find(_ id: String) throws -> (gate: String, item: ApprovalItem, policyFile: String?) {
    for gate in try gates() {
      var found: ApprovalItem?
      var answer = JSONValue.null
      do throws(AdminFailure) {
        var client = try AdminClient(gate)
        answer = try client.ask(.command("approvals", [JSONMember("limit", .number(AdminRequest.tunnelsMax))])) {
          line in
          if let item = ApprovalItem(line, gate: gate), item.id == id { found = item }
        }
      } catch {
        Messages.say("\(error)")
        throw ExitCode(2)
      }
      guard answer["ok"]?.asBool == true else { try fail(answer) }
      if let found { return (gate, found, answer["policy_file"]?.asText) }
    }
    Messages.say("no waiting request has the id \(Text.plain(id)); `sluice approvals` lists them")
    throw ExitCode(1)
  }
}
