// Deny rules about addresses and networks, and deny rules that hide an allow rule.

import Policy
import PolicyFile
import Testing
import Wire
import YAML

private func load(_ deny: String, _ allow: String) -> LoadedPolicy {
  let text = "network_policy:\n  deny: [\(deny)]\n  allow: [\(allow)]\n"
  return PolicyFile.parse(bytes: Array(text.utf8), name: "p.yaml", nowUnix: 1_800_000_000)
}

private let nowhere = GateAddresses(listeners: [], interfaces: [])

@Suite struct DenyTests {
  /// The verdict on a target whose name resolves to `address`, and the line of the rule that refuses it.
  private func verdict(_ deny: String, _ allow: String, _ target: String, at address: String, port: UInt16? = nil)
    throws
    -> String
  {
    let loaded = load(deny, allow)
    let network = try #require(loaded.policy, "\(loaded.problems)").fallback.network
    let target = try Authority.parse(Array(target.utf8).span, defaultPort: nil)
    switch network.judge(target, nowUnix: 0) {
    case .refuse(let reason, let line): return "\(reason.rawValue) \(line?.line ?? 0)"
    case .allow(let rule):
      let address = try #require(IPAddress(address))
      let asked = port ?? target.port
      guard let reason = Screening.check(address, port: asked, host: target.host, rule: rule, gate: nowhere) else {
        return "allow"
      }
      return "\(reason.rawValue) \(Screening.line(reason, address, port: asked, rule: rule).line)"
    }
  }

  @Test(arguments: [
    ("\"10.0.0.5:*\"", "10.0.0.5", "denied_by_rule 2"), ("\"10.0.0.5:443\"", "10.0.0.5", "denied_by_rule 2"),
    ("\"10.0.0.5:80\"", "10.0.0.5", "allow"), ("\"10.0.0.5:*\"", "10.0.0.6", "allow"),
    ("\"10.0.0.0/8:*\"", "10.255.0.1", "denied_by_rule 2"), ("\"10.0.0.0/8:*\"", "172.16.0.1", "allow"),
    ("\"10.0.0.0/8:[80, 443]\"", "10.0.0.1", "denied_by_rule 2"),
    ("\"0.0.0.0/0:*\"", "93.184.216.34", "denied_by_rule 2"),
    ("{host: 10.0.0.0/8, ports: [443]}", "10.0.0.1", "denied_by_rule 2"),
    ("\"[fd00::/8]:*\"", "fd12::1", "denied_by_rule 2"), ("\"[fd00::/8]:*\"", "10.0.0.1", "allow"),
    ("\"[fd00::1]:443\"", "fd00::1", "denied_by_rule 2"),
    // NAT64 leads to the IPv4 address.
    ("\"93.184.216.0/24:*\"", "64:ff9b::5db8:d822", "denied_by_rule 2"),
    // Loopback is refused without a rule; the rule that names it is the better reason.
    ("\"127.0.0.0/8:*\"", "127.0.0.1", "denied_by_rule 2"), ("\"10.0.0.0/8:*\"", "127.0.0.1", "address_refused 3"),
  ])
  func aDeniedAddressIsNeverDialled(deny: String, address: String, expected: String) throws {
    #expect(try verdict(deny, "\"*.corp.internal:443\"", "db.corp.internal:443", at: address) == expected)
  }

  @Test func denyWinsOverAddressesAndOverARuleForTheAddress() throws {
    let listed = "{host: \"db.test:443\", addresses: [10.0.0.0/8]}"
    #expect(try verdict("\"10.1.0.0/16:*\"", listed, "db.test:443", at: "10.1.2.3") == "denied_by_rule 2")
    #expect(try verdict("\"10.1.0.0/16:*\"", listed, "db.test:443", at: "10.2.0.1") == "allow")
    #expect(try verdict("\"10.1.0.0/16:*\"", "\"10.1.2.3:443\"", "10.1.2.3:443", at: "10.1.2.3") == "denied_by_rule 2")
    #expect(
      try verdict("\"93.184.216.34:*\"", "\"[64:ff9b::5db8:d822]:443\"", "[64:ff9b::5db8:d822]:443", at: "::1")
        == "denied_by_rule 2")
  }

  /// A DNS answer goes out before a port is known: it is withheld where no port of the rule is left.
  @Test func anAnswerIsWithheldWhereEveryPortIsDenied() throws {
    let rule = "{host: db.test, ports: [80, 443], addresses: [10.0.0.0/8]}"
    func answer(_ deny: String) throws -> String { try verdict(deny, rule, "db.test:443", at: "10.0.0.1", port: 0) }
    #expect(try answer("\"10.0.0.1:22\"") == "allow")
    #expect(try answer("\"10.0.0.1:22\", \"10.0.0.0/8:80\"") == "allow")
    #expect(try answer("\"10.0.0.1:443\", \"10.0.0.0/8:80\"") == "denied_by_rule 2")
  }

  @Test(arguments: [
    ("\"*.example:*\"", "a.example:443"), ("a.example:443", "a.example:443"), ("\"10.0.0.0/8:*\"", "10.1.2.3:443"),
    ("10.1.2.3:443", "10.1.2.3:443"),
    ("\"10.0.0.0/8:443\"", "{host: a.example:443, addresses: [10.1.0.0/16, 10.2.0.1]}"),
    ("\"*:*\"", "a.example:443"),
  ])
  func aDenyRuleThatHidesAnAllowRuleLoadsWithAWarning(deny: String, allow: String) {
    let loaded = load(deny, allow)
    #expect(loaded.policy != nil, "\(loaded.problems)")
    #expect(
      loaded.warnings.contains { $0.mark.line == 3 && $0.text.contains("the deny rule in line 2 covers") },
      "\(loaded.warnings)")
  }

  @Test func andOthersAreSilent() {
    for (deny, allow) in [
      ("\"10.0.0.0/8:80\"", "10.1.2.3:443"), ("\"*.a.example:*\"", "a.example:443"),
      ("\"10.0.0.0/8:*\"", "{host: a.example:443, addresses: [10.1.0.0/16, 11.0.0.0/8]}"),
    ] {
      #expect(load(deny, allow).warnings.isEmpty, "\(deny) \(allow)")
    }
  }

  @Test(arguments: [
    ("\"10.0.0.0/8\"", "write 10.0.0.0/8:* for all ports"), ("\"10.0.0.1/8:*\"", "the network is 10.0.0.0/8"),
    ("\"10.0.0.0/33:*\"", "0 to 32"), ("\"fd00::/8:*\"", "in brackets"), ("\"[10.0.0.0/8]:*\"", "without brackets"),
    ("\"[fd00::/8]\"", "write [fd00::/8]:*"), ("\"[fd00::/8:*\"", "not closed"), ("\"10.0.0.0/8:0\"", "1 to 65535"),
    ("\"[fd00::/8]x\"", "comes :PORT"),
  ])
  func aNetworkThatIsWrittenWrong(deny: String, says: String) {
    let texts = load(deny, "a.example:443").problems.map { "\($0)" }
    #expect(texts.count == 1 && texts[0].hasPrefix("p.yaml:2:10: ") && texts[0].contains(says), "\(texts)")
  }
}
