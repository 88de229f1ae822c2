// `network_policy`: default, mode, deny, allow and rate_limits.
// It relies on RuleText for hosts and ports, and on RuleChecks for what only the whole shows.
import Policy
import Wire
import YAML

struct NetworkSection {
  private enum Default: String, CaseIterable { case deny, allow }
  private enum Mode: String, CaseIterable { case enforce, report }

  static let keys = ["default", "mode", "deny", "allow", "registries", "rate_limits"]
  private static let ruleKeys =
    ["host", "ports", "expires", "addresses", "protocol", "ech", "dns"] + InspectionKeys.keys
  private static let notDenied = InspectionKeys.keys.reduce(into: [String: String]()) {
    $0[$1] = "it denies the whole target; to narrow what is allowed, write `\($1)` at the allow rule"
  }
  private static let bounds = [
    "requests_per_minute", "burst", "concurrent", "upload_bytes_per_minute", "download_bytes_per_minute",
    "tunnel_lifetime_seconds",
  ]
  /// Advice on keys that people write into rules. Some keys of the file (`dns`, `tls`) are keys of rules too.
  private static let notInRules = bounds.reduce(into: [String: String]()) {
    $0[$1] = "limits stand in `rate_limits`; write rate_limits: [{host: HOST:PORT, \($1): …}]"
  }
  private static let elsewhere = TopLevelKeys.sections.reduce(into: notInRules) {
    $0[$1] = "it is a key of the file itself; write it without indentation"
  }
  private static let limitKeys = ["host", "ports"] + bounds + ["on_limit"]

  let findings: Findings
  let nowUnix: Int64
  let inspection: InspectionKeys
  let registries: RegistryAnswers

  func read(_ node: YAMLNode) -> NetworkSpec {
    var spec = NetworkSpec(line: line(node.mark))
    guard let fields = Fields(node, of: "network_policy", known: Self.keys, misplaced: Self.elsewhere, findings) else {
      return spec
    }
    if fields.choice("default", Default.self) == .allow {
      spec.defaultAllows = true
      findings.warn(fields.mark(of: "default"), "`default: allow` lets out every name that no deny rule names")
    }
    if fields.choice("mode", Mode.self) == .report {
      spec.isReportOnly = true
      findings.warn(fields.mark(of: "mode"), "`mode: report` refuses nothing; it only logs what enforce would refuse")
    }
    let example = "[api.example.com:443]"
    let deny = latest(placed(fields, "deny", example, denyRule)) { ($0.pattern, $0.ports) }
    let written = placed(fields, "allow", example, allowRule)
    var allow = latest(written) { ($0.pattern, $0.ports) }
    warnOfReplaced(written, by: allow)
    allow += fetched(fields, beside: allow)
    let limits = latest(placed(fields, "rate_limits", "[{host: \"*\", requests_per_minute: 60}]", rateLimit)) {
      ($0.pattern, $0.ports)
    }
    RuleChecks(findings: findings, deny: deny, allow: allow, limits: limits).check()
    spec.deny = deny.map(\.rule)
    spec.allow = allow.map(\.rule)
    spec.rateLimits = limits.map(\.rule)
    return spec
  }

  private func placed<Rule>(
    _ fields: Fields, _ key: String, _ example: String, _ read: (YAMLNode) -> Rule?
  ) -> [Located<Rule>] {
    fields.list(key, example: example).compactMap { node in read(node).map { Located(rule: $0, mark: node.mark) } }
  }

  /// Rules for the registries of tools. A written rule for the same host takes precedence.
  private func fetched(_ fields: Fields, beside written: [Located<AllowSpec>]) -> [Located<AllowSpec>] {
    let entries = RegistryRules(findings: findings, answers: registries).entries(fields)
    return entries.compactMap { node in
      guard let rule = allowRule(node),
        !written.contains(where: { $0.rule.pattern == rule.pattern && $0.rule.ports == rule.ports })
      else { return nil }
      return Located(rule: rule, mark: node.mark)
    }
  }

  /// Keeps the later one of equal rules in different files.
  private func latest<Rule>(
    _ rules: [Located<Rule>], of key: (Rule) -> (HostPattern, PortSet)
  ) -> [Located<Rule>] {
    guard findings.files.count > 1 else { return rules }
    var last: [HostPattern: [(ports: PortSet, file: Int)]] = [:]
    for rule in rules {
      let (pattern, ports) = key(rule.rule)
      last[pattern, default: []].append((ports, rule.mark.file))
    }
    return rules.filter { rule in
      let (pattern, ports) = key(rule.rule)
      return last[pattern]?.last { $0.ports == ports }?.file == rule.mark.file
    }
  }

  /// Warns of replaced rules, except where both are equal.
  private func warnOfReplaced(_ written: [Located<AllowSpec>], by kept: [Located<AllowSpec>]) {
    guard written.count > kept.count else { return }
    let places = Set(kept.map(\.mark))
    for old in written where !places.contains(old.mark) {
      let new = kept.first { $0.rule.pattern == old.rule.pattern && $0.rule.ports == old.rule.ports }
      guard let new, !new.rule.saysTheSame(as: old.rule) else { continue }
      findings.warn(new.mark, "this rule takes the place of the one in \(findings.place(old.mark, from: new.mark))")
    }
  }

  private func line(_ mark: Mark) -> SourceLine { findings.line(mark) }

  private func denyRule(_ node: YAMLNode) -> DenyRule? {
    if case .mapping = node.content {
      guard
        let fields = Fields(node, of: "a deny rule", known: ["host", "ports"], misplaced: Self.notDenied, findings),
        let text = hostAndPorts(fields, portsDefault: nil, isDeny: true)
      else { return nil }
      return DenyRule(line: line(node.mark), pattern: text.pattern, ports: text.ports)
    }
    guard let text = ruleText(node, isDeny: true) else { return nil }
    return DenyRule(line: line(node.mark), pattern: text.pattern, ports: text.ports)
  }

  private func allowRule(_ node: YAMLNode) -> AllowSpec? {
    guard case .mapping(let pairs) = node.content else {
      guard let text = ruleText(node) else { return nil }
      return checked(AllowSpec(line: line(node.mark), pattern: text.pattern, ports: text.ports), node.mark)
    }
    // `- api.example.com: 443` is a mapping to YAML.
    if pairs.count == 1, case .scalar(let host, _) = pairs[0].key.content, host.contains("."),
      case .scalar(let port, _) = pairs[0].value.content
    {
      findings.problem(
        node.mark,
        port.isEmpty
          ? "the port is missing behind the colon; write \(host.quotable):443"
          : "a space between host and port; write \(host.quotable):\(port.quotable)")
      return nil
    }
    guard let fields = Fields(node, of: "an allow rule", known: Self.ruleKeys, misplaced: Self.notInRules, findings),
      let text = hostAndPorts(fields, portsDefault: nil)
    else { return nil }
    var rule = AllowSpec(line: line(node.mark), pattern: text.pattern, ports: text.ports)
    rule.wireProtocol = fields.choice("protocol", WireProtocol.self)
    rule.allowsECH = fields.choice("ech", ECH.self) != .refuse
    readExpiry(fields, &rule)
    readAddresses(fields, &rule)
    readDNS(fields, &rule)
    rule.inspection = inspection.read(fields, of: rule)
    return checked(rule, node.mark)
  }

  private enum ECH: String, CaseIterable { case refuse, allow }

  private func readExpiry(_ fields: Fields, _ rule: inout AllowSpec) {
    guard let text = fields.text("expires", example: "2027-01-01T00:00:00Z") else { return }
    guard let time = Timestamp.parse(text) else {
      findings.problem(
        fields.node("expires")?.mark ?? fields.mark,
        "`expires` takes an RFC 3339 time such as 2027-01-01T00:00:00Z, not `\(text.quotable)`\(Self.timeAdvice(text))")
      return
    }
    rule.expiresAt = time
    if time <= nowUnix { findings.warn(fields.mark(of: "expires"), "this rule has expired, and allows nothing") }
  }

  private func readAddresses(_ fields: Fields, _ rule: inout AllowSpec) {
    guard fields.has("addresses") else { return }
    let nodes = fields.list("addresses", orSingle: true, example: "[10.20.0.0/16]")
    rule.addresses = nodes.compactMap { Networks.prefix($0, findings) }
    if nodes.isEmpty, case .sequence? = fields.node("addresses")?.content {
      findings.problem(
        fields.mark(of: "addresses"), "`addresses` is empty, so the rule can never match; list networks or remove it")
    }
    if case .exact(.address(let address)) = rule.pattern, !rule.addresses.isEmpty,
      !rule.addresses.contains(where: { $0.contains(address) })
    {
      findings.problem(
        fields.mark(of: "addresses"),
        "\(address) is in none of its `addresses`, so the rule can never match; remove them")
    }
  }

  private func readDNS(_ fields: Fields, _ rule: inout AllowSpec) {
    guard let node = fields.node("dns"), let dns = Fields(node, of: "dns of a rule", known: ["types"], findings) else {
      return
    }
    for type in dns.list("types", orSingle: true, example: "[SRV, TXT]") {
      if case .scalar(let text, _) = type.content, let known = DNSRecordType(rawValue: text) {
        rule.dnsTypes.insert(known)
      } else {
        findings.problem(
          type.mark,
          "`types` takes SRV and TXT, not \(type.shown); A, AAAA and PTR are answered without it, and no other type is")
      }
    }
    if case .exact(.address(let address)) = rule.pattern {
      findings.problem(
        fields.mark(of: "dns"), "the host is the address \(address), and only names have records; remove `dns`")
    }
  }

  private func checked(_ rule: AllowSpec, _ mark: Mark) -> AllowSpec {
    if rule.pattern == .any, rule.addresses.isEmpty {
      findings.warn(mark, "this rule allows every host on port \(rule.ports)")
    }
    if let doubt = RuleDoubts.doubt(of: rule) { findings.warn(mark, doubt) }
    return rule
  }

  /// A date alone, a space for the T, or no zone.
  private static func timeAdvice(_ text: String) -> String {
    let spelled = text.split(separator: " ").joined(separator: "T")
    for guess in [spelled + "T00:00:00Z", spelled + "Z", spelled + ":00Z"] where Timestamp.parse(guess) != nil {
      return "; write \(guess)"
    }
    return ""
  }

  private func rateLimit(_ node: YAMLNode) -> RateLimit? {
    guard let fields = Fields(node, of: "a rate limit", known: Self.limitKeys, findings),
      let text = hostAndPorts(fields, portsDefault: .all)
    else { return nil }
    var limit = RateLimit(line: line(node.mark), pattern: text.pattern, ports: text.ports)
    let counts = 1...RequestBucket.perMinuteMax
    let bytes = 1...Int(ByteBucket.perMinuteMax)
    limit.requestsPerMinute = fields.integer("requests_per_minute", counts)
    limit.burst = fields.integer("burst", counts)
    limit.concurrent = fields.integer("concurrent", 1...1_000_000)
    limit.uploadBytesPerMinute = fields.bytes("upload_bytes_per_minute", bytes).map { UInt64($0) }
    limit.downloadBytesPerMinute = fields.bytes("download_bytes_per_minute", bytes).map { UInt64($0) }
    limit.tunnelLifetimeSeconds = fields.integer("tunnel_lifetime_seconds", 1...31_536_000)
    limit.onLimit = fields.choice("on_limit", OnLimit.self) ?? .refuse
    if fields.has("burst"), !fields.has("requests_per_minute") {
      findings.problem(fields.mark(of: "burst"), "`burst` needs `requests_per_minute` beside it")
    }
    if !Self.bounds.contains(where: fields.has) {
      findings.problem(
        node.mark, "this entry limits nothing; give it requests_per_minute, concurrent, upload_bytes_per_minute, …")
    }
    return limit
  }

  private func ruleText(_ node: YAMLNode, isDeny: Bool = false) -> RuleText? {
    guard case .scalar(let text, _) = node.content, !node.isNull else {
      findings.problem(node.mark, "a rule is a text HOST:PORT or a mapping with `host`, not \(node.kindName)")
      return nil
    }
    return parse(text, node.mark, portsDefault: nil, isDeny)
  }

  private func hostAndPorts(_ fields: Fields, portsDefault: PortSet?, isDeny: Bool = false) -> RuleText? {
    guard fields.has("host") else {
      if !fields.hasUnknown { findings.problem(fields.mark, "`host` is missing; write host: HOST:PORT") }
      return nil
    }
    guard let text = fields.text("host", example: "api.example.com:443") else { return nil }
    let mark = fields.node("host")?.mark ?? fields.mark
    guard fields.has("ports") else { return parse(text, mark, portsDefault: portsDefault, isDeny) }
    let ports = fields.list("ports", orSingle: true, example: "[80, 443]").compactMap { portText($0) }
    guard !ports.isEmpty, let set = parsePorts(ports.joined(separator: ","), fields.mark(of: "ports")) else {
      return nil
    }
    let colons = text.hasPrefix("[") ? text.hasSuffix("]") ? 0 : 1 : text.split(separator: ":").count - 1
    guard colons == 0 else {
      findings.problem(fields.mark(of: "ports"), "the port stands in `host` already; keep one of the two")
      return nil
    }
    return parse(text, mark, portsDefault: set, isDeny)
  }

  private func portText(_ node: YAMLNode) -> String? {
    if case .scalar(let text, _) = node.content, !node.isNull { return text }
    findings.problem(node.mark, "a port is a number or a range such as 8000-8010, not \(node.kindName)")
    return nil
  }

  private func parsePorts(_ text: String, _ mark: Mark) -> PortSet? {
    do throws(RuleText.Problem) { return try RuleText.parsePorts(text[...]) } catch {
      findings.problem(mark, error.description)
      return nil
    }
  }

  private func parse(_ text: String, _ mark: Mark, portsDefault: PortSet?, _ isDeny: Bool) -> RuleText? {
    do throws(RuleText.Problem) { return try RuleText.parse(text, portsDefault: portsDefault, isDeny: isDeny) } catch {
      findings.problem(mark, error.description)
      return nil
    }
  }
}

enum Networks {
  static func list(_ key: String, _ fields: Fields, example: String, _ findings: Findings) -> [AddressPrefix] {
    fields.list(key, orSingle: true, example: example).compactMap { prefix($0, findings) }
  }

  /// An address or network of a list.
  static func prefix(_ node: YAMLNode, _ findings: Findings) -> AddressPrefix? {
    guard case .scalar(let text, _) = node.content, !node.isNull else {
      findings.problem(node.mark, "a network is written 10.0.0.0/8 or fd00::/8, not \(node.kindName)")
      return nil
    }
    do throws(AddressPrefixProblem) { return try AddressPrefix(text) } catch {
      findings.problem(node.mark, "`\(text.quotable)`: \(error)")
      return nil
    }
  }
}
