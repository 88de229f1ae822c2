import ArgumentParser

@main
struct Sluice: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "sluice", abstract: "An egress gate for AI-agent sandboxes.")
}
