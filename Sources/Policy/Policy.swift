// One policy file in force: settings, clients, and the rules of each client. Immutable, shared by all loops.
// It relies on NetworkPolicy for verdicts; a reload replaces the whole policy, and bucket levels pass to the new one.
package import Wire

/// One entry of `clients` as written in the file.
package struct ClientSpec: Sendable {
  package var name: String
  package var sources: [AddressPrefix] = []
  package var proxyUser: [UInt8]?
  package var passwordHash: [UInt8]?
  package var network: NetworkSpec

  package init(name: String, network: NetworkSpec) {
    self.name = name
    self.network = network
  }
}

package final class Client: Sendable {
  package let name: String
  /// The name as a prepared log field, since every line has it.
  package let logField: [UInt8]
  package let sources: [AddressPrefix]
  package let proxyUser: [UInt8]?
  /// The hash in the format of crypt(5).
  package let passwordHash: [UInt8]?
  package let network: NetworkPolicy
  /// The entry as written, without approved rules.
  package let spec: ClientSpec
  /// Rules that a person approved while the gate runs.
  package let approved: [ApprovedRule]

  init(_ spec: ClientSpec, approved: [ApprovedRule] = [], inheriting old: Client?, sharing bell: LeaseBell?) {
    self.spec = spec
    self.approved = approved
    name = spec.name
    logField = JSONText.field("client", spec.name)
    sources = spec.sources
    proxyUser = spec.proxyUser
    passwordHash = spec.passwordHash
    let scope = bell.map { SharedScope(client: spec.name, bell: $0) }
    network = NetworkPolicy(spec.network, approved: approved, inheriting: old?.network, sharing: scope)
  }

  /// True for a valid client name, and so a valid sandbox name.
  package static func mayBeCalled(_ name: String) -> Bool {
    let isWord = name.utf8.allSatisfy { byte in
      byte &- 0x30 < 10 || (byte | 0x20) &- 0x61 < 26 || byte == 0x2d || byte == 0x2e || byte == 0x5f
    }
    return isWord && (1...64).contains(name.utf8.count) && name != Policy.fallbackName
  }

  /// The length of the longest source network that contains the address.
  fileprivate func match(_ source: IPAddress) -> Int? {
    sources.lazy.filter { $0.contains(source) }.map(\.length).max()
  }

  fileprivate func maySpeak(from source: IPAddress) -> Bool { sources.isEmpty || match(source) != nil }
}

package final class Policy: Sendable {
  package enum Identity: Sendable {
    case client(Client)
    /// Clients at this address are told apart by their proxy user (407 without one).
    case needsCredentials
  }

  /// The client of the file's own `network_policy`.
  package static let fallbackName = "default"

  /// 16 hexadecimal digits that identify the policy in the log.
  package let hash: String
  /// The same as a field of the log.
  package let logField: [UInt8]
  package let settings: Settings
  package let clients: [Client]
  package let fallback: Client
  /// The rules for sandboxes that the file does not name.
  let fallbackSpec: NetworkSpec
  /// The number of clients from the file; the clients after them belong to sandboxes.
  private let fileClientCount: Int
  /// Set if gates share limits. Sharing cannot change while the process runs.
  package let leaseBell: LeaseBell?
  /// Sorted by name.
  package let credentials: [Credential]
  package let placeholders: Placeholders
  private let bySource: [Client]
  private let byUser: [Client]
  private let byName: [String: Client]

  package init(
    hash: String, settings: Settings, network: NetworkSpec, clients: [ClientSpec], credentials: [Credential] = [],
    inheriting old: Policy? = nil
  ) {
    self.hash = hash
    logField = JSONText.field("policy", hash)
    self.settings = settings
    self.credentials = credentials.sorted { $0.name < $1.name }
    placeholders = Placeholders(credentials)
    let bell = old.map(\.leaseBell) ?? settings.shared.map { _ in LeaseBell() }
    leaseBell = bell
    fallback = Client(
      ClientSpec(name: Self.fallbackName, network: network), inheriting: old?.fallback, sharing: bell)
    var before: [String: Client] = [:]
    for client in old?.clients ?? [] { before[client.name] = client }
    self.clients = clients.map { Client($0, inheriting: before[$0.name], sharing: bell) }
    fallbackSpec = network
    fileClientCount = clients.count
    (bySource, byUser, byName) = Self.index(self.clients)
  }

  /// The same policy with other clients.
  init(_ policy: Policy, fallback: Client? = nil, clients: [Client]) {
    (hash, logField, settings) = (policy.hash, policy.logField, policy.settings)
    self.fallback = fallback ?? policy.fallback
    (fallbackSpec, fileClientCount) = (policy.fallbackSpec, policy.fileClientCount)
    (credentials, placeholders, leaseBell) = (policy.credentials, policy.placeholders, policy.leaseBell)
    self.clients = clients
    (bySource, byUser, byName) = Self.index(clients)
  }

  private static func index(_ clients: [Client]) -> (bySource: [Client], byUser: [Client], byName: [String: Client]) {
    (
      clients.filter { $0.proxyUser == nil }, clients.filter { $0.proxyUser != nil },
      Dictionary(clients.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    )
  }

  func isOfFile(_ client: Client) -> Bool { clients.prefix(fileClientCount).contains { $0 === client } }

  /// Without a policy nothing is allowed.
  package static let denyAll = denyAll(clients: [])

  package static func denyAll(clients names: [String]) -> Policy {
    let network = NetworkSpec(line: SourceLine(file: "(no policy)", line: 0))
    return Policy(
      hash: "0000000000000000", settings: Settings(), network: network,
      clients: names.map { ClientSpec(name: $0, network: network) })
  }

  /// Identifies the client. A connection by a sandbox's own listener belongs to that sandbox, whatever its address.
  /// Others are identified by the longest matching source network, then by proxy user if the address has such
  /// clients.
  package func identify(source: IPAddress, sandbox: String? = nil) -> Identity {
    if let sandbox { return .client(byName[sandbox] ?? fallback) }
    if clients.isEmpty { return .client(fallback) }
    // A dual-stack listener reports IPv4 clients by their mapped address.
    let source = source.unmapped
    var best: (client: Client, length: Int)?
    for client in bySource {
      guard let length = client.match(source), length > best?.length ?? -1 else { continue }
      best = (client, length)
    }
    if let best { return .client(best.client) }
    return byUser.contains { $0.maySpeak(from: source) } ? .needsCredentials : .client(fallback)
  }

  /// True if this address is in a source network of some client.
  package func hasClient(at source: IPAddress) -> Bool {
    let source = source.unmapped
    return clients.contains { $0.match(source) != nil }
  }

  /// True if the policy has separate clients: shared resources are then limited per client.
  package var tellsClientsApart: Bool { !clients.isEmpty }

  /// The client of this user. The password is not checked here.
  package func client(source: IPAddress, user: [UInt8]) -> Client? {
    let source = source.unmapped
    return byUser.first { $0.proxyUser == user && $0.maySpeak(from: source) }
  }

  /// FNV-1a over the file's bytes.
  package static func hash(of bytes: [UInt8]) -> String {
    let value = bytes.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

extension IPAddress {
  var unmapped: IPAddress {
    guard case .v6(0, let low) = self, low >> 32 == 0xffff else { return self }
    return .v4(UInt32(truncatingIfNeeded: low))
  }
}

extension Policy {
  /// Content checks of all rules, with duplicates.
  package var contentPolicies: [ContentPolicy] {
    (clients + [fallback]).flatMap { $0.network.allow }.compactMap(\.inspection?.content).filter { !$0.checksNothing }
  }

  /// The distinct TLS settings of inspected rules; empty if no rule is inspected.
  package var inspectedTLS: Set<UpstreamTLS> {
    var found: Set<UpstreamTLS> = []
    for client in clients + [fallback] {
      for rule in client.network.allow { if let inspection = rule.inspection { found.insert(inspection.tls) } }
    }
    return found
  }
}
