// `sluice reload` and `sluice drain`: SIGHUP and SIGTERM, for whoever wants to know what came of them.
// It relies on the gate to read its own file: nothing of a policy goes over the socket.
import ArgumentParser
import Gate
import Wire

struct Reload: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reload",
    abstract: "Make a running gate reload its policy file, and print the changes.",
    discussion: """
      Prints the rules and limits that were added (+), removed (-) and changed (~),
      and how many tunnels the new policy cut. Also reopens the log, as SIGHUP does.

      Exit status: 0 the file is in force; 2 it has problems, which are printed, and
      the old policy stays; or the gate could not be asked.
      """)

  @OptionGroup var options: AdminOptions

  func run() throws {
    let answer = try options.ask(.command("reload"))
    guard answer["ok"]?.asBool == true else {
      if !options.json { Self.say(answer["problems"]) }
      try options.fail(answer)
    }
    guard !options.json else { return }
    Self.say(answer["notes"])
    let changes = answer["changes"]?.asList ?? []
    for change in changes { print(Text.plain(change.asText ?? "")) }
    if let more = answer["more_changes"]?.asNumber, more > 0 { print("and \(more) more") }
    let cut = answer["cut"]?.asNumber ?? 0
    let what = changes.isEmpty ? "unchanged" : "in force"
    print("policy \(Text.plain(answer["policy"]?.asText ?? "")) is \(what); \(cut) tunnel\(cut == 1 ? "" : "s") cut")
  }

  private static func say(_ texts: JSONValue?) {
    for text in texts?.asList ?? [] { Messages.say(Text.plain(text.asText ?? "")) }
  }
}

struct Drain: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain",
    abstract: "Let a running gate finish its open connections, then end.",
    discussion: """
      As SIGTERM does: new connections are refused, open ones have `timeouts.drain`
      to finish. The command returns at once.

      Exit status: 0, or 2 when the gate could not be asked.
      """)

  @OptionGroup var options: AdminOptions

  func run() throws {
    let answer = try options.demand(.command("drain"))
    if !options.json { Messages.say("draining \(answer["connections"]?.asNumber ?? 0) connections") }
  }
}
