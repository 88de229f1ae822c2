// What a change of policy lets out and shuts: held to the two policies' own verdicts.
import Policy
import Testing
import Wire

private func rule(_ host: String, _ ports: ClosedRange<UInt16>...) throws -> AllowSpec {
  AllowSpec(line: SourceLine(file: "p", line: 1), pattern: try pattern(host), ports: PortSet(ports))
}

private func pattern(_ text: String) throws -> HostPattern {
  if text == "*" { return .any }
  if text.hasPrefix("*.") { return .wildcard(try HostName(String(text.dropFirst(2)))) }
  return .exact(try Host(parsing: Array(text.utf8).span))
}

private func policy(_ change: (inout NetworkSpec) throws -> Void, clients: [ClientSpec] = []) rethrows -> Policy {
  var network = NetworkSpec(line: SourceLine(file: "p", line: 1))
  try change(&network)
  return Policy(hash: "0", settings: Settings(), network: network, clients: clients)
}

private func diff(_ old: Policy, _ new: Policy) -> [String] {
  PolicyDiff(from: old, to: new, nowUnix: 1000).changes.map {
    "\($0.kind.rawValue) \($0.client ?? "-") \($0.target ?? "-") \($0.details.joined(separator: ", "))"
  }
}

@Suite struct PolicyDiffTests {
  @Test func theSameIsNoChange() throws {
    let one = try policy { $0.allow = [try rule("a.example", 443...443), try rule("*.b.example", 80...80)] }
    let other = try policy { $0.allow = [try rule("*.b.example", 80...80), try rule("a.example", 443...443)] }
    #expect(diff(one, other) == [])
  }

  @Test func whatARuleLetsOut() throws {
    let one = try policy { $0.allow = [try rule("a.example", 443...443)] }
    let other = try policy { $0.allow = [try rule("a.example", 443...445), try rule("192.0.2.7", 22...22)] }
    #expect(
      diff(one, other) == [
        "lets_out default 192.0.2.7:22 protocol: auto", "lets_out default a.example:444-445 protocol: auto",
      ])
    #expect(
      diff(other, one) == ["shuts default 192.0.2.7:22 not_allowed", "shuts default a.example:444-445 not_allowed"])
  }

  /// A name that a wildcard lets out already is no change; what the wildcard adds around it is.
  @Test func wildcards() throws {
    let named = try policy { $0.allow = [try rule("x.a.example", 443...443)] }
    let wild = try policy { $0.allow = [try rule("*.a.example", 443...443)] }
    #expect(diff(named, wild) == ["lets_out default *.a.example:443 protocol: tls"])
    let both = try policy { $0.allow = [try rule("*.a.example", 443...443), try rule("x.a.example", 443...443)] }
    #expect(diff(wild, both) == [])
    let less = try policy {
      $0.allow = [try rule("*.a.example", 443...443)]
      $0.deny = [DenyRule(line: SourceLine(file: "p", line: 9), pattern: try pattern("*.b.a.example"), ports: .all)]
    }
    #expect(diff(wild, less) == ["shuts default *.b.a.example:443 denied_by_rule"])
  }

  @Test func limitsAddressesAndExpiry() throws {
    let one = try policy {
      $0.allow = [try rule("a.example", 443...443)]
      var limit = RateLimit(line: SourceLine(file: "p", line: 3), pattern: .any, ports: .all)
      limit.requestsPerMinute = 60
      $0.rateLimits = [limit]
    }
    let other = try policy {
      var changed = try rule("a.example", 443...443)
      changed.addresses = [try AddressPrefix("10.0.0.0/8")]
      changed.expiresAt = 2000
      $0.allow = [changed]
    }
    #expect(
      diff(one, other) == [
        "changes default a.example:443 requests_per_minute: 60 -> none, burst: 60 -> none, expires: none -> 1970-01-01T00:33:20.000Z, "
          + "addresses: none -> 10.0.0.0/8"
      ])
    let gone = try policy {
      var changed = try rule("a.example", 443...443)
      changed.expiresAt = 500
      $0.allow = [changed]
    }
    #expect(diff(one, gone) == ["shuts default a.example:443 expired"])
  }

  @Test func clientsModesAndDefaults() throws {
    let shared = try rule("a.example", 443...443)
    var own = NetworkSpec(line: SourceLine(file: "p", line: 5))
    own.allow = [try rule("b.example", 443...443)]
    let one = policy { $0.allow = [shared] }
    let other = policy({ $0.allow = [shared] }, clients: [ClientSpec(name: "builder", network: own)])
    #expect(
      diff(one, other) == [
        "other builder - is new; until now the file's own rules held for who it is",
        "shuts builder a.example:443 not_allowed", "lets_out builder b.example:443 protocol: tls",
      ])
    let open = policy { ($0.defaultAllows, $0.isReportOnly, $0.allow) = (true, true, [shared]) }
    #expect(
      diff(one, open) == [
        "other default - mode: enforce -> report; report lets out what enforce refuses",
        "other default - default: deny -> allow",
        "lets_out default *:[1-442, 444-65535] protocol: auto", "lets_out default *:443 protocol: tls",
        "lets_out default a.example:[1-442, 444-65535] protocol: auto",
      ])
  }

  /// Any two policies: a target whose verdict differs is told of by some change of its pattern, and only such a one.
  @Test func agreesWithTheVerdicts() throws {
    var random = SystemRandomNumberGenerator()
    let hosts = ["*", "*.a.example", "*.b.a.example", "a.example", "x.a.example", "y.b.a.example", "192.0.2.1"]
    let asked = [
      "z.example", "a.example", "x.a.example", "q.a.example", "y.b.a.example", "w.b.a.example", "v.w.b.a.example",
      "192.0.2.1",
    ]
    func some() throws -> Policy {
      try policy { spec in
        for host in hosts where Bool.random(using: &random) {
          let low = UInt16.random(in: 79...84, using: &random)
          let ports = low...UInt16.random(in: low...86, using: &random)
          if Int.random(in: 0..<4, using: &random) == 0 {
            spec.deny.append(
              DenyRule(line: SourceLine(file: "p", line: 2), pattern: try pattern(host), ports: PortSet([ports])))
          } else {
            spec.allow.append(try rule(host, ports))
          }
        }
      }
    }
    for _ in 0..<200 {
      let (one, other) = (try some(), try some())
      let changes = PolicyDiff(from: one, to: other, nowUnix: 0).changes
      for host in asked {
        let asked = try Host(parsing: Array(host.utf8).span)
        let narrowest = narrowest(for: asked, in: [one, other])
        for port: UInt16 in 78...87 {
          let target = Target(host: asked, port: port)
          let before = one.fallback.network.allows(target)
          let after = other.fallback.network.allows(target)
          let kind: PolicyChange.Kind? = before == after ? nil : after ? .letsOut : .shuts
          let said = changes.filter { $0.kind != .changes && $0.holds(port, of: narrowest) }
          #expect(said.map(\.kind) == (kind.map { [$0] } ?? []), "\(target): \(before) -> \(after): \(changes)")
        }
      }
    }
  }
}

extension NetworkPolicy {
  fileprivate func allows(_ target: Target) -> Bool {
    if case .allow = judge(target, nowUnix: 0) { return true }
    return false
  }
}

/// The pattern of either policy that says the most of a host.
/// An address is a matter of its own rule alone.
private func narrowest(for host: Host, in policies: [Policy]) -> HostPattern {
  if case .address = host { return .exact(host) }
  let networks = policies.map(\.fallback.network)
  let all = networks.flatMap { $0.allow.map(\.pattern) + $0.deny.map(\.pattern) }
  return all.reduce(.any) { best, pattern in
    pattern.covers(.exact(host)) && best.covers(pattern) ? pattern : best
  }
}

extension PolicyChange {
  fileprivate func holds(_ port: UInt16, of pattern: HostPattern) -> Bool {
    guard let target, target.hasPrefix("\(pattern):") else { return false }
    return target.dropFirst("\(pattern):".count).split { "[], ".contains($0) }.contains { part in
      let ends = part.split(separator: "-").compactMap { UInt16($0) }
      return ends.count == 2 ? (ends[0]...ends[1]).contains(port) : ends.first == port
    }
  }
}
