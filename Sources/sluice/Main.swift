// The commands of `sluice`, one file each.
// It relies on swift-argument-parser; standard output is for results, standard error for messages.
import ArgumentParser
import Gate
import Intercept
import YAML

@main
struct Sluice: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sluice",
    abstract: "An egress gate for AI-agent sandboxes: lets out what the policy names, writes down the rest.",
    discussion: """
      A command in a sandbox that lets nothing out, what it tried, a policy of that,
      and the command again:

        sluice run -- ./agent
        sluice log
        sluice learn > agent.yaml
        sluice run --policy agent.yaml -- ./agent

      A gate for others, and who uses it:

        sluice serve --policy agent.yaml
        curl --proxy http://127.0.0.1:3128 https://api.example.com/
      """,
    version: Version.text,
    subcommands: [
      Serve.self, Run.self, Ps.self, Exec.self, Stop.self, Check.self, RedirectCommand.self, CACommand.self,
      Doctor.self, Clean.self, DiffCommand.self,
      TestCommand.self, LogCommand.self, Learn.self, Top.self, DashboardCommand.self, Status.self, MetricsCommand.self,
      Tunnels.self,
      Close.self, Reload.self,
      Drain.self, ApprovalsCommand.self, Approve.self, RefuseCommand.self, ReviewCommand.self, ProfileCommand.self,
      Completions.self,
      VersionCommand.self,
    ])

  /// ArgumentParser suggests options, and not commands.
  static func main() {
    OpenSSL.keepUntilExit()
    if let word = CommandLine.arguments.dropFirst().first, !word.hasPrefix("-"), let advice = advice(on: word) {
      Messages.say("there is no command `\(word.quotable)`; \(advice)")
      exit(withError: ExitCode(64))
    }
    main(nil)
  }

  /// Each command says its name: to take it from the type costs every start a millisecond.
  private static func advice(on word: String) -> String? {
    var names: [String] = []
    for command in configuration.subcommands {
      let own = command.configuration
      if let name = own.commandName { names.append(name) }
      names += own.aliases
    }
    names.append("help")
    return names.contains(word) ? nil : Suggestion.advice(for: word, among: names)
  }
}
