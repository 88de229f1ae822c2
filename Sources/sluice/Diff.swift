// `sluice diff`: what a change of the policy lets out and shuts.
// It relies on Policy.PolicyDiff, which asks both policies; no file but the two is read.
import ArgumentParser
import Kernel
import Policy
import Wire

struct DiffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff",
    abstract: "Show what a policy change allows and refuses.",
    discussion: """
      Prints a line for each client and target that is newly allowed, newly refused,
      or allowed with other limits (rates, addresses, protocol, expiry); then other
      changed settings. Moving or rewording a rule is not a change.

      Exit status: 0 the same, 1 different, 2 an error.
      """)

  @Argument(help: "The old policy file.", completion: .policy) var old: String
  @Argument(help: "The new policy file.", completion: .policy) var new: String
  @Flag(help: "One JSON object per line.") var json = false

  func run() throws {
    let before = PolicyOnDisk.load(old)
    guard let before, let after = PolicyOnDisk.load(new) else { throw ExitCode(2) }
    let diff = PolicyDiff(from: before, to: after, nowUnix: Clock.wallMs() / 1000)
    for change in diff.changes { print(json ? change.json : change.text) }
    if !diff.changes.isEmpty { throw ExitCode(1) }
  }
}

extension PolicyChange {
  fileprivate var text: String {
    let word =
      switch kind {
      case .letsOut: "lets out"
      case .shuts: "shuts"
      case .changes: "changes"
      case .other: "note"
      }
    var parts = [word.padded(8), (client.map { "client \($0)" } ?? "file"), target ?? ""].filter { !$0.isEmpty }
    parts.append(details.joined(separator: ", "))
    return parts.joined(separator: "  ") + (line.map { "  (\($0))" } ?? "")
  }

  fileprivate var json: String {
    var line: [UInt8] = Array("{".utf8)
    JSONText.appendString("kind", to: &line)
    line.append(UInt8(ascii: ":"))
    JSONText.appendString(kind.rawValue, to: &line)
    if let client { line += JSONText.field("client", client) }
    if let target { line += JSONText.field("target", target) }
    line += Array(#","details":["#.utf8)
    for (index, detail) in details.enumerated() {
      if index > 0 { line.append(UInt8(ascii: ",")) }
      JSONText.appendString(detail, to: &line)
    }
    line.append(UInt8(ascii: "]"))
    if let source = self.line { line += source.logField }
    return String(decoding: line, as: UTF8.self) + "}"
  }
}

extension String {
  fileprivate func padded(_ width: Int) -> String { self + String(repeating: " ", count: max(0, width - utf8.count)) }
}
