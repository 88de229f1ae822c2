// `sluice tunnels` and `sluice close`: what is let out at this moment, and the end of one of them.
// It relies on the gate to know connections by the number that the log gives them.
import ArgumentParser
import Gate
import Wire

struct Tunnels: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tunnels",
    abstract: "List the open tunnels of a running gate.",
    discussion: """
      Oldest first. A tunnel in state `opening` is connecting to its upstream, or
      waits for the first bytes.

      Exit status: 0, or 2 when the gate could not be asked.
      """)

  @OptionGroup var options: AdminOptions
  @Option(help: ArgumentHelp("At most this many, up to 10000.", valueName: "number")) var limit = 1_000

  func validate() throws {
    guard (1...AdminRequest.tunnelsMax).contains(limit) else {
      throw ValidationError("--limit takes a number from 1 to \(AdminRequest.tunnelsMax).")
    }
  }

  func run() throws {
    var rows = [["ID", "CLIENT", "TARGET", "ADDRESS", "UP", "DOWN", "AGE", "IDLE", "STATE", "RULE"]]
    let answer = try options.ask(.command("tunnels", [JSONMember("limit", .number(limit))])) { line in
      if let tunnel = line["tunnel"] { rows.append(Self.row(tunnel)) }
    }
    guard answer["ok"]?.asBool == true else { try options.fail(answer) }
    guard !options.json else { return }
    print(Text.table(rows))
    if answer["more"]?.asBool == true { Messages.say("there may be more than \(limit); see --limit") }
  }

  private static func row(_ tunnel: JSONValue) -> [String] {
    func word(_ name: String) -> String { Text.plain(tunnel[name]?.asText ?? "-") }
    func number(_ name: String) -> Int { tunnel[name]?.asNumber ?? 0 }
    let host = word("host")
    let target =
      host.contains(":") && !host.hasPrefix("[") ? "[\(host)]:\(number("port"))" : "\(host):\(number("port"))"
    return [
      word("id"), word("client"), target, word("address"), Text.bytes(number("bytes_up")),
      Text.bytes(number("bytes_down")), Text.duration(ms: number("age_ms")), Text.duration(ms: number("idle_ms")),
      word("state"), word("rule"),
    ]
  }
}

struct Close: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "close",
    abstract: "Cut one tunnel of a running gate.",
    discussion: """
      ID is what `sluice tunnels` shows. Both ends see a reset; the log line is
      `revoked`, with the reason `shutdown`.

      Exit status: 0 the tunnel was cut; 1 there is no such tunnel, or not any more;
      2 the gate could not be asked.
      """)

  @OptionGroup var options: AdminOptions
  @Argument(
    help: "The tunnel's number.",
    completion: .shellCommand("sluice tunnels 2>/dev/null | sed '1d; s/ .*//'"))
  var id: String

  func validate() throws {
    if AdminRequest.id(id) == nil { throw ValidationError("ID is a number such as 1f or 1f-2; got \(id).") }
  }

  func run() throws {
    let answer = try options.ask(.command("close", [JSONMember("id", .text(id))]))
    guard answer["ok"]?.asBool == true else {
      try options.fail(answer, status: answer["gone"]?.asBool == true ? 1 : 2)
    }
    if !options.json { Messages.say("cut: \(id)") }
  }
}
