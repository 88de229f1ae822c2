// A proposal as YAML: a policy file of its own, or the entries to add to one.
// It relies on TerminalText for every text that came from the log: it stands in comments, and ends no line.
import Policy
import Wire

extension Proposal {
  /// A policy file; with a base, what to add to it.
  package var text: String {
    var out = header + section(nil, indent: "")
    let clients = Set(rules.compactMap(\.client)).sorted()
    if !clients.isEmpty { out.append("clients:") }
    for client in clients {
      out.append("  - name: \(client)")
      out += section(client, indent: "    ")
    }
    for raise in raises {
      out.append("# \(raise.text), in place of:")
      out.append("#   - \(Self.entry(of: raise))")
    }
    for note in notes { out.append("# \(TerminalText.safe(note.utf8))") }
    return out.joined(separator: "\n") + "\n"
  }

  private func section(_ client: String?, indent: String) -> [String] {
    let rules = rules.filter { $0.client == client }
    let hasRules = rules.contains(where: isLive)
    let limited = rules.filter { $0.limit != nil }
    var out = ["network_policy:"]
    if options.base == nil { out.append("  default: deny") }
    out.append(hasRules ? "  allow:" : "  allow: []")
    for rule in rules {
      out += comments(of: rule).map { "    \($0)" }
      out.append((isLive(rule) ? "    - " : "    # - ") + entry(of: rule))
    }
    if limited.contains(where: isLive) { out.append("  rate_limits:") }
    for rule in limited {
      guard let limit = Self.limit(of: rule) else { continue }
      out.append((isLive(rule) ? "    - " : "    # - ") + limit + "  # \(rule.demand.text)")
    }
    return out.map { indent + $0 }
  }

  func isLive(_ rule: Rule) -> Bool { options.includesSuspect || rule.warnings.isEmpty }

  private var header: [String] {
    var out = ["# From \(traffic.lines) lines of a log\(period), clients: \(Self.list(traffic.clients))."]
    if options.base != nil { out.append("# Only new rules: add them to `allow` and `rate_limits` of the policy.") }
    if suspectCount > 0 {
      out.append(
        "# \(suspectCount) of \(rules.count) rules carry a WARNING\(options.includesSuspect ? "" : " and are commented out")."
      )
    }
    return out
  }

  private var period: String {
    guard let first = traffic.firstMs, let last = traffic.lastMs else { return "" }
    var text: [UInt8] = Array(", ".utf8)
    Timestamp.append(unixMilliseconds: first, to: &text)
    text += " to ".utf8
    Timestamp.append(unixMilliseconds: last, to: &text)
    return String(decoding: text, as: UTF8.self)
  }

  private func comments(of rule: Rule) -> [String] {
    var out = rule.warnings.map { "# WARNING: \($0)" } + ["# \(Self.seen(rule))"]
    if !rule.names.isEmpty { out.append("# for \(Self.list(Set(rule.names)))") }
    let unknown = rule.facts.credentials.filter { !isKnown($0) }
    if !unknown.isEmpty {
      out.append("# the gate put in a credential: \(Self.list(unknown)); define it, and name it here as `credential`")
    }
    return out
  }

  // MARK: - Entries

  /// Live rules of one `network_policy`, as entries of its lists with their comments.
  package struct Addition: Sendable {
    package let client: String?
    package let rules: [(text: String, comments: [String])]
    package let limits: [(text: String, comments: [String])]
  }

  package var additions: [Addition] {
    let live = rules.filter(isLive)
    let clients: [String?] = [nil] + Set(live.compactMap(\.client)).sorted()
    return clients.map { client in
      let own = live.filter { $0.client == client }
      return Addition(
        client: client, rules: own.map { (entry(of: $0), comments(of: $0).map { String($0.dropFirst(2)) }) },
        limits: own.compactMap { rule in Self.limit(of: rule).map { ($0, [rule.demand.text]) } })
    }
  }

  private func entry(of rule: Rule) -> String {
    let keys = keys(of: rule)
    let host = Self.quoted("\(rule.host):\(rule.port)")
    return keys.isEmpty ? host : "{host: \(host), \(keys)}"
  }

  /// All of a rule but its host.
  func keys(of rule: Rule) -> String {
    var keys: [String] = []
    if !rule.addresses.isEmpty {
      keys.append("addresses: [\(rule.addresses.map { "\"\($0)\"" }.joined(separator: ", "))]")
    }
    // A rule for an address is not inspected: certificates are held to names.
    if rule.isAddress { return keys.joined(separator: ", ") }
    if !rule.facts.shapes.keys.isEmpty { keys.append(rule.facts.shapes.keys) }
    let credentials = rule.facts.credentials.filter(isKnown)
    if credentials.count == 1, let one = credentials.first { keys.append("credential: \(one)") }
    return keys.joined(separator: ", ")
  }

  private func isKnown(_ credential: String) -> Bool {
    options.base?.credentials.contains { $0.name == credential } ?? false
  }

  private static func limit(of rule: Rule) -> String? {
    rule.limit.map { limit("\(rule.host):\(rule.port)", $0, carrying: rule.inherited) }
  }

  package static func entry(of raise: Raise) -> String {
    limit("\(raise.rule.pattern):\(raise.rule.ports)", raise.advice, carrying: raise.limit)
  }

  /// The most specific entry wins whole: a new one takes over the other keys of the entry that it displaces.
  private static func limit(_ host: String, _ advice: RateAdvice, carrying other: RateLimit?) -> String {
    var keys = ["host: \(quoted(host))", advice.keys]
    if let bytes = other?.uploadBytesPerMinute { keys.append("upload_bytes_per_minute: \(bytes)") }
    if let bytes = other?.downloadBytesPerMinute { keys.append("download_bytes_per_minute: \(bytes)") }
    if let count = other?.concurrent { keys.append("concurrent: \(count)") }
    if let seconds = other?.tunnelLifetimeSeconds { keys.append("tunnel_lifetime_seconds: \(seconds)") }
    if let other, other.onLimit != .refuse { keys.append("on_limit: \(other.onLimit.rawValue)") }
    return "{\(keys.joined(separator: ", "))}"
  }

  /// To be pasted below `network_policy` for one rule, whatever is to be said against it.
  func fragment(_ rule: Rule) -> String {
    let limits = Self.limit(of: rule).map { ["rate_limits:", "  - \($0)"] } ?? []
    return (["allow:", "  - \(entry(of: rule))"] + limits).joined(separator: "\n") + "\n"
  }

  static func fragment(_ raise: Raise) -> String { "rate_limits:\n  - \(entry(of: raise))\n" }

  static func fragment(limit host: String, _ advice: RateAdvice) -> String {
    "rate_limits:\n  - \(limit(host, advice, carrying: nil))\n"
  }

  private static func seen(_ rule: Rule) -> String {
    let facts = rule.facts
    var parts = ["seen \(Amount.times(facts.count)) from \(list(rule.clients))"]
    let refused = facts.refused.values.reduce(0, +)
    if refused > 0 { parts.append("\(refused) refused") }
    if facts.failed > 0 { parts.append("\(facts.failed) failed") }
    if facts.closed > 0 { parts.append("\(Amount.bytes(facts.bytesUp)) up, \(Amount.bytes(facts.bytesDown)) down") }
    return parts.joined(separator: "; ")
  }

  static func list(_ names: Set<String>) -> String {
    let sorted = names.sorted()
    let shown = sorted.prefix(8).map { TerminalText.column(TerminalText.safe($0.utf8), min(64, $0.utf8.count)) }
    return shown.joined(separator: ", ") + (sorted.count > 8 ? " and \(sorted.count - 8) more" : "")
  }

  private static func quoted(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
      byte &- 0x30 < 10 || (byte | 0x20) &- 0x61 < 26 || byte == 0x2d || byte == 0x2e || byte == 0x5f || byte == 0x3a
    }
    return isPlain ? text : "\"\(text)\""
  }
}

extension Demand {
  var text: String { "at most \(minute) in a minute, \(second) in a second" }
}

extension Proposal.Raise {
  /// Where the limit stands, which part of it refused, and how much was asked for.
  package var text: String {
    let set = rule.requests.map { "\($0.perMinute) a minute, burst \($0.burst)" } ?? ""
    let part = advice.wasBurst ? "burst" : "rate"
    return "\(rule.pattern):\(rule.ports): limited \(Amount.times(count)) for \(Proposal.list(clients)) by the \(part)"
      + " of \(limit.line) (\(set)); \(demand.text)"
  }
}
