// The commands of `sluice`, one file each.
// It relies on swift-argument-parser; standard output is for results, standard error for messages.
import ArgumentParser
import Gate

@main
struct Sluice: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sluice",
    abstract: "An egress gate for AI-agent sandboxes: lets out what the policy names, writes down the rest.",
    version: Version.text,
    subcommands: [
      Serve.self, Run.self, Check.self, RedirectCommand.self, CACommand.self, Doctor.self, Clean.self, DiffCommand.self,
      TestCommand.self, LogCommand.self, Learn.self, Top.self, DashboardCommand.self, Status.self, Tunnels.self,
      Close.self, Reload.self,
      Drain.self,
    ])
}
