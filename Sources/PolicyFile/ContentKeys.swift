// `content_policy`, and `content` of a rule: the checks of requests and answers, and the actions on findings. It
// relies on Intercept to read the pattern file, and for the list of patterns.
import Policy
import Wire
import YAML

struct ContentKeys {
  private static let keys = [
    "max_response_bytes", "on_too_large", "strip_html", "flag_instructions", "patterns", "threshold", "muted",
    "secrets", "unchecked",
  ]

  let findings: Findings
  let files: PolicyFiles
  let hasApprovals: Bool

  /// Missing keys keep the value of `defaults`.
  func read(_ node: YAMLNode, of name: String, over defaults: ContentPolicy = ContentPolicy()) -> ContentPolicy {
    var content = defaults
    let problemsBefore = findings.problems.count
    guard let fields = Fields(node, of: name, known: Self.keys, findings) else { return content }
    content.maxResponseBytes = fields.bytes("max_response_bytes", 1...1 << 40) ?? content.maxResponseBytes
    content.onTooLarge = fields.choice("on_too_large", ContentPolicy.OnTooLarge.self) ?? content.onTooLarge
    content.stripsHTML = fields.flag("strip_html") ?? content.stripsHTML
    content.flagInstructions =
      fields.choice("flag_instructions", ContentPolicy.OnInstructions.self) ?? content.flagInstructions
    content.secrets = fields.choice("secrets", ContentPolicy.OnSecrets.self) ?? content.secrets
    content.threshold = fields.integer("threshold", 1...100) ?? content.threshold
    content.onUnchecked = fields.choice("unchecked", ContentPolicy.OnUnchecked.self) ?? content.onUnchecked
    if let (path, bytes, _) = files.file("patterns", fields, example: "/etc/sluice/patterns.yaml") {
      content.patterns = UpstreamTLS.PEM(path: path, bytes: bytes)
    }
    if fields.has("muted") { content.muted = readMuted(fields) }
    for (key, isReview) in [
      ("flag_instructions", content.flagInstructions == .review), ("secrets", content.secrets == .review),
    ] where fields.has(key) && isReview && !hasApprovals {
      findings.problem(
        fields.mark(of: key),
        "`\(key): review` waits for a person, and the file has no `approvals`; add approvals: {wait_seconds: 120} and "
          + "listen: {admin: PATH}, or write `\(key): block`")
    }
    if fields.has("on_too_large"), content.maxResponseBytes == nil {
      findings.problem(fields.mark(of: "on_too_large"), "`on_too_large` needs `max_response_bytes`")
    }
    for key in ["patterns", "threshold", "muted"] where fields.has(key) && content.flagInstructions == nil {
      findings.problem(fields.mark(of: key), "`\(key)` needs `flag_instructions: log`, `annotate`, `block` or `review`")
    }
    if fields.has("unchecked"), !content.stripsHTML, content.flagInstructions == nil, content.secrets == nil {
      findings.problem(
        fields.mark(of: "unchecked"), "`unchecked` needs a check: strip_html, flag_instructions or secrets")
    }
    if content.checksNothing, findings.problems.count == problemsBefore {
      findings.problem(
        node.mark, "`\(name)` checks nothing; give it max_response_bytes, strip_html, flag_instructions or secrets")
    }
    return content
  }
  private func readMuted(_ fields: Fields) -> Set<String> {
    var muted: Set<String> = []
    for node in fields.list("muted", orSingle: true, example: "[ignore-previous]") {
      guard case .scalar(let text, _) = node.content, !node.isNull, !text.isEmpty else {
        findings.problem(
          node.mark, "`muted` takes names of patterns, as the log's `what` has them, not \(node.kindName)")
        continue
      }
      if !muted.insert(text).inserted {
        findings.problem(node.mark, "\(text.quotable) stands twice in `muted`; keep one")
      }
    }
    return muted
  }
}
