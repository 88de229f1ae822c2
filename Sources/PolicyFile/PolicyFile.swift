// A policy file: YAML in, a Policy or every problem with its line and column out. Start reading here.
// It relies on one section reader per key; it opens no file, so that parsing can be tested and fuzzed.
package import Policy
import Wire
package import YAML

package struct LoadedPolicy {
  /// Nil when there is a problem: a bad file never replaces a good policy.
  package let policy: Policy?
  package let problems: [Problem]
  /// Warnings: an operator may mean it, and should know.
  package let warnings: [Problem]
  /// Every section read, with its allowed keys.
  package let schema: Set<SchemaSection>
}

package enum PolicyFile {
  private static let keys = TopLevelKeys.sections + [Includes.key]
  /// People write rules without the section around them.
  private static let misplaced = NetworkSection.keys.reduce(into: [String: String]()) {
    $0[$1] = "it is a key of `network_policy`; write `network_policy:` above it, and indent it by two spaces"
  }

  /// `name` is the file's name in messages and log lines; `nowUnix` decides which rules have expired; `sandbox` is a
  /// client that always exists, with the file's rules unless `clients` has others. `profiles` are included first;
  /// `registries` answers for `network_policy.registries`.
  package static func parse(
    bytes: [UInt8], name: String, profiles: [String] = [], inheriting old: Policy? = nil, sandbox: String? = nil,
    nowUnix: Int64 = 0, registries: RegistryAnswers = RegistryAnswers(),
    readFile: @escaping (String) -> [UInt8]? = { _ in nil }
  ) -> LoadedPolicy {
    let findings = Findings(file: name)
    let root = expanded(bytes, profiles, findings, readFile)
    let policy = root.flatMap { read($0.root, $0.bytes, findings, old, sandbox, nowUnix, registries, readFile) }
    let (problems, warnings) = findings.sorted()
    return LoadedPolicy(
      policy: problems.isEmpty ? policy : nil, problems: problems, warnings: warnings,
      schema: findings.schema)
  }

  /// The root with all includes, and their bytes.
  private static func expanded(
    _ bytes: [UInt8], _ profiles: [String], _ findings: Findings, _ readFile: @escaping (String) -> [UInt8]?
  ) -> (root: YAMLNode, bytes: [UInt8])? {
    let parsed = YAMLDocument.parse(bytes, findings)
    guard findings.problems.isEmpty else { return nil }
    guard let parsed, !parsed.isNull else {
      findings.problem(
        Mark(line: 1, column: 1), "the file is empty; write network_policy: {allow: [api.example.com:443]}")
      return nil
    }
    if case .sequence = parsed.content {
      findings.problem(
        parsed.mark,
        "a list of rules alone is no policy; write `network_policy:`, below it `allow:`, and the list below that")
      return nil
    }
    Typography.check(parsed, findings)
    guard findings.problems.isEmpty else { return nil }
    var includes = Includes(bytes, findings: findings, readFile: readFile)
    let root = includes.expand(parsed, profiles: profiles)
    return (root, includes.bytes)
  }

  private static func read(
    _ root: YAMLNode, _ bytes: [UInt8], _ findings: Findings, _ old: Policy?, _ sandbox: String?, _ nowUnix: Int64,
    _ registries: RegistryAnswers, _ readFile: @escaping (String) -> [UInt8]?
  ) -> Policy? {
    guard let fields = Fields(root, of: "the policy file", known: keys, misplaced: misplaced, findings) else {
      return nil
    }
    let files = PolicyFiles(findings: findings, read: readFile)
    var defaults = InspectionDefaults()
    defaults.hasApprovals = fields.has("approvals")
    if let node = fields.node("credentials") {
      CredentialsSection(findings: findings, files: files).read(node, into: &defaults)
    }
    if let node = fields.node("content_policy") {
      let keys = ContentKeys(findings: findings, files: files, hasApprovals: defaults.hasApprovals)
      defaults.content = keys.read(node, of: "content_policy")
    }
    let keys = InspectionKeys(findings: findings, files: files, defaults: defaults)
    let section = NetworkSection(findings: findings, nowUnix: nowUnix, inspection: keys, registries: registries)
    guard let networkNode = fields.node("network_policy") else {
      // Misspelled keys, or rules without their section, are reported already.
      guard findings.problems.isEmpty else { return nil }
      findings.problem(
        root.mark, "`network_policy` is missing; to deny everything write network_policy: {default: deny}")
      return nil
    }
    let network = section.read(networkNode)
    var clients =
      fields.node("clients").map {
        ClientsSection(findings: findings, network: section, shared: network, sandbox: sandbox, readFile: readFile)
          .read($0)
      } ?? []
    if let sandbox, !clients.contains(where: { $0.name == sandbox }) {
      clients.append(ClientSpec(name: sandbox, network: network))
    }
    CredentialsSection.warn(defaults.credentials, of: [network] + clients.map(\.network), findings)
    var settings = SettingsSections(findings: findings, files: files).read(fields)
    settings.registries = registries.all
    guard findings.problems.isEmpty else { return nil }
    return Policy(
      hash: Policy.hash(of: bytes), settings: settings, network: network, clients: clients,
      credentials: Array(defaults.credentials.values), inheriting: old)
  }
}
