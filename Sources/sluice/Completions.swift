// `sluice completions`: what a shell needs to complete the commands; and the values that options complete to.
// It relies on swift-argument-parser, which makes the script from the commands themselves.
import ArgumentParser

struct Completions: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "completions",
    abstract: "Print a completion script for a shell.",
    discussion: """
      The Debian package installs the scripts. By hand:

        sluice completions bash > ~/.local/share/bash-completion/completions/sluice
        sluice completions zsh > ~/.zfunc/_sluice
        sluice completions fish > ~/.config/fish/completions/sluice.fish

      For zsh the folder must be in its fpath before compinit runs: fpath+=~/.zfunc
      in ~/.zshrc.
      """)

  @Argument(help: "The shell.") var shell: Shell

  enum Shell: String, CaseIterable, ExpressibleByArgument { case bash, zsh, fish }

  func run() {
    let shell: CompletionShell =
      switch shell {
      case .bash: .bash
      case .zsh: .zsh
      case .fish: .fish
      }
    print(Sluice.completionScript(for: shell))
  }
}

extension CompletionKind {
  static var policy: CompletionKind { .file(extensions: ["yaml", "yml"]) }
  static var sandboxes: CompletionKind { .shellCommand("sluice ps 2>/dev/null | sed '1d; s/ .*//'") }
  /// Without a colon, which ends the word in zsh.
  static var users: CompletionKind { .shellCommand("getent passwd | sed 's/[^a-zA-Z0-9_.-].*//'") }
}
