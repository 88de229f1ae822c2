// What only the whole of the rules shows: duplicates, rules that deny hides, limits that cover nothing.
// It relies on looking up what could cover a pattern instead of comparing all pairs: ten thousand rules load at once.
import Policy
import Wire
import YAML

/// A rule and the place that a message about it names.
struct Located<Rule> {
  var rule: Rule
  var mark: Mark
}

struct RuleChecks {
  private struct Key: Hashable {
    var pattern: HostPattern
    var ports: PortSet
  }

  let findings: Findings
  let deny: [Located<DenyRule>]
  let allow: [Located<AllowSpec>]
  let limits: [Located<RateLimit>]

  func check() {
    checkDuplicates(deny.map { (Key(pattern: $0.rule.pattern, ports: $0.rule.ports), $0.mark) }, "deny rule")
    checkDuplicates(allow.map { (Key(pattern: $0.rule.pattern, ports: $0.rule.ports), $0.mark) }, "allow rule")
    checkDuplicates(limits.map { (Key(pattern: $0.rule.pattern, ports: $0.rule.ports), $0.mark) }, "rate limit")
    checkDenied()
    checkLimits()
  }

  private func checkDuplicates(_ rules: [(key: Key, mark: Mark)], _ name: String) {
    var first: [Key: Mark] = [:]
    for (key, mark) in rules {
      guard let before = first[key] else {
        first[key] = mark
        continue
      }
      findings.problem(mark, "the same \(name) \(key.pattern):\(key.ports) stands in line \(before.line); keep one")
    }
  }

  private func checkDenied() {
    guard !deny.isEmpty else { return }
    let denied = Dictionary(grouping: deny.map(\.rule), by: \.pattern)
    for (rule, mark) in allow.map({ ($0.rule, $0.mark) }) {
      for pattern in rule.pattern.covering {
        guard let deny = denied[pattern]?.first(where: { $0.ports.covers(rule.ports) }) else { continue }
        findings.problem(
          mark,
          "this rule can never match: the deny rule in line \(deny.line.line) covers \(rule.pattern):\(rule.ports); remove one"
        )
        break
      }
    }
  }

  private func checkLimits() {
    let rules = allow.map(\.rule)
    let allowed = Dictionary(grouping: rules, by: \.pattern)
    for (limit, mark) in limits.map({ ($0.rule, $0.mark) }) {
      // The default for every rule is no mistake where there is no rule yet.
      if limit.pattern == .any && limit.ports == .all { continue }
      // An exact host covers rules of that host alone: one look-up instead of all rules.
      var candidates = rules
      if case .exact = limit.pattern { candidates = allowed[limit.pattern] ?? [] }
      if !candidates.contains(where: limit.covers) { findings.problem(mark, Self.uncovered(limit, rules)) }
    }
  }

  private static func uncovered(_ limit: RateLimit, _ rules: [AllowSpec]) -> String {
    let name = "\(limit.pattern):\(limit.ports)"
    if let near = rules.first(where: { $0.pattern.overlaps(limit.pattern) && $0.ports.overlaps(limit.ports) }) {
      return "a limit holds for whole allow rules, and \(name) is only a part of \(near.pattern):\(near.ports) "
        + "in line \(near.line.line); write host: \"\(near.pattern):\(near.ports)\", or give \(name) an allow rule of its own"
    }
    return "no allow rule is covered by \(name); add it to `allow` or remove the limit"
  }
}

extension HostPattern {
  /// Every pattern that covers this one: itself, the wildcards above it, and all.
  fileprivate var covering: [HostPattern] {
    var patterns = [self]
    let name: HostName
    switch self {
    case .any: return patterns
    case .exact(.address): return patterns + [.any]
    case .exact(.name(let exact)): name = exact
    case .wildcard(let parent): name = parent
    }
    var rest = name.bytes[...]
    while let dot = rest.firstIndex(of: UInt8(ascii: ".")) {
      rest = rest[(dot + 1)...]
      // A part of a valid name that is none ends in a number: no wildcard is written for it.
      guard let parent = try? HostName(parsing: rest.span) else { break }
      patterns.append(.wildcard(parent))
    }
    return patterns + [.any]
  }
}
