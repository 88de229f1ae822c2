// `sluice ps`: the sandboxes of this user that run at this moment.
// It relies on the records that each `sluice run` keeps while its command runs.
import ArgumentParser
import Gate
import Kernel
import Wire

struct Ps: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ps",
    abstract: "List the running sandboxes.",
    discussion: """
      Lists the sandboxes that this user started with `sluice run`, oldest first.
      `sluice exec` and `sluice stop` take the NAME, or the ID where several
      sandboxes have the same name.
      """)

  @Flag(help: "One JSON object per line.") var json = false

  func run() throws {
    let records = SandboxRecord.all()
    if json {
      for record in records { print(Text(record.value)) }
      return
    }
    let nowMs = Clock.wallMs()
    let rows = records.map { record in
      [
        record.name, record.id,
        Text.duration(ms: Int(clamping: max(nowMs, record.startedWallMs) - record.startedWallMs)),
        Text.plain(record.workspace), Text.plain(record.command.joined(separator: " ")),
      ]
    }
    print(Text.table([["NAME", "ID", "AGE", "WORKSPACE", "COMMAND"]] + rows))
  }
}
