// One allow rule without a file, as a person gives it with an approval.
// It relies on the readers of the policy file: the text has the meaning of an item of `allow`.
package import Policy
import YAML

extension PolicyFile {
  package struct RuleTextProblem: Error, CustomStringConvertible { package let description: String }

  /// `HOST:PORT`, or a mapping in braces. Without `credentials`: those have names that only a file gives them.
  package static func rule(_ text: String, nowUnix: Int64) throws(RuleTextProblem) -> AllowSpec {
    guard !text.utf8.contains(where: { $0 < 0x20 }), !text.isEmpty else {
      throw RuleTextProblem(description: "a rule is one line, such as api.example.com:443")
    }
    let item = text.hasPrefix("{") || text.hasPrefix("\"") ? text : PolicyEdit.item(text)
    // Add `approvals`: such a rule is given only where people are asked.
    let file = "network_policy:\n  allow:\n    - \(item)\napprovals: {wait_seconds: 120}\n"
    let loaded = parse(bytes: Array(file.utf8), name: "rule", nowUnix: nowUnix)
    if let problem = loaded.problems.first { throw RuleTextProblem(description: problem.text) }
    guard let rules = loaded.policy?.fallback.spec.network.allow, rules.count == 1, let rule = rules.first else {
      throw RuleTextProblem(description: "this is not one rule; write HOST:PORT, or {host: HOST:PORT, methods: [GET]}")
    }
    return rule
  }
}
