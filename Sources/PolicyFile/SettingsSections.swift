// What stands beside the rules: listen, resolver, log, limits, timeouts. Each key overrides a default of Settings.
// It relies on the bounds here: a value outside of them would break the gate or mean nothing.
import Policy
import Wire
import YAML

struct SettingsSections {
  let findings: Findings

  func read(_ root: Fields) -> Settings {
    var settings = Settings()
    if let node = root.node("listen") { readListen(node, &settings.listen) }
    if let node = root.node("resolver") { readResolver(node, &settings.resolver) }
    if let node = root.node("log") { readLog(node, &settings.log) }
    if let node = root.node("dns") { readDNS(node, &settings.dns) }
    if let node = root.node("limits") { readLimits(node, &settings) }
    if let node = root.node("timeouts") { readTimeouts(node, &settings.timeouts) }
    if let node = root.node("process_limits") { settings.process = LimitsSection(findings: findings).read(node) }
    if let node = root.node("filesystem_policy") { settings.files = FilesSection(findings: findings).read(node) }
    if let node = root.node("environment") { settings.environment = EnvironmentSection(findings: findings).read(node) }
    if let node = root.node("tls") { readTLS(node, &settings) }
    settings.explainsDenials = root.flag("explain_denials")
    return settings
  }

  private func readListen(_ node: YAMLNode, _ listen: inout Settings.Listen) {
    let known = Door.allCases.map(\.rawValue) + ["proxy_protocol", "admin", "metrics"]
    guard let fields = Fields(node, of: "listen", known: known, findings) else { return }
    listen.connect = []
    for door in Door.allCases { listen[door] = readListeners(door, fields) }
    // Sandboxes may bring all the listeners that there are.
    if Door.allCases.allSatisfy({ !fields.has($0.rawValue) }) && !fields.has("admin") {
      findings.problem(node.mark, "`listen` names no listener; write listen: {connect: 127.0.0.1:3128}")
    }
    listen.admin = readAdmin(fields)
    listen.metrics = readMetrics(fields)
    checkOverlaps(listen, fields)
    listen.proxyProtocol = networks("proxy_protocol", fields, example: "[10.0.0.5]")
  }

  /// Of another folder than the one that the gate is started in it would be another socket.
  private func readAdmin(_ fields: Fields) -> String? {
    guard let path = fields.text("admin", example: "/run/sluice/admin.sock"), let node = fields.node("admin") else {
      return nil
    }
    guard path.hasPrefix("/"), !path.hasSuffix("/") else {
      findings.problem(node.mark, "`admin` takes the whole path of a unix socket, such as /run/sluice/admin.sock")
      return nil
    }
    guard path.utf8.count <= Settings.Listen.adminBytesMax else {
      findings.problem(
        node.mark, "`admin` is at most \(Settings.Listen.adminBytesMax) bytes long, as the kernel takes no more")
      return nil
    }
    return path
  }

  private func readMetrics(_ fields: Fields) -> ListenAddress? {
    guard let node = fields.node("metrics"), let address = listener(node) else { return nil }
    if address.address.kind == .unspecified {
      findings.warn(
        node.mark, "\(address) shows the metrics to every network; name the address that Prometheus comes in on")
    }
    return address
  }

  private func readListeners(_ door: Door, _ fields: Fields) -> [ListenAddress] {
    let key = door.rawValue
    guard fields.has(key) else { return [] }
    var addresses: [ListenAddress] = []
    for node in fields.list(key, orSingle: true, example: door.example) {
      guard let address = listener(node) else { continue }
      if addresses.contains(address) {
        findings.problem(node.mark, "\(address) stands twice in `\(key)`; keep one")
      }
      // Redirected connections arrive at any address; whom the others serve is the operator's to say.
      if address.address.kind == .unspecified && door != .transparent {
        findings.warn(node.mark, "\(address) accepts from every network; name the address that clients come in on")
      }
      addresses.append(address)
    }
    if addresses.isEmpty {
      findings.problem(fields.mark(of: key), "`\(key)` names no address; write \(door.example)")
    }
    return addresses
  }

  private func checkOverlaps(_ listen: Settings.Listen, _ fields: Fields) {
    var seen: [ListenAddress: Door] = [:]
    for door in Door.allCases {
      for address in listen[door] where address.port != 0 {
        if let other = seen[address], other != door {
          findings.problem(
            fields.mark(of: door.rawValue), "\(address) stands in `\(other.rawValue)` too; give each its own port")
        }
        seen[address] = door
      }
    }
    if let metrics = listen.metrics, metrics.port != 0, let other = seen[metrics] {
      findings.problem(
        fields.mark(of: "metrics"), "\(metrics) stands in `\(other.rawValue)` too; give each its own port")
    }
  }

  private func networks(_ key: String, _ fields: Fields, example: String) -> [AddressPrefix] {
    fields.list(key, orSingle: true, example: example).compactMap { Networks.prefix($0, findings) }
  }

  private func listener(_ node: YAMLNode) -> ListenAddress? {
    guard case .scalar(let text, _) = node.content, !node.isNull else {
      findings.problem(node.mark, "a listener is ADDRESS:PORT such as 127.0.0.1:3128, not \(node.kindName)")
      return nil
    }
    if let address = ListenAddress(text) { return address }
    let advice =
      text.utf8.allSatisfy(\.isDigit)
      ? "write 127.0.0.1:\(text)" : "write an address and a port, such as 127.0.0.1:3128 or \"[::1]:3128\""
    findings.problem(node.mark, "`\(text.quotable)` is no listener; \(advice)")
    return nil
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
    guard let fields = Fields(node, of: "dns", known: ["answers", "ttl", "networks"], findings) else { return }
    dns.answers = fields.choice("answers", Settings.DNS.Answers.self) ?? dns.answers
    dns.ttlSeconds = fields.integer("ttl", 1...3600).map { UInt32($0) } ?? dns.ttlSeconds
    guard fields.has("networks") else { return }
    let networks = networks("networks", fields, example: "[198.18.0.0/15, \"fd73:6c75:6963::/64\"]")
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
        node, of: "tls", known: ["ca"], misplaced: ["roots": elsewhere, "client_certificate": elsewhere], findings)
    else { return }
    settings.caFolder = fields.text("ca", example: "/var/lib/sluice/ca")
    if fields.isEmpty { findings.problem(node.mark, "`tls` says nothing; write tls: {ca: /var/lib/sluice/ca}") }
  }

  private enum OnFailure: String, CaseIterable { case refuse, `continue` }

  private func readLog(_ node: YAMLNode, _ log: inout Settings.Log) {
    if case .scalar(let path, _) = node.content, !node.isNull {
      findings.problem(node.mark, "`log` is a mapping; write log: {file: \(path.quotable)}")
      return
    }
    guard let fields = Fields(node, of: "log", known: ["file", "on_failure"], findings) else { return }
    log.file = fields.text("file", example: "/var/log/sluice.jsonl")
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

extension Door {
  fileprivate var example: String {
    switch self {
    case .connect: "127.0.0.1:3128"
    case .transparent: "127.0.0.1:3129"
    case .dns: "127.0.0.1:3153"
    }
  }
}
