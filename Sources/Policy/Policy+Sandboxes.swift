// Sandboxes that a running gate serves: each is a client of its name, with its entry of `clients`, or with the file's
// rules and separate buckets.
// It relies on a policy being immutable: a new or ended sandbox makes another policy, which shares all clients.
package import Wire

extension Policy {
  /// The policy with a client for each sandbox. Usage under `old` is kept.
  package func serving(sandboxes names: [String], inheriting old: Policy? = nil) -> Policy {
    let missing = names.filter { name in !clients.contains { $0.name == name } }
    let added = missing.map { name in
      Client(
        ClientSpec(name: name, network: fallbackSpec), inheriting: old?.clients.first { $0.name == name },
        sharing: leaseBell)
    }
    return added.isEmpty ? self : Policy(self, clients: clients + added)
  }

  /// The policy without the client that `serving` added. A client of the file stays.
  package func withoutSandbox(_ name: String) -> Policy {
    guard let client = clients.first(where: { $0.name == name }), !isOfFile(client) else { return self }
    return Policy(self, clients: clients.filter { $0 !== client })
  }
}

/// Facts about its rules that a sandbox needs before it is made.
package struct SandboxRules: Sendable {
  private static let rangesMax = 1_000

  /// Ports that the rules name, the narrowest ranges first.
  package let ports: [ClosedRange<UInt16>]
  /// True if the rules refuse the name that the sandbox's probe asks for.
  package let refusesProbe: Bool

  package init(ports: [ClosedRange<UInt16>], refusesProbe: Bool) {
    (self.ports, self.refusesProbe) = (ports, refusesProbe)
  }

  package init(_ network: NetworkPolicy, probe: HostName, nowUnix: Int64) {
    let ranges = Set(network.allow.flatMap(\.ports.ranges))
    let sorted = ranges.sorted { ($0.count, $0.lowerBound) < ($1.count, $1.lowerBound) }
    // The extra full range marks a cut list: a sandbox cannot have a listener for each port anyway.
    ports = Array(sorted.prefix(Self.rangesMax)) + (sorted.count > Self.rangesMax ? [1...UInt16.max] : [])
    refusesProbe = network.refuses(probe, nowUnix: nowUnix)
  }
}

extension NetworkPolicy {
  /// True if connections to this name and lookups of it are both refused.
  package func refuses(_ name: HostName, nowUnix: Int64) -> Bool {
    guard !isReportOnly, case .refuse = judge(Target(host: .name(name), port: 443), nowUnix: nowUnix) else {
      return false
    }
    // A rule for every name on another port lets the name be looked up.
    return !defaultAllows && !allow.contains { $0.pattern == .any }
  }
}
