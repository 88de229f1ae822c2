// `approvals`: settings for requests that wait for a person: the waiting time, and the notifiers.
// It relies on the notifier to read the secret; the content of that file is never printed.
import Policy
import Wire
import YAML

struct ApprovalsSection {
  private static let waitSecondsMax = 3_600

  let findings: Findings
  let files: PolicyFiles

  func read(_ node: YAMLNode) -> Settings.Approvals {
    var approvals = Settings.Approvals()
    let keys = ["wait_seconds", "per_client", "notify"]
    guard let fields = Fields(node, of: "approvals", known: keys, findings) else { return approvals }
    approvals.waitMs = waitMs(fields) ?? approvals.waitMs
    approvals.perClient = fields.integer("per_client", 1...1000) ?? approvals.perClient
    approvals.notify = fields.list("notify", example: "[{webhook: https://ops.example/hook}]").compactMap(notifier)
    return approvals
  }

  /// Zero is a value of its own here: list the request, and do not wait.
  private func waitMs(_ fields: Fields) -> UInt64? {
    if case .scalar("0", isPlain: true)? = fields.node("wait_seconds")?.content { return 0 }
    return fields.seconds("wait_seconds", 0...Self.waitSecondsMax)
  }

  private func notifier(_ node: YAMLNode) -> Settings.Approvals.Notifier? {
    let keys = ["webhook", "secret_file", "command"]
    guard let fields = Fields(node, of: "a notifier", known: keys, findings) else { return nil }
    guard fields.has("webhook") != fields.has("command") else {
      if !fields.hasUnknown {
        findings.problem(
          node.mark, "a notifier is either webhook: https://HOST/PATH or command: [PROGRAM, ARGUMENT]; give one of them"
        )
      }
      return nil
    }
    return fields.has("webhook") ? webhook(fields) : command(fields)
  }

  private func webhook(_ fields: Fields) -> Settings.Approvals.Notifier? {
    var secretFile: String?
    if fields.has("secret_file") {
      guard let (path, bytes, mark) = files.file("secret_file", fields, example: "/run/secrets/hook") else {
        return nil
      }
      guard bytes.contains(where: { $0 > 0x20 }) else {
        findings.problem(mark, "\(path.quotable) is empty; write the secret that signs what is sent into it")
        return nil
      }
      secretFile = path
    }
    guard let url = fields.text("webhook", example: "https://ops.example/hook") else { return nil }
    let isWhole = ["https://", "http://"].contains { url.hasPrefix($0) && url.utf8.count > $0.utf8.count }
    guard isWhole, url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
      findings.problem(
        fields.node("webhook")?.mark ?? fields.mark, "`webhook` takes an address such as https://ops.example/hook")
      return nil
    }
    return .webhook(url: url, secretFile: secretFile)
  }

  private func command(_ fields: Fields) -> Settings.Approvals.Notifier? {
    if fields.has("secret_file") {
      findings.problem(
        fields.mark(of: "secret_file"), "`secret_file` signs what goes to a webhook; a command has no use for it")
    }
    let example = "[/usr/local/bin/ask, --loud]"
    var words: [String] = []
    for node in fields.list("command", orSingle: true, example: example) {
      guard case .scalar(let word, _) = node.content, !node.isNull, !word.isEmpty, !word.utf8.contains(0) else {
        findings.problem(node.mark, "a word of `command` is a text, as in \(example), not \(node.kindName)")
        return nil
      }
      words.append(word)
    }
    if words.isEmpty {
      findings.problem(fields.mark(of: "command"), "`command` names no program; write a list such as \(example)")
      return nil
    }
    return .command(words)
  }
}
