// `sluice check`: is this policy file right, and what would the gate say to these targets?
// It relies on the same Policy that the gate uses, so what is printed is what would happen; nothing is looked up.
import ArgumentParser
import Gate
import Kernel
import Policy
import PolicyFile
import Wire

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Validate a policy file, and explain its verdict on targets.",
    discussion: """
      Prints every problem as file:line:column. With targets, prints one verdict a
      line: the rule with its line, the bucket, and which addresses may be dialled.
      No name is looked up and no token is taken.

      Exit status: 0 the file is right and every target is allowed, 1 a target is
      refused, 2 an error.
      """)

  @Option(
    help: ArgumentHelp("The policy file (YAML). Without one everything is denied.", valueName: "file"),
    completion: .policy)
  var policy: String?
  @Option(
    help: ArgumentHelp("Judge as this client of `clients`. Default: the file's own network_policy.", valueName: "name"))
  var client: String?
  @Flag(help: "One JSON object a line.") var json = false
  @Argument(help: ArgumentHelp("What a client would ask for.", valueName: "host:port")) var targets: [String] = []

  func run() throws {
    if policy == nil && targets.isEmpty { try fail("nothing to check; give --policy FILE, or HOST:PORT, or both") }
    let policy = try load()
    let network = try network(of: policy)
    for note in passwordNotes(policy) { Messages.say("note: \(note)") }
    if targets.isEmpty {
      print(json ? #"{"valid":true,"policy":"\#(policy.hash)"}"# : summary(policy))
      return
    }
    var isRefused = false
    var parsed: [Target] = []
    for text in targets { parsed.append(try parse(text)) }
    for target in parsed {
      let explanation = Explanation(of: target, network: network, nowUnix: Clock.wallMs() / 1000)
      print(json ? explanation.json : explanation.text)
      if !explanation.isAllowed { isRefused = true }
    }
    if isRefused { throw ExitCode(1) }
  }

  /// A verdict comes behind the password: without it the answer is 407.
  private func passwordNotes(_ policy: Policy) -> [String] {
    let known = policy.clients.filter { $0.proxyUser != nil && (client == nil || client == $0.name) }
    return known.map { known in
      let place = known.sources.map { "\($0)" }.joined(separator: ", ")
      let from = place.isEmpty ? "" : " from \(place)"
      let user = String(decoding: known.proxyUser ?? [], as: UTF8.self)
      return
        "client \(known.name) is known by its proxy user: connections\(from) are asked for a password (407) until \(Text.plain(user)) gives it"
    }
  }

  private func load() throws -> Policy {
    guard let path = policy else { return Policy.denyAll }
    guard let policy = PolicyOnDisk.load(path) else { throw ExitCode(2) }
    return policy
  }

  private func network(of policy: Policy) throws -> NetworkPolicy {
    guard let name = client else { return policy.fallback.network }
    if let client = policy.clients.first(where: { $0.name == name }) { return client.network }
    let names = policy.clients.map(\.name).joined(separator: ", ")
    try fail("--client \(name): no such client; the file has \(names.isEmpty ? "none" : names)")
  }

  private func parse(_ text: String) throws -> Target {
    do throws(AuthorityProblem) { return try Authority.parse(Array(text.utf8).span, defaultPort: nil) } catch {
      try fail("\(text): \(error); write HOST:PORT, such as api.example.com:443")
    }
  }

  private func fail(_ text: String) throws -> Never {
    Messages.say(text)
    throw ExitCode(2)
  }

  private func summary(_ policy: Policy) -> String {
    let network = policy.fallback.network
    let counts = "\(network.allow.count) allow, \(network.deny.count) deny, \(policy.clients.count) clients"
    return "\(self.policy ?? "(no policy)"): valid, policy \(policy.hash): \(counts)"
  }
}

/// The verdict on one target, for a reader or a program.
struct Explanation {
  let isAllowed: Bool
  private let target: Target
  private var facts: [(name: String, value: String)] = []

  init(of target: Target, network: NetworkPolicy, nowUnix: Int64) {
    self.target = target
    switch network.judge(target, nowUnix: nowUnix) {
    case .allow(let rule):
      isAllowed = true
      facts.append(("rule", "\(rule.line)"))
      facts.append(("protocol", rule.wireProtocol(port: target.port).rawValue))
      facts.append(("addresses", Self.addresses(rule, target)))
      if !rule.dnsTypes.isEmpty { facts.append(("dns_types", rule.dnsTypesText)) }
      facts += Self.limits(rule)
      facts += rule.inspection.map(Self.inspection) ?? []
    case .refuse(let reason, let line):
      // Report mode lets it out all the same, and says so.
      isAllowed = network.isReportOnly
      facts.append((network.isReportOnly ? "would_deny" : "reason", reason.rawValue))
      if let line { facts.append(("rule", "\(line)")) }
      if reason == .notAllowed { facts.append(("policy_line", "- \(target)")) }
    }
  }

  private static func addresses(_ rule: AllowRule, _ target: Target) -> String {
    if !rule.addresses.isEmpty { return "only " + rule.addresses.map { "\($0)" }.joined(separator: " ") }
    guard case .name = target.host else { return "only \(target.host)" }
    return target.host.isPrivateUse ? "global and private" : "global only"
  }

  private static func inspection(_ inspection: Inspection) -> [(name: String, value: String)] {
    var facts = [(name: "inspected", value: "true")]
    let methods = inspection.methods.map { String(decoding: $0, as: UTF8.self) }
    if !methods.isEmpty { facts.append(("methods", methods.joined(separator: " "))) }
    if !inspection.paths.isEmpty { facts.append(("paths", inspection.paths.map(\.description).joined(separator: " "))) }
    if let credential = inspection.credential {
      facts.append(("credential", credential.name))
      facts.append(("credential_source", credential.source.word))
      facts.append(("credential_place", credential.placement.description))
      facts.append(("credential_mode", credential.placeholder == nil ? "inject" : "replace"))
    }
    if inspection.allowsKeyIssuing { facts.append(("key issuing", "allowed")) }
    if let roots = inspection.tls.roots { facts.append(("roots", roots.path)) }
    if let certificate = inspection.tls.clientCertificate {
      facts.append(("client_certificate", certificate.certificate.path))
    }
    return facts + content(inspection.content)
  }

  private static func content(_ content: ContentPolicy) -> [(name: String, value: String)] {
    var facts: [(name: String, value: String)] = []
    if let bytes = content.maxResponseBytes {
      facts.append(("max_response_bytes", "\(bytes)"))
      facts.append(("on_too_large", content.onTooLarge.rawValue))
    }
    if content.stripsHTML { facts.append(("strip_html", "true")) }
    if let action = content.flagInstructions { facts.append(("flag_instructions", action.rawValue)) }
    if let action = content.secrets { facts.append(("secrets", action.rawValue)) }
    return facts
  }

  private static func limits(_ rule: AllowRule) -> [(name: String, value: String)] {
    var facts: [(name: String, value: String)] = []
    if let line = rule.limitLine { facts.append(("limit", "\(line)")) }
    if let bucket = rule.requests {
      facts.append(("requests_per_minute", "\(bucket.perMinute)"))
      facts.append(("burst", "\(bucket.burst)"))
    }
    if let limit = rule.concurrent { facts.append(("concurrent", "\(limit.limit)")) }
    if let bytes = rule.uploadBytes { facts.append(("upload_bytes_per_minute", "\(bytes.perMinute)")) }
    if let bytes = rule.downloadBytes { facts.append(("download_bytes_per_minute", "\(bytes.perMinute)")) }
    if let ms = rule.tunnelLifetimeMs { facts.append(("tunnel_lifetime_seconds", "\(ms / 1000)")) }
    if rule.limitLine != nil { facts.append(("on_limit", rule.onLimit.rawValue)) }
    return facts
  }

  var text: String {
    let details = facts.map { "\($0.name)=\($0.value.contains(" ") ? "\"\($0.value)\"" : $0.value)" }
    return ([isAllowed ? "allow" : "refuse", "\(target)"] + details).joined(separator: " ")
  }

  var json: String { JSONText.object([("target", "\(target)"), ("verdict", isAllowed ? "allow" : "refuse")] + facts) }
}
