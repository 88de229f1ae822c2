// Changes from one policy to another, for the operator: rules, limits, clients and settings, one line each.
// It relies on PolicyFacts for the facts; rules with the same hosts and ports count as the same rule, as for buckets.
import Wire

package struct ReloadSummary: Sendable {
  /// `+ …` is new, `- …` is gone, `~ …` has changed.
  package let lines: [String]

  package init(from old: Policy, to new: Policy) {
    var lines = Self.changes(old.settingsFacts, new.settingsFacts).map { "~ \($0)" }
    let shared = Self.network(old.fallback.network, new.fallback.network)
    lines += shared
    let before = Dictionary(old.clients.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let after = Dictionary(new.clients.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    for client in old.clients where after[client.name] == nil { lines.append("- client \(client.name)") }
    for client in new.clients {
      guard let was = before[client.name] else {
        lines.append("+ client \(client.name)")
        continue
      }
      if client.sources != was.sources { lines.append("~ client \(client.name): source") }
      if client.proxyUser != was.proxyUser || client.passwordHash != was.passwordHash {
        lines.append("~ client \(client.name): proxy user or password")
      }
      let own = Self.network(was.network, client.network)
      // A client without own rules has the file's, whose changes are listed already.
      if own != shared { lines += own.map { "\($0.prefix(2))client \(client.name): \($0.dropFirst(2))" } }
    }
    self.lines = lines
  }

  private static func changes(_ old: [PolicyFact], _ new: [PolicyFact]) -> [String] {
    PolicyFact.changes(old, new).map { "\($0.name) \($0.change)" }
  }

  private static func network(_ old: NetworkPolicy, _ new: NetworkPolicy) -> [String] {
    var lines: [String] = []
    if old.defaultAllows != new.defaultAllows { lines.append("~ default -> \(new.defaultAllows ? "allow" : "deny")") }
    if old.isReportOnly != new.isReportOnly { lines.append("~ mode -> \(new.isReportOnly ? "report" : "enforce")") }
    lines += difference(
      "deny", old.deny.map { "\($0.pattern):\($0.ports)" }, new.deny.map { "\($0.pattern):\($0.ports)" })
    var before: [RuleKey: AllowRule] = [:]
    for rule in old.allow { before[rule.key] = rule }
    lines += difference("allow", old.allow.map(\.text), new.allow.map(\.text))
    for rule in new.allow {
      guard let was = before[rule.key] else { continue }
      let changed = changes(was.facts(), rule.facts())
      if !changed.isEmpty { lines.append("~ allow \(rule.text): \(changed.joined(separator: ", "))") }
    }
    return lines
  }

  private static func difference(_ word: String, _ old: [String], _ new: [String]) -> [String] {
    let (before, after) = (Set(old), Set(new))
    return old.filter { !after.contains($0) }.map { "- \(word) \($0)" }
      + new.filter { !before.contains($0) }.map { "+ \(word) \($0)" }
  }
}
