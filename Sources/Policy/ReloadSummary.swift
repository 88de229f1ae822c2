// What one policy says that another did not: rules, limits, clients and settings, a line each, for whoever reloads.
// It relies on a rule being the same one where it matches the same hosts and ports, as its buckets do.
import Wire

package struct ReloadSummary: Sendable {
  /// `+ …` is new, `- …` is gone, `~ …` has changed.
  package let lines: [String]

  package init(from old: Policy, to new: Policy) {
    var lines = Self.changes(Self.settings(old.settings), Self.settings(new.settings)).map { "~ \($0)" }
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
      // A client without rules of its own has those of the file: they were said already.
      if own != shared { lines += own.map { "\($0.prefix(2))client \(client.name): \($0.dropFirst(2))" } }
    }
    self.lines = lines
  }

  private typealias Fact = (name: String, value: String)

  private static func changes(_ old: [Fact], _ new: [Fact]) -> [String] {
    zip(old, new).filter { $0.value != $1.value }.map { "\($0.name) \($0.value) -> \($1.value)" }
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
      let changed = changes(was.facts, rule.facts)
      if !changed.isEmpty { lines.append("~ allow \(rule.text): \(changed.joined(separator: ", "))") }
    }
    return lines
  }

  private static func difference(_ word: String, _ old: [String], _ new: [String]) -> [String] {
    let (before, after) = (Set(old), Set(new))
    return old.filter { !after.contains($0) }.map { "- \(word) \($0)" }
      + new.filter { !before.contains($0) }.map { "+ \(word) \($0)" }
  }

  private static func settings(_ settings: Settings) -> [Fact] {
    let (limits, timeouts, log) = (settings.limits, settings.timeouts, settings.log)
    return [
      ("listen.connect", "\(settings.listen.connect)"),
      ("listen.connect, over TLS", "\(settings.listen.connect.filter { settings.listen.identities[$0] != nil })"),
      ("listen.transparent", "\(settings.listen.transparent)"),
      ("listen.dns", "\(settings.listen.dns)"), ("listen.proxy_protocol", "\(settings.listen.proxyProtocol)"),
      ("listen.admin", settings.listen.admin ?? "none"),
      ("listen.metrics", settings.listen.metrics.map { "\($0)" } ?? "none"),
      ("resolver.servers", "\(settings.resolver.servers)"), ("resolver.timeout", seconds(settings.resolver.timeoutMs)),
      ("resolver.attempts", "\(settings.resolver.attempts)"), ("dns.answers", settings.dns.answers.rawValue),
      ("dns.ttl", "\(settings.dns.ttlSeconds)"), ("dns.networks", "\(settings.dns.networks)"),
      ("log.file", log.file ?? "standard output"),
      ("log.on_failure", log.refusesWhenUnwritable ? "refuse" : "continue"),
      ("limits.log_buffer_bytes", "\(log.bufferBytes)"), ("limits.connections", "\(limits.connections)"),
      ("limits.head_bytes", "\(limits.headBytes)"), ("limits.hello_bytes", "\(limits.helloBytes)"),
      ("limits.dns_cache_names", "\(limits.dnsCacheNames)"), ("limits.synthetic_names", "\(limits.syntheticNames)"),
      ("timeouts.head", seconds(timeouts.headMs)), ("timeouts.hello", seconds(timeouts.helloMs)),
      ("timeouts.connect", seconds(timeouts.connectMs)), ("timeouts.idle", seconds(timeouts.idleMs)),
      ("timeouts.keep_alive", seconds(timeouts.keepAliveMs)), ("timeouts.drain", seconds(timeouts.drainMs)),
    ]
  }

  private static func seconds(_ ms: UInt64) -> String {
    ms % 1000 == 0 ? "\(ms / 1000)" : "\(ms / 1000).\(String(ms % 1000 + 1000).dropFirst())"
  }
}

extension AllowRule {
  package var text: String { "\(pattern):\(ports)" }

  fileprivate var facts: [(name: String, value: String)] {
    [
      ("expires", expiresAt.map { "\($0)" } ?? "never"), ("addresses", "\(addresses)"),
      ("protocol", statedProtocol?.rawValue ?? "by port"), ("ech", allowsECH ? "allow" : "refuse"),
      ("dns.types", dnsTypes.isEmpty ? "none" : dnsTypesText),
      ("requests_per_minute", number(requests?.perMinute)), ("burst", number(requests?.burst)),
      ("concurrent", number(concurrent?.limit)),
      ("upload_bytes_per_minute", number(uploadBytes.map { Int($0.perMinute) })),
      ("download_bytes_per_minute", number(downloadBytes.map { Int($0.perMinute) })),
      ("tunnel_lifetime_seconds", number(tunnelLifetimeMs.map { $0 / 1000 })), ("on_limit", onLimit.rawValue),
    ]
  }

  private func number(_ value: Int?) -> String { value.map { "\($0)" } ?? "none" }
}
