// `sluice review`: flagged content that waits for a person, shown as harmless text, and what becomes of it.
// It relies on the gate to hold the content, and on TerminalText: not a byte of a passage reaches a terminal raw.
import ArgumentParser
import Gate
import Kernel
import LogView
import Wire

struct ReviewCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "review",
    abstract: "Show flagged content that waits for a decision, and decide.",
    discussion: """
      ID is what `sluice approvals` shows. Without an option the passages are shown,
      with what stands around them; of a secret only its kind and its place. Where
      the content is held, a decision is for the requests that wait; where it could
      not be held, as in a stream, for the next answer with the same passages, within
      5 minutes.

      --mute changes the policy file: the patterns count no more in answers that the
      rule of this host lets in. The difference is shown, and the gate reloads.

      Exit status: 0 shown or decided; 1 there is no such entry, or not any more, or
      it cannot be decided so; 2 the gate could not be asked.
      """)

  @OptionGroup var options: AdminOptions
  @Argument(
    help: "The entry's number.", completion: .shellCommand("sluice approvals 2>/dev/null | sed '1d; s/ .*//'"))
  var id: String
  @Flag(help: "Let it through unchanged.") var release = false
  @Flag(help: "Let the answer through with a mark in front of each passage.") var mark = false
  @Flag(help: "Let the answer through without the passages, where its format allows that.") var remove = false
  @Flag(help: "Refuse it.") var refuse = false
  @Flag(help: "Let it through, and ignore its patterns for this host from now on.") var mute = false

  func validate() throws {
    if [release, mark, remove, refuse].count(where: { $0 }) > 1 {
      throw ValidationError("Give one of --release, --mark, --remove and --refuse.")
    }
    if mute && refuse { throw ValidationError("--mute lets the content through; it does not go with --refuse.") }
  }

  func run() throws {
    let (gate, item, file) = try options.find(id)
    guard item.isContent else {
      Messages.say("\(item.id) is no flagged content; `sluice approve \(item.id)` lets it out")
      throw ExitCode(1)
    }
    if refuse {
      let answer = try options.ask(.command("refuse", [JSONMember("id", .text(id))]), at: gate)
      guard answer["ok"]?.asBool == true else { try options.fail(answer, status: 1) }
      return say("refused: \(item.allows)")
    }
    guard release || mark || remove || mute else { return try show(at: gate) }
    let edit = try mute ? mutedRule(item, file) : nil
    let decision = mark ? "mark" : remove ? "remove" : "release"
    let answer = try options.ask(
      .command("review", [JSONMember("id", .text(id)), JSONMember("decision", .text(decision))]), at: gate)
    guard answer["ok"]?.asBool == true else { try options.fail(answer, status: 1) }
    say("let through (\(decision)): \(item.allows)")
    if let edit { try put(edit, at: gate) }
  }

  private func say(_ text: String) {
    if !options.json { Messages.say(text) }
  }

  // MARK: - Mute

  private func mutedRule(_ item: ApprovalItem, _ file: String?) throws -> ForeverRule {
    guard item.text("content") == "answer" else {
      Messages.say("secrets cannot be muted; `secrets: log` in the rule lets them out")
      throw ExitCode(1)
    }
    do throws(ForeverRule.Problem) { return try ForeverRule(muting: item, file: file) } catch {
      Messages.say("\(error)")
      throw ExitCode(1)
    }
  }

  private func put(_ edit: ForeverRule, at gate: String) throws {
    do throws(SystemError) { try edit.write() } catch {
      Messages.say("the policy file cannot be written: \(error); nothing is muted")
      throw ExitCode(1)
    }
    let answer = try options.ask(.command("reload"), at: gate)
    guard answer["ok"]?.asBool == true else {
      edit.takeBack()
      try options.fail(answer, status: 1)
    }
    if !options.json { print(edit.difference, terminator: "") }
  }

  // MARK: - What is shown

  private func show(at gate: String) throws {
    let answer = try options.ask(.command("review", [JSONMember("id", .text(id))]), at: gate)
    guard answer["ok"]?.asBool == true else { try options.fail(answer, status: 1) }
    guard !options.json, let approval = answer["approval"] else { return }
    func word(_ value: JSONValue?) -> String { TerminalText.safe((value?.asText ?? "-").utf8) }
    func words(_ name: String) -> String {
      (approval[name]?.asList ?? []).map { word($0) }.joined(separator: ", ")
    }
    let left = approval["left_ms"]?.asNumber.map { ", \(Text.duration(ms: $0)) left" } ?? ""
    let path = approval["path"].map { " \(word($0))" } ?? ""
    var lines = [
      "id      \(word(approval["id"])) (\(word(approval["state"]))\(left))",
      "client  \(word(approval["client"]))",
      "target  \(word(approval["host"])):\(approval["port"]?.asNumber ?? 0)\(path)",
      "in      \(word(approval["place"]))", "found   \(words("found"))",
    ]
    let passages = answer["passages"]?.asList ?? []
    for passage in passages {
      lines += Self.shown(passage, name: word(passage["pattern"]), layer: word(passage["layer"]))
    }
    if let more = answer["left_out"]?.asNumber, more > 0 { lines += ["", "and \(more) more passages"] }
    let choices = approval["choices"]?.asList.map { "--\(word($0))" } ?? []
    lines += ["", "decide with \(choices.joined(separator: ", "))"]
    print(lines.joined(separator: "\n"))
  }

  /// Each line has its front written here: no text of a passage can pass for another line.
  private static func shown(_ passage: JSONValue, name: String, layer: String) -> [String] {
    let place = layer == "plain" ? "" : layer == "hidden" ? " (in hidden text)" : " (in \(layer))"
    var lines = ["", "\(name)\(place):"]
    for (front, key) in [("  before | ", "before"), ("  FOUND  | ", "text"), ("  after  | ", "after")] {
      let text = passage[key]?.asText ?? ""
      for line in text.split(separator: "\n", omittingEmptySubsequences: true) {
        lines.append(front + TerminalText.safe(line.utf8))
      }
    }
    return lines
  }
}
