// What only the whole of the rules shows: duplicates, rules that deny hides, limits that cover nothing.
// It relies on looking up what could cover a pattern instead of comparing all pairs: ten thousand rules load at once.
import Policy
import Wire

struct RuleChecks {
  private struct Key: Hashable {
    var pattern: HostPattern
    var ports: PortSet
  }

  let findings: Findings

  func check(_ spec: NetworkSpec, marks: [Int: Mark]) {
    func mark(_ line: SourceLine) -> Mark { marks[line.line] ?? Mark(line: line.line, column: 1) }
    checkDuplicates(spec.deny.map { ($0.pattern, $0.ports, mark($0.line)) }, "deny rule")
    checkDuplicates(spec.allow.map { ($0.pattern, $0.ports, mark($0.line)) }, "allow rule")
    checkDuplicates(spec.rateLimits.map { ($0.pattern, $0.ports, mark($0.line)) }, "rate limit")
    checkDenied(spec, mark)
    checkLimits(spec, mark)
  }

  private func checkDuplicates(_ rules: [(pattern: HostPattern, ports: PortSet, mark: Mark)], _ name: String) {
    var first: [Key: Mark] = [:]
    for rule in rules {
      let key = Key(pattern: rule.pattern, ports: rule.ports)
      if let before = first[key] {
        findings.problem(
          rule.mark, "the same \(name) \(rule.pattern):\(rule.ports) stands in line \(before.line); keep one")
      } else {
        first[key] = rule.mark
      }
    }
  }

  private func checkDenied(_ spec: NetworkSpec, _ mark: (SourceLine) -> Mark) {
    var denied: [HostPattern: [DenyRule]] = [:]
    for rule in spec.deny { denied[rule.pattern, default: []].append(rule) }
    guard !denied.isEmpty else { return }
    for rule in spec.allow {
      for pattern in rule.pattern.covering {
        guard let deny = denied[pattern]?.first(where: { $0.ports.covers(rule.ports) }) else { continue }
        findings.problem(
          mark(rule.line),
          "this rule can never match: the deny rule in line \(deny.line.line) covers \(rule.pattern):\(rule.ports); remove one"
        )
        break
      }
    }
  }

  private func checkLimits(_ spec: NetworkSpec, _ mark: (SourceLine) -> Mark) {
    var allowed: [HostPattern: [AllowSpec]] = [:]
    for rule in spec.allow { allowed[rule.pattern, default: []].append(rule) }
    for limit in spec.rateLimits {
      // The default for every rule is no mistake where there is no rule yet.
      if limit.pattern == .any && limit.ports == .all { continue }
      if case .exact = limit.pattern {
        if allowed[limit.pattern]?.contains(where: limit.covers) == true { continue }
      } else if spec.allow.contains(where: limit.covers) {
        continue
      }
      findings.problem(mark(limit.line), Self.uncovered(limit, spec))
    }
  }

  private static func uncovered(_ limit: RateLimit, _ spec: NetworkSpec) -> String {
    let name = "\(limit.pattern):\(limit.ports)"
    if let near = spec.allow.first(where: { $0.pattern.overlaps(limit.pattern) && $0.ports.overlaps(limit.ports) }) {
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
