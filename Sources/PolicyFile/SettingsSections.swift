// Sections besides the rules: resolver, log, limits, timeouts, and the sections with their own files. Each key
// overrides a default of Settings. It relies on the bounds here: a value outside of them would break the gate or mean
// nothing.
import Policy
import Wire
import YAML

struct SettingsSections {
  let findings: Findings
  let files: PolicyFiles

  func read(_ root: Fields) -> Settings {
    var settings = Settings()
    if let node = root.node("listen") { settings.listen = ListenSection(findings: findings, files: files).read(node) }
    if let node = root.node("resolver") { readResolver(node, &settings.resolver) }
    if let node = root.node("log") { readLog(node, &settings.log) }
    if let node = root.node("dns") { readDNS(node, &settings.dns) }
    if let node = root.node("limits") { readLimits(node, &settings) }
    if let node = root.node("timeouts") { readTimeouts(node, &settings.timeouts) }
    if let node = root.node("process_limits") { settings.process = LimitsSection(findings: findings).read(node) }
    if let node = root.node("filesystem_policy") { settings.files = FilesSection(findings: findings).read(node) }
    if let node = root.node("environment") { settings.environment = EnvironmentSection(findings: findings).read(node) }
    if let node = root.node("tls") { readTLS(node, &settings) }
    if let node = root.node("shared_limits") {
      settings.shared = SharedLimitsSection(findings: findings, files: files).read(node)
    }
    if let node = root.node("state") { settings.stateFolder = readState(node) }
    settings.explainsDenials = root.flag("explain_denials")
    if let node = root.node("approvals") {
      settings.approvals = ApprovalsSection(findings: findings, files: files).read(node)
    }
    return settings
  }

  private func readResolver(_ node: YAMLNode, _ resolver: inout Settings.Resolver) {
    guard let fields = Fields(node, of: "resolver", known: ["servers", "timeout", "attempts"], findings) else { return }
    resolver.timeoutMs = fields.seconds("timeout", 0...60) ?? resolver.timeoutMs
    resolver.attempts = fields.integer("attempts", 1...10) ?? resolver.attempts
    for node in fields.list("servers", orSingle: true, example: "[192.0.2.53, \"192.0.2.54:5353\"]") {
      guard case .scalar(let text, _) = node.content else {
        findings.problem(node.mark, "a server is an address, not \(node.kindName)")
        continue
      }
      if let address = IPAddress(text) {
        resolver.servers.append(ListenAddress(address, port: 53))
      } else if let server = ListenAddress(text), server.port > 0 {
        resolver.servers.append(server)
      } else {
        findings.problem(
          node.mark, "`\(text.quotable)` is no server; write its address, or ADDRESS:PORT where the port is not 53")
      }
    }
  }

  private func readDNS(_ node: YAMLNode, _ dns: inout Settings.DNS) {
    guard let fields = Fields(node, of: "dns", known: ["answers", "refused", "ttl", "networks"], findings) else {
      return
    }
    dns.answers = fields.choice("answers", Settings.DNS.Answers.self) ?? dns.answers
    dns.refused = fields.choice("refused", Settings.DNS.Refused.self) ?? dns.refused
    dns.ttlSeconds = fields.integer("ttl", 1...3600).map { UInt32($0) } ?? dns.ttlSeconds
    guard fields.has("networks") else { return }
    let networks = Networks.list("networks", fields, example: "[198.18.0.0/15, \"fd73:6c75:6963::/64\"]", findings)
    for width in [32, 128] where networks.filter({ $0.address.width == width }).count > 1 {
      findings.problem(
        fields.mark(of: "networks"), "`networks` has two of one family; one IPv4 and one IPv6 network are enough")
    }
    for network in networks where network.address.width - network.length < 4 {
      findings.problem(
        fields.mark(of: "networks"), "\(network) has room for fewer than 16 names; write a larger network")
    }
    dns.networks = networks
  }

  private func readTLS(_ node: YAMLNode, _ settings: inout Settings) {
    let elsewhere = "it is for the upstream of one rule; write it in an allow rule's own `tls`"
    guard
      let fields = Fields(
        node, of: "tls", known: ["ca", "trust"], misplaced: ["roots": elsewhere, "client_certificate": elsewhere],
        findings)
    else { return }
    settings.caFolder = fields.text("ca", example: "/var/lib/sluice/ca")
    for node in fields.list("trust", orSingle: true, example: "[/etc/company/ca.pem]") {
      guard case .scalar(let path, _) = node.content, path.hasPrefix("/") else {
        findings.problem(
          node.mark, "`trust` takes whole paths of PEM files, such as /etc/company/ca.pem, not \(node.shown)")
        continue
      }
      settings.trustedFiles.append(path)
    }
    if fields.isEmpty { findings.problem(node.mark, "`tls` says nothing; write tls: {ca: /var/lib/sluice/ca}") }
  }

  private func readState(_ node: YAMLNode) -> String? {
    let example = "/var/lib/sluice"
    guard let fields = Fields(node, of: "state", known: ["folder"], findings) else { return nil }
    guard let path = fields.text("folder", example: example) else {
      if !fields.has("folder"), !fields.hasUnknown {
        findings.problem(node.mark, "`state` says nothing; write state: {folder: \(example)}")
      }
      return nil
    }
    if path.hasPrefix("/") { return path }
    findings.problem(fields.node("folder")?.mark ?? node.mark, "`folder` takes a whole path, such as \(example)")
    return nil
  }

  private enum OnFailure: String, CaseIterable { case refuse, `continue` }

  private func readLog(_ node: YAMLNode, _ log: inout Settings.Log) {
    if case .scalar(let path, _) = node.content, !node.isNull {
      findings.problem(node.mark, "`log` is a mapping; write log: {file: \(path.quotable)}")
      return
    }
    guard let fields = Fields(node, of: "log", known: ["file", "on_failure", "paths"], findings) else { return }
    log.file = fields.text("file", example: "/var/log/sluice.jsonl")
    log.paths = fields.choice("paths", Settings.LoggedPaths.self) ?? log.paths
    if fields.choice("on_failure", OnFailure.self) == .continue {
      log.refusesWhenUnwritable = false
      findings.warn(
        fields.mark(of: "on_failure"), "`on_failure: continue` lets traffic out unrecorded when the log fails")
    }
  }

  private func readLimits(_ node: YAMLNode, _ settings: inout Settings) {
    let keys = ["connections", "head_bytes", "hello_bytes", "dns_cache_names", "synthetic_names", "log_buffer_bytes"]
    guard let fields = Fields(node, of: "limits", known: keys, findings) else { return }
    let limits = settings.limits
    settings.limits.connections = fields.integer("connections", 1...1_000_000) ?? limits.connections
    settings.limits.headBytes = fields.bytes("head_bytes", 1024...262_144) ?? limits.headBytes
    settings.limits.helloBytes = fields.bytes("hello_bytes", 1024...65_536) ?? limits.helloBytes
    settings.limits.dnsCacheNames = fields.integer("dns_cache_names", 16...1_000_000) ?? limits.dnsCacheNames
    settings.limits.syntheticNames = fields.integer("synthetic_names", 16...1_000_000) ?? limits.syntheticNames
    settings.log.bufferBytes = fields.bytes("log_buffer_bytes", 65_536...1 << 30) ?? settings.log.bufferBytes
  }

  private func readTimeouts(_ node: YAMLNode, _ timeouts: inout Settings.Timeouts) {
    let keys = ["head", "hello", "connect", "idle", "keep_alive", "drain"]
    guard let fields = Fields(node, of: "timeouts", known: keys, findings) else { return }
    timeouts.headMs = fields.seconds("head", 0...3600) ?? timeouts.headMs
    timeouts.helloMs = fields.seconds("hello", 0...3600) ?? timeouts.helloMs
    timeouts.connectMs = fields.seconds("connect", 0...3600) ?? timeouts.connectMs
    timeouts.idleMs = fields.seconds("idle", 0...604_800) ?? timeouts.idleMs
    timeouts.keepAliveMs = fields.seconds("keep_alive", 0...86_400) ?? timeouts.keepAliveMs
    timeouts.drainMs = fields.seconds("drain", 0...86_400) ?? timeouts.drainMs
  }
}
