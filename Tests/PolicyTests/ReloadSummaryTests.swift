// What a reload says of two policies, and the sandboxes that a running gate adds to one.

import Policy
import Testing
import Wire

private let line = SourceLine(file: "t", line: 1)

private func network(_ rules: [(String, UInt16)], limit: Int? = nil) throws -> NetworkSpec {
  var spec = NetworkSpec(line: line)
  spec.allow = try rules.map { host, port in
    AllowSpec(line: line, pattern: .exact(.name(try HostName(host))), ports: PortSet([port...port]))
  }
  if let limit {
    var entry = RateLimit(line: line, pattern: .any, ports: .all)
    entry.requestsPerMinute = limit
    spec.rateLimits = [entry]
  }
  return spec
}

private func policy(
  _ network: NetworkSpec, clients: [ClientSpec] = [], inheriting old: Policy? = nil, idleMs: UInt64 = 1_000
) -> Policy {
  var settings = Settings()
  settings.timeouts.idleMs = idleMs
  return Policy(hash: "0", settings: settings, network: network, clients: clients, inheriting: old)
}

@Suite struct ReloadSummaryTests {
  @Test func theSamePolicyHasChangedInNothing() throws {
    let one = policy(try network([("a.example", 443)], limit: 6))
    #expect(ReloadSummary(from: one, to: policy(try network([("a.example", 443)], limit: 6))).lines == [])
  }

  @Test func rulesLimitsAndSettingsAreTold() throws {
    let old = policy(try network([("a.example", 443), ("b.example", 80)], limit: 6))
    var spec = try network([("b.example", 80), ("c.example", 22)], limit: 60)
    spec.deny = [DenyRule(line: line, pattern: .wildcard(try HostName("bad.example")), ports: .all)]
    spec.isReportOnly = true
    spec.defaultAllows = true
    #expect(
      ReloadSummary(from: old, to: policy(spec, idleMs: 2_500)).lines == [
        "~ timeouts.idle 1 -> 2.500", "~ default -> allow", "~ mode -> report", "+ deny *.bad.example:*",
        "- allow a.example:443", "+ allow c.example:22",
        "~ allow b.example:80: requests_per_minute 6 -> 60, burst 6 -> 60",
      ])
  }

  @Test func clientsAreTold() throws {
    let shared = try network([("a.example", 443)])
    var own = ClientSpec(name: "own", network: try network([("b.example", 443)]))
    let old = policy(shared, clients: [own, ClientSpec(name: "gone", network: shared)])
    own.network = try network([])
    own.passwordHash = [1]
    let new = policy(
      try network([]),
      clients: [own, ClientSpec(name: "new", network: shared), ClientSpec(name: "gone2", network: shared)])
    #expect(
      ReloadSummary(from: old, to: new).lines == [
        "- allow a.example:443", "- client gone", "~ client own: proxy user or password",
        "- client own: allow b.example:443", "+ client new", "+ client gone2",
      ])
  }
}

@Suite struct SandboxClientTests {
  private static func client(_ policy: Policy, _ name: String) throws -> Client {
    guard case .client(let client) = policy.identify(source: .v4(1), sandbox: name) else { throw Nobody() }
    return client
  }
  private struct Nobody: Error {}

  private static func take(_ client: Client) -> RequestBucket.Take? {
    client.network.allow.first?.requests?.take(nowNs: 1_000_000_000_000)
  }

  @Test func aSandboxHasTheFilesRulesAndItsOwnBuckets() throws {
    let plain = policy(try network([("a.example", 443)], limit: 1))
    let served = plain.serving(sandboxes: ["one", "two"])
    let (one, two) = (try Self.client(served, "one"), try Self.client(served, "two"))
    #expect(one.name == "one" && one.network.allow.count == 1)
    #expect(Self.take(one) == .taken && Self.take(one) != .taken)
    #expect(Self.take(two) == .taken)
    #expect(Self.take(served.fallback) == .taken)
    // The others are the very same, and no source address is the sandbox's.
    #expect(served.fallback === plain.fallback)
    guard case .client(let other) = served.identify(source: .v4(1)) else { throw Nobody() }
    #expect(other === plain.fallback)
  }

  @Test func whatASandboxUsedUpStaysSoOverAReload() throws {
    let old = policy(try network([("a.example", 443)], limit: 1)).serving(sandboxes: ["one"])
    #expect(Self.take(try Self.client(old, "one")) == .taken)
    let read = policy(try network([("a.example", 443), ("b.example", 1)], limit: 1), inheriting: old)
    let new = read.serving(sandboxes: ["one"], inheriting: old)
    #expect(Self.take(try Self.client(new, "one")) != .taken)
    // Also where the new file has an entry of that name.
    let named = policy(
      try network([]), clients: [ClientSpec(name: "one", network: try network([("a.example", 443)], limit: 1))],
      inheriting: old)
    #expect(Self.take(try Self.client(named.serving(sandboxes: ["one"], inheriting: old), "one")) != .taken)
  }

  @Test func aSandboxThatIsGoneLeavesTheFilesClients() throws {
    let entry = ClientSpec(name: "own", network: try network([("b.example", 443)]))
    let plain = policy(try network([]), clients: [entry])
    let served = plain.serving(sandboxes: ["own", "one"])
    #expect(served.clients.map(\.name) == ["own", "one"])
    #expect(served.withoutSandbox("one").clients.map(\.name) == ["own"])
    #expect(served.withoutSandbox("own").clients.map(\.name) == ["own", "one"])
    #expect(try Self.client(served.withoutSandbox("one"), "one") === plain.fallback)
  }

  @Test func aSandboxIsToldItsPortsAndWhetherItsProbeIsRefused() throws {
    let probe = try HostName("probe.example")
    var spec = try network([("a.example", 443), ("b.example", 443), ("c.example", 22)])
    let rules = SandboxRules(policy(spec).fallback.network, probe: probe, nowUnix: 0)
    #expect(rules.ports == [22...22, 443...443] && rules.refusesProbe)
    spec.allow.append(AllowSpec(line: line, pattern: .any, ports: PortSet([1...9])))
    #expect(!SandboxRules(policy(spec).fallback.network, probe: probe, nowUnix: 0).refusesProbe)
  }

  @Test(arguments: [("a", true), ("A-b_c.9", true), ("", false), ("default", false), ("a b", false), ("é", false)])
  func namesOfClients(name: String, isOne: Bool) {
    #expect(Client.mayBeCalled(name) == isOne)
    #expect(!Client.mayBeCalled(String(repeating: "x", count: 65)))
  }
}
