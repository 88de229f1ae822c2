// `sluice status`: what a running gate is, what it has let out and refused, and whether its log is written.
// It relies on the gate's own counters: it adds nothing up but reasons of refusals.
import ArgumentParser
import Gate
import Wire

struct Status: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Show the state of a running gate.",
    discussion: """
      Exit status: 0 the gate serves; 1 it drains, or cannot write its log; 2 it
      could not be asked. With --ready: 0 new tunnels are allowed, 1 none is; the
      same as GET /ready of `listen.metrics`.
      """)

  @OptionGroup var options: AdminOptions
  @Flag(help: "Print only why the gate is not ready. For probes.") var ready = false

  func run() throws {
    let status = try options.demand(.command("status"))
    if ready {
      guard let why = status["unready"]?.asText else { return }
      Messages.say(Text.plain(why))
      throw ExitCode(1)
    }
    if !options.json { print(Self.text(status)) }
    let isWritten = status["log"]?["writable"]?.asBool == true
    if status["draining"]?.asBool == true || !isWritten { throw ExitCode(1) }
  }

  private static func text(_ status: JSONValue) -> String {
    func number(_ name: String) -> Int { status[name]?.asNumber ?? 0 }
    func word(_ value: JSONValue?) -> String { Text.plain(value?.asText ?? "") }
    let listeners = (status["listeners"]?.asList ?? []).map { one in
      "\(word(one["address"])) (\(word(one["door"]))\(one["tls"]?.asBool == true ? " over TLS" : ""))"
    }
    let metrics = status["metrics"]?.asText.map { ["\(Text.plain($0)) (metrics)"] } ?? []
    let places = ["\(word(status["admin"])) (admin)"] + metrics
    let sandboxes = (status["sandboxes"]?.asList ?? []).map { word($0) }
    let log = status["log"]
    let waiting = log?["waiting_bytes"]?.asNumber ?? 0
    let state =
      log?["writable"]?.asBool == true ? (waiting > 0 ? "\(waiting) bytes wait" : "written") : "CANNOT BE WRITTEN"
    var rows = [
      [
        "gate",
        "sluice \(word(status["version"])), process \(number("pid")), up \(Text.duration(ms: number("uptime_ms")))",
      ],
      ["policy", "\(status["policy"]?["file"]?.asText.map(Text.plain) ?? "none"), \(word(status["policy"]?["hash"]))"],
      ["listening", (listeners + places).joined(separator: ", ")],
      ["open", "\(number("open")) let out, \(number("connections")) connections of \(number("connections_max"))"],
      [
        "so far",
        "\(number("tunnels")) tunnels, \(number("requests")) requests, \(Text.bytes(number("bytes_up"))) up, "
          + "\(Text.bytes(number("bytes_down"))) down; \(number("queries")) DNS queries",
      ],
      ["refused", reasons(status, ["denied", "limited"])],
      ["failed", reasons(status, ["failed"])],
      ["cut", reasons(status, ["revoked"])],
      ["log", "\(log?["file"]?.asText.map(Text.plain) ?? "standard output"): \(state)"],
    ]
    if let limits = status["shared_limits"], limits["state"] != nil { rows.append(["shared limits", shared(limits)]) }
    if number("would_deny") > 0 { rows.append(["would deny", "\(number("would_deny")) (report mode)"]) }
    if !sandboxes.isEmpty { rows.append(["sandboxes", sandboxes.joined(separator: ", ")]) }
    if status["draining"]?.asBool == true { rows.append(["draining", "no new connections"]) }
    if status["whole"]?.asBool == false { rows.append(["incomplete", "a worker did not answer in time"]) }
    return Text.table(rows)
  }

  private static func shared(_ limits: JSONValue) -> String {
    func word(_ name: String) -> String { Text.plain(limits[name]?.asText ?? "") }
    let gates = limits["gates"]?.asNumber ?? 0
    let group = "\(word("redis")), group \(word("group"))"
    switch word("state") {
    case "shared": return "\(group): \(gates) gate\(gates == 1 ? "" : "s")"
    case "joining": return "\(group): being asked"
    default: return "OUT OF REACH (on_loss: \(word("on_loss"))): \(word("problem"))"
    }
  }

  private static func reasons(_ status: JSONValue, _ events: [String]) -> String {
    var (all, reasons): (Int, [String]) = (0, [])
    for event in events {
      for member in status[event]?.members ?? [] {
        let count = member.value.asNumber ?? 0
        if member.name == "all" { all += count } else { reasons.append("\(Text.plain(member.name)) \(count)") }
      }
    }
    return reasons.isEmpty ? "\(all)" : "\(all): \(reasons.joined(separator: ", "))"
  }
}
