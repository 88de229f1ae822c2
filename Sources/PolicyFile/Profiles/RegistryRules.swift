// `network_policy.registries`: tools whose package registries are allowed, each host as an ordinary allow rule.
// Relies on ToolSettings for the hosts; a tool that is set to none allows nothing, and a warning says which line to
// write.
package import Policy
import YAML

/// One load of a policy: what each tool said, for the rules and for a sandbox.
package final class RegistryAnswers {
  private let ask: (Registry) -> RegistryAnswer
  package private(set) var all: [RegistryAnswer] = []

  package init(_ ask: @escaping (Registry) -> RegistryAnswer = { RegistryAnswer($0) }) { self.ask = ask }

  fileprivate func answer(_ registry: Registry) -> RegistryAnswer {
    if let known = all.first(where: { $0.registry == registry }) { return known }
    let answer = ask(registry)
    all.append(answer)
    return answer
  }
}

struct RegistryRules {
  let findings: Findings
  let answers: RegistryAnswers

  /// Entries for `allow`, in the place of each entry of `registries`.
  func entries(_ fields: Fields) -> [YAMLNode] {
    var targets: Set<String> = []
    var seen: [Registry: Mark] = [:]
    var entries: [YAMLNode] = []
    for node in fields.list("registries", orSingle: true, example: "[pip, npm]") {
      guard case .scalar(let text, _) = node.content, let registry = Registry(rawValue: text) else {
        let known = Registry.allCases.map(\.rawValue)
        findings.problem(node.mark, "`registries` takes \(known.joined(separator: ", ")), not \(node.shown)")
        continue
      }
      if let before = seen[registry] {
        if before.file == node.mark.file {
          findings.problem(node.mark, "`\(text)` stands twice in `registries`; keep one")
        }
        continue
      }
      seen[registry] = node.mark
      let answer = answers.answer(registry)
      if answer.targets.isEmpty { findings.warn(node.mark, registry.lack) }
      for place in answer.passwords {
        findings.warn(
          node.mark,
          "\(place) holds a password for \(registry.rawValue), which a sandbox is not shown; "
            + "write it as one of `credentials`")
      }
      for target in answer.targets where targets.insert(target).inserted {
        entries.append(YAMLNode(content: .scalar(target, isPlain: false), mark: node.mark))
      }
    }
    return entries
  }
}

extension Registry {
  /// Said where the tool's settings name no host.
  fileprivate var lack: String {
    let line =
      switch self {
      case .pip: "`index-url = https://HOST/simple` below [global] in ~/.config/pip/pip.conf"
      case .npm: "`registry=https://HOST/` in ~/.npmrc"
      case .cargo: "`index = \"sparse+https://HOST/index/\"` below [registries.NAME] in ~/.cargo/config.toml"
      case .maven: "a <mirror> with its <url> in ~/.m2/settings.xml"
      case .apt: "`deb https://HOST/debian SUITE main` in /etc/apt/sources.list"
      }
    return "your settings of \(rawValue) name no registry, so no package can be fetched; write \(line), "
      + "or HOST:443 in `allow`"
  }
}
