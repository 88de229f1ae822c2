// The verdict on a name without a port: it is what some port of the name would get.

import Policy
import Testing
import Wire

private func at(_ line: Int) -> SourceLine { SourceLine(file: "t", line: line) }
private let web = PortSet([443...443])

private func name(_ text: String) throws -> HostName { try HostName(text) }
private func exactly(_ text: String) throws -> HostPattern { .exact(.name(try name(text))) }

private func allowed(_ spec: NetworkSpec, _ text: String, nowUnix: Int64 = 0) throws -> [Int]? {
  guard case .allow(let rules) = NetworkPolicy(spec).judge(name: try name(text), nowUnix: nowUnix) else { return nil }
  return rules.map(\.line.line)
}

private func refused(_ spec: NetworkSpec, _ text: String, nowUnix: Int64 = 0) throws -> (Reason, Int?)? {
  guard case .refuse(let reason, let line) = NetworkPolicy(spec).judge(name: try name(text), nowUnix: nowUnix) else {
    return nil
  }
  return (reason, line?.line)
}

@Suite struct NameJudgementTests {
  @Test func aNameIsAllowedWhereSomePortIs() throws {
    var spec = NetworkSpec(line: at(1))
    spec.allow = [
      AllowSpec(line: at(2), pattern: .wildcard(try name("a.example")), ports: PortSet([8443...8443])),
      AllowSpec(line: at(3), pattern: try exactly("x.a.example"), ports: web),
      AllowSpec(line: at(4), pattern: .exact(.address(.v4(0x0808_0808))), ports: .all),
    ]
    #expect(try allowed(spec, "X.a.example.") == [3, 2])
    #expect(try allowed(spec, "y.z.a.example") == [2])
    #expect(try #require(try refused(spec, "a.example")) == (.notAllowed, nil))
    #expect(try #require(try refused(spec, "xa.example")) == (.notAllowed, nil))
  }

  @Test func denyWinsOnlyWhereItTakesEveryPort() throws {
    var spec = NetworkSpec(line: at(1))
    spec.allow = [
      AllowSpec(line: at(2), pattern: .any, ports: web),
      AllowSpec(line: at(3), pattern: try exactly("a.example"), ports: PortSet([80...80, 443...443])),
    ]
    spec.deny = [DenyRule(line: at(4), pattern: try exactly("a.example"), ports: web)]
    #expect(try allowed(spec, "a.example") == [3])
    spec.deny.append(DenyRule(line: at(5), pattern: .wildcard(try name("example")), ports: PortSet([1...100])))
    #expect(try #require(try refused(spec, "a.example")) == (.deniedByRule, 4))
    #expect(try allowed(spec, "b.example") == [2])
    spec.allow = []
    #expect(try #require(try refused(spec, "b.example")) == (.deniedByRule, 5))
    #expect(try #require(try refused(spec, "example")) == (.notAllowed, nil))
  }

  @Test func anExpiredRuleIsGone() throws {
    var spec = NetworkSpec(line: at(1))
    var rule = AllowSpec(line: at(2), pattern: try exactly("a.example"), ports: web)
    rule.expiresAt = 100
    spec.allow = [rule]
    #expect(try allowed(spec, "a.example", nowUnix: 99) == [2])
    #expect(try #require(try refused(spec, "a.example", nowUnix: 100)) == (.expired, 2))
    // What is denied was denied before it expired.
    spec.deny = [DenyRule(line: at(3), pattern: .any, ports: .all)]
    #expect(try #require(try refused(spec, "a.example", nowUnix: 100)) == (.deniedByRule, 3))
    spec.deny = []
    spec.allow.append(AllowSpec(line: at(4), pattern: .any, ports: web))
    #expect(try allowed(spec, "a.example", nowUnix: 100) == [4])
  }

  @Test func denyListMode() throws {
    var spec = NetworkSpec(line: at(1))
    spec.defaultAllows = true
    spec.deny = [DenyRule(line: at(2), pattern: try exactly("a.example"), ports: .all)]
    #expect(try allowed(spec, "b.example") == [1])
    #expect(try #require(try refused(spec, "a.example")) == (.deniedByRule, 2))
    spec.deny = [DenyRule(line: at(2), pattern: try exactly("a.example"), ports: web)]
    #expect(try allowed(spec, "a.example") == [1])
    // The ports of an expired rule are closed; the others stay open.
    var rule = AllowSpec(line: at(3), pattern: try exactly("b.example"), ports: web)
    rule.expiresAt = 100
    spec.allow = [rule]
    #expect(try allowed(spec, "b.example", nowUnix: 100) == [1])
    spec.allow[0].ports = .all
    #expect(try #require(try refused(spec, "b.example", nowUnix: 100)) == (.expired, 3))
  }

  /// The promise of it all, held against the verdict on targets for every port that a rule names.
  @Test func itIsWhatSomePortWouldGet() throws {
    let ports: [UInt16] = [22, 80, 443]
    let sets = [PortSet([80...80]), web, PortSet([80...80, 443...443]), PortSet([22...500])]
    let patterns: [HostPattern] = [.any, .wildcard(try name("example")), try exactly("a.example")]
    let host = try name("a.example")
    for choice in 0..<(12 * 12 * 12 * 2) {
      func rule(_ number: Int) -> (HostPattern, PortSet) { (patterns[number % 3], sets[number / 3]) }
      var spec = NetworkSpec(line: at(1))
      let (one, other, denied) = (rule(choice % 12), rule(choice / 12 % 12), rule(choice / 144 % 12))
      spec.allow = [
        AllowSpec(line: at(2), pattern: one.0, ports: one.1), AllowSpec(line: at(3), pattern: other.0, ports: other.1),
      ]
      if choice >= 1728 { spec.allow[0].expiresAt = 0 }
      spec.deny = [DenyRule(line: at(4), pattern: denied.0, ports: denied.1)]
      let policy = NetworkPolicy(spec)
      let anyPort = ports.contains { port in
        if case .allow = policy.judge(Target(host: .name(host), port: port), nowUnix: 1) { return true }
        return false
      }
      var isAllowed = false
      if case .allow = policy.judge(name: host, nowUnix: 1) { isAllowed = true }
      #expect(isAllowed == anyPort, "choice \(choice)")
    }
  }
}
