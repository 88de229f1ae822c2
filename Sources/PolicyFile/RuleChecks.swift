// Checks over all rules together: duplicates, rules that deny hides, limits that cover nothing.
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
    let isInspected = allow.contains { $0.rule.inspection != nil }
    checkDuplicates(
      allow.map { (Key(pattern: $0.rule.pattern, ports: $0.rule.ports), $0.mark) }, "allow rule",
      orElse: isInspected ? ", with `requests: [{methods: […], paths: […]}, …]` where methods go with paths" : "")
    checkDuplicates(limits.map { (Key(pattern: $0.rule.pattern, ports: $0.rule.ports), $0.mark) }, "rate limit")
    checkDenied()
    checkLimits()
  }

  private func checkDuplicates(_ rules: [(key: Key, mark: Mark)], _ name: String, orElse advice: String = "") {
    var first: [Key: Mark] = [:]
    for (key, mark) in rules {
      guard let before = first[key] else {
        first[key] = mark
        continue
      }
      findings.problem(
        mark,
        "the same \(name) \(key.pattern):\(key.ports) stands in \(findings.place(before, from: mark)); keep one\(advice)"
      )
    }
  }

  /// Only a warning: a deny rule above an allow rule is how an operator stops something at once, and a reload that
  /// was rejected for it would leave the tunnels alive.
  private func checkDenied() {
    guard !deny.isEmpty else { return }
    let denied = Dictionary(grouping: deny.map(\.rule), by: \.pattern)
    for (rule, mark) in allow.map({ ($0.rule, $0.mark) }) {
      let hidden = rule.pattern.covering.lazy.compactMap { Self.first($0, denied, rule) }.first
      guard let deny = hidden ?? Self.hidingAddresses(of: rule, denied) else { continue }
      findings.warn(
        mark,
        "this rule allows nothing: the deny rule in \(findings.place(deny.line, from: mark)) covers \(rule.pattern):\(rule.ports); remove one"
          + " of them once that is meant to last")
    }
  }

  private static func first(_ pattern: HostPattern, _ denied: [HostPattern: [DenyRule]], _ rule: AllowSpec) -> DenyRule?
  {
    denied[pattern]?.first { $0.ports.covers(rule.ports) }
  }

  /// The deny rule that hides the last of a rule's `addresses`, where such rules hide all of them.
  private static func hidingAddresses(of rule: AllowSpec, _ denied: [HostPattern: [DenyRule]]) -> DenyRule? {
    var hiding: DenyRule?
    for prefix in rule.addresses {
      let found = prefix.covering.lazy.compactMap { first($0, denied, rule) }.first
      guard let found else { return nil }
      hiding = found
    }
    return hiding
  }

  private func checkLimits() {
    let rules = allow.map(\.rule)
    let allowed = Dictionary(grouping: rules, by: \.pattern)
    for (limit, mark) in limits.map({ ($0.rule, $0.mark) }) {
      // A default limit for every rule is no mistake in a file without rules.
      if limit.pattern == .any && limit.ports == .all { continue }
      // An exact host covers only rules of that host: one lookup instead of all rules.
      var candidates = rules
      if case .exact = limit.pattern { candidates = allowed[limit.pattern] ?? [] }
      if !candidates.contains(where: limit.covers) { findings.problem(mark, uncovered(limit, rules, mark)) }
    }
  }

  private func uncovered(_ limit: RateLimit, _ rules: [AllowSpec], _ mark: Mark) -> String {
    let name = "\(limit.pattern):\(limit.ports)"
    if let near = rules.first(where: { $0.pattern.overlaps(limit.pattern) && $0.ports.overlaps(limit.ports) }) {
      return "a limit holds for whole allow rules, and \(name) is only a part of \(near.pattern):\(near.ports) "
        + "in \(findings.place(near.line, from: mark)); write host: \"\(near.pattern):\(near.ports)\", or give \(name) an allow rule of its own"
    }
    return "no allow rule is covered by \(name); add it to `allow` or remove the limit"
  }
}

extension AddressPrefix {
  /// Every pattern that covers this network: itself, as an address where it is one, and the networks around it.
  fileprivate var covering: [HostPattern] {
    let networks = (0...length).reversed().map { HostPattern.network(AddressPrefix(address, length: $0)) }
    return length == address.width ? [.exact(.address(address))] + networks : networks
  }
}

extension HostPattern {
  /// Every pattern that covers this one: itself, the wildcards above it, and all.
  fileprivate var covering: [HostPattern] {
    var patterns = [self]
    let name: HostName
    switch self {
    case .any, .network: return patterns
    case .exact(.address(let address)): return AddressPrefix(address, length: address.width).covering + [.any]
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
