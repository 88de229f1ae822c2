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
    commandName: "check",
    abstract: "Validate a policy file, and explain its verdict on targets.",
    discussion: """
      Prints every problem as file:line:column. With targets, prints one verdict a
      line: the rule with its place, the bucket, and which addresses may be dialled.
      A URL is judged as a request for it (GET, or --method). No name is looked up
      and no token is taken.

        sluice check agent.yaml
        sluice check agent.yaml api.example.com:443
        sluice check agent.yaml https://api.example.com/v1/models --method POST

      Exit status: 0 the file is valid and every target is allowed, 1 a target is
      refused, 2 an error.
      """)

  @Option(
    help: ArgumentHelp("The policy file (YAML), also as the first argument.", valueName: "file"), completion: .policy)
  var policy: String?
  @Option(
    help: ArgumentHelp(
      "A profile to include before the policy; `sluice profile list` prints the names. May repeat.", valueName: "name"),
    completion: .profiles)
  var profile: [String] = []
  @Option(
    help: ArgumentHelp("Judge as this client of `clients`. Default: the file's own network_policy.", valueName: "name"))
  var client: String?
  @Option(help: ArgumentHelp("The method of requests for URLs.", valueName: "method"))
  var method = "GET"
  @Option(
    help: ArgumentHelp(
      "The admin socket of a running gate: its approvals count too.", valueName: "socket"),
    completion: .file())
  var gate: String?
  @Flag(help: "One JSON object per line.") var json = false
  @Argument(
    help: ArgumentHelp(
      "The policy file, then targets to judge: HOST:PORT or a URL.", valueName: "file or target"),
    completion: .policy)
  var arguments: [String] = []

  func run() throws {
    var asked = arguments
    var file = policy
    if let first = asked.first, CheckedTarget.isFile(first) {
      if let policy { try fail("two policy files are named, \(policy) and \(first); name one") }
      file = asked.removeFirst()
    }
    if let problem = ProfileCommand.problem(profile) { try fail(problem) }
    if file == nil && asked.isEmpty && profile.isEmpty {
      try fail("nothing to check; write `sluice check FILE`, with HOST:PORT or a URL after it")
    }
    var policy = try load(file)
    if let gate { policy = policy.approving(try ApprovalItem.rules(at: gate)) }
    let network = try network(of: policy)
    for note in passwordNotes(policy) { Messages.say("note: \(note)") }
    if asked.isEmpty {
      print(json ? #"{"valid":true,"policy":"\#(policy.hash)"}"# : summary(policy, file))
      return
    }
    var isRefused = false
    for target in try asked.map(parse) {
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

  private func load(_ file: String?) throws -> Policy {
    if file == nil && profile.isEmpty { return Policy.denyAll }
    guard let policy = PolicyOnDisk.load(file, profiles: profile) else { throw ExitCode(2) }
    return policy
  }

  private func network(of policy: Policy) throws -> NetworkPolicy {
    guard let name = client else { return policy.fallback.network }
    if let client = policy.clients.first(where: { $0.name == name }) { return client.network }
    let names = policy.clients.map(\.name).joined(separator: ", ")
    try fail("--client \(name): no such client; the file has \(names.isEmpty ? "none" : names)")
  }

  private func parse(_ text: String) throws -> CheckedTarget {
    do throws(CheckedTarget.Problem) { return try CheckedTarget(text, method: method) } catch {
      try fail("\(text): \(error.text)")
    }
  }

  private func fail(_ text: String) throws -> Never {
    Messages.say(text)
    throw ExitCode(2)
  }

  private func summary(_ policy: Policy, _ file: String?) -> String {
    let network = policy.fallback.network
    let counts = "\(network.allow.count) allow, \(network.deny.count) deny, \(policy.clients.count) clients"
    return "\(file ?? "--profile \(profile.joined(separator: " "))"): valid, policy \(policy.hash): \(counts)"
  }
}

/// The verdict on one target, for a reader or a program.
struct Explanation {
  let isAllowed: Bool
  private let checked: CheckedTarget
  private var facts: [(name: String, value: String)] = []

  init(of checked: CheckedTarget, network: NetworkPolicy, nowUnix: Int64) {
    self.checked = checked
    let target = checked.target
    switch network.judge(target, nowUnix: nowUnix) {
    case .allow(let rule):
      let approval = checked.request.flatMap { rule.approval($0.method, $0.path, of: target, nowUnix: nowUnix) }
      let refusal = checked.request.flatMap { rule.refusal(method: $0.method, path: $0.path) }.flatMap {
        approval == nil ? $0 : nil
      }
      isAllowed = refusal == nil || network.isReportOnly
      if let refusal { facts.append((network.isReportOnly ? "would_deny" : "reason", refusal.reason.rawValue)) }
      if let detail = refusal?.detail { facts.append(("detail", detail)) }
      facts.append(("rule", "\(approval ?? rule.line)"))
      if checked.request != nil, !rule.isInspected { facts.append(("inspected", "false")) }
      for fact in rule.facts(port: target.port) where fact.name != "addresses" {
        facts.append((fact.name, fact.value))
        guard fact.name == "protocol" else { continue }
        facts.append(("addresses", Self.addresses(rule, target)))
        if let line = rule.limitLine { facts.append(("limit", "\(line)")) }
      }
      if rule.limitLine != nil, rule.onLimit == .refuse { facts.append(("on_limit", rule.onLimit.rawValue)) }
      facts += rule.inspection?.credential.map(Self.credential) ?? []
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
    if rule.isHostMachine { return "only the loopback of the gate's machine" }
    return target.host.isPrivateUse ? "global and private" : "global only"
  }

  /// Beside what the rule says of it.
  private static func credential(_ credential: Credential) -> [(name: String, value: String)] {
    [
      ("credential_source", credential.source.word), ("credential_place", credential.placement.description),
      ("credential_mode", credential.placeholder == nil ? "inject" : "replace"),
    ]
  }

  var text: String {
    let details = facts.map { "\($0.name)=\($0.value.contains(" ") ? "\"\($0.value)\"" : $0.value)" }
    return ([isAllowed ? "allow" : "refuse", "\(checked)"] + details).joined(separator: " ")
  }

  var json: String { JSONText.object([("target", "\(checked)"), ("verdict", isAllowed ? "allow" : "refuse")] + facts) }
}
