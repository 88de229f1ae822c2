// `environment`: the caller's variables that a sandbox sees, and the variables with their own values.
// It relies on Policy.SandboxVariable for the names; values are any text, and never appear in a message.
import Policy
import YAML

struct EnvironmentSection {
  let findings: Findings

  func read(_ node: YAMLNode) -> Settings.Environment {
    var environment = Settings.Environment()
    guard let fields = Fields(node, of: "environment", known: ["pass", "set"], findings) else { return environment }
    for node in fields.list("pass", orSingle: true, example: "[GITHUB_TOKEN, MY_*]") {
      guard let name = passed(node) else { continue }
      if environment.pass.contains(name) { findings.problem(node.mark, "`\(name)` stands twice in `pass`; keep one") }
      environment.pass.append(name)
    }
    if let node = fields.node("set") { environment.set = readSet(node) }
    return environment
  }

  private func passed(_ node: YAMLNode) -> String? {
    guard case .scalar(let text, _) = node.content, !node.isNull else {
      findings.problem(node.mark, "`pass` takes names such as GITHUB_TOKEN or MY_*, not \(node.kindName)")
      return nil
    }
    if text == "*" {
      findings.problem(
        node.mark, "`*` would pass every variable, with all keys and tokens; name them, or their beginning: MY_*")
      return nil
    }
    if text.contains("=") {
      findings.problem(node.mark, "`pass` takes names alone; a value stands under `set`: {NAME: value}")
      return nil
    }
    let isPrefix = text.hasSuffix("*")
    let name = isPrefix ? String(text.dropLast()) : text
    // No variable of `LD_*` may be passed; some of `HO*` may.
    let problem =
      isPrefix && SandboxVariable.isName(name) && !SandboxVariable.isLoading(name) && !SandboxVariable.isReserved(name)
      ? nil : SandboxVariable.problem(passing: name)
    if let problem { findings.problem(node.mark, "`\(text.quotable)`: \(problem)") }
    return problem == nil ? text : nil
  }

  private func readSet(_ node: YAMLNode) -> [Settings.Environment.Variable] {
    guard case .mapping(let pairs) = node.content else {
      findings.problem(node.mark, "`set` takes a mapping such as {EDITOR: vi}, not \(node.kindName)")
      return []
    }
    var variables: [Settings.Environment.Variable] = []
    for (key, value) in pairs {
      guard case .scalar(let name, _) = key.content else {
        findings.problem(key.mark, "a variable's name is a word, not \(key.kindName)")
        continue
      }
      if let problem = SandboxVariable.problem(setting: name) {
        findings.problem(key.mark, "`\(name.quotable)`: \(problem)")
      } else if variables.contains(where: { $0.name == name }) {
        findings.problem(key.mark, "`\(name.quotable)` stands twice in `set`; keep one")
      } else if case .scalar(let text, _) = value.content, !value.isNull, !text.utf8.contains(0) {
        variables.append(Settings.Environment.Variable(name: name, value: text))
      } else {
        findings.problem(value.mark, "`\(name.quotable)` takes a text, not \(value.kindName); an empty one is \"\"")
      }
    }
    return variables
  }
}
