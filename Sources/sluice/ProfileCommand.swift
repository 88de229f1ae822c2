// `sluice profile`: the policy fragments that come with Sluice, to be read before they are used.
// Relies on PolicyFile.Profiles; nothing is looked up, and no sandbox is made.
import ArgumentParser
import Gate
import PolicyFile
import Wire
import YAML

struct ProfileCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "profile",
    abstract: "Policy fragments for tools and agents.",
    discussion: """
      A profile is a policy fragment: the hosts, files, variables and limits that one
      tool needs. Use it with `sluice run --profile NAME`, or in a policy file with
      `include: [profile:NAME]`.

        sluice profile list
        sluice profile show python
        sluice run --profile python --profile github -- bash
      """,
    subcommands: [List.self, Show.self])

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the profiles with their purpose.")
    @Flag(help: "One JSON object per line.") var json = false

    func run() {
      let width = Profiles.names.map(\.utf8.count).max() ?? 0
      for name in Profiles.names {
        let summary = Profiles.summary(of: name) ?? ""
        if json {
          print(JSONText.object([("name", name), ("summary", summary)]))
        } else {
          print(name + String(repeating: " ", count: width + 2 - name.utf8.count) + summary)
        }
      }
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the policy fragment of a profile.")
    @Argument(help: "A name printed by `sluice profile list`.", completion: .profiles) var name: String

    func run() throws {
      guard let bytes = Profiles.text(of: name) else {
        Messages.say("there is no profile `\(name.quotable)`; \(Self.advice(on: name))")
        throw ExitCode(2)
      }
      print(String(decoding: bytes, as: UTF8.self), terminator: "")
    }

    static func advice(on name: String) -> String { Suggestion.advice(for: name, among: Profiles.names) }
  }

  /// The problem with names on a command line; nil where all are known.
  static func problem(_ names: [String]) -> String? {
    guard let unknown = names.first(where: { Profiles.text(of: $0) == nil }) else { return nil }
    return "--profile \(unknown.quotable): there is no such profile; \(Show.advice(on: unknown))"
  }
}

extension CompletionKind {
  static var profiles: CompletionKind { .list(Profiles.names) }
}
