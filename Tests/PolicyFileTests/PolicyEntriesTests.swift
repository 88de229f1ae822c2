// Entries that are added to a policy's text, in every layout that people write, with all that stands around them.
import Policy
import PolicyFile
import Testing

@Suite struct PolicyEntriesTests {
  private func edited(_ text: String, _ change: (inout PolicyEntries) throws -> Void) throws -> String {
    var edit = try PolicyEntries(Array(text.utf8), name: "p.yaml")
    try change(&edit)
    return String(decoding: edit.bytes, as: UTF8.self)
  }

  private func policy(_ text: String) throws -> Policy {
    let loaded = PolicyFile.parse(bytes: Array(text.utf8), name: "p.yaml")
    return try #require(loaded.policy, "\(loaded.problems)\n\(text)")
  }

  private func hosts(_ policy: Policy) -> [String] { policy.fallback.network.allow.map { "\($0.pattern):\($0.ports)" } }

  private static let layouts = [
    "network_policy:\n  allow:\n    - a.example:443\n",
    "# first\nnetwork_policy:\n  default: deny # why\n  allow:\n  - a.example:443 # kept\n  # the end\n\nlog: {on_failure: refuse}\n",
    "network_policy:\n  allow: [a.example:443]\n",
    "network_policy:\n  allow: []\n",
    "network_policy:\n  allow: [\n    a.example:443, # kept\n    # also kept\n  ]\n",
    "network_policy: {default: deny, allow: [a.example:443]} # kept\n",
    "network_policy: {default: deny}\n",
    "network_policy:\n  default: deny\n\n# kept\nlog: {on_failure: refuse}\n",
    "network_policy:\n  allow:\n    - host: a.example:443\n      methods: [GET]\n      # about paths\n      paths:\n        - /x\n  rate_limits:\n    - {host: \"*\", requests_per_minute: 5}\n",
    "network_policy:\n  allow:\n    - {host: \"a.example:443\", addresses: [10.0.0.0/8],\n       expires: 2030-01-01T00:00:00Z}\n",
    "log: {on_failure: refuse}",
    "network_policy:\r\n  allow:\r\n    - a.example:443 # kept\r\n",
    "network_policy:\n  # ünïcödé\n  allow: [ 'a.example:443' ] # kept\n",
    "network_policy:\n  allow:\n  rate_limits: []\n",
  ]

  @Test(arguments: layouts) func entriesAreAddedInEveryLayout(_ text: String) throws {
    let before = PolicyFile.parse(bytes: Array(text.utf8), name: "p.yaml").policy.map(hosts) ?? []
    let after = try edited(text) { edit in
      try edit.add(
        [.init("b.example:443", comments: ["seen"]), .init("{host: c.example:443, methods: [GET]}")], to: .allow)
      try edit.add([.init("{host: b.example:443, requests_per_minute: 7}")], to: .rateLimits)
    }
    let policy = try policy(after)
    #expect(hosts(policy) == before + ["b.example:443", "c.example:443"], "\(after)")
    #expect(
      policy.fallback.network.allow.first { "\($0.pattern)" == "b.example" }?.requests?.perMinute == 7, "\(after)")
    // Every line and every comment that was there is there, in its order.
    for comment in text.split(separator: "#").dropFirst() {
      let kept = comment.split(whereSeparator: \.isNewline).first ?? ""
      #expect(after.contains("#\(kept)"), "\(after)")
    }
    #expect(after.contains("\r\n") == text.contains("\r\n"))
  }

  @Test func aClientsOwnRulesGetTheEntry() throws {
    let text = """
      network_policy: {allow: [a.example:443]}
      clients:
        - name: one
          source: [10.0.0.0/8]
          network_policy:
            allow: [x.example:443]
        - name: two
          source: [10.1.0.0/16]
      """
    let policy = try policy(try edited(text) { try $0.add([.init("b.example:443")], to: .allow, of: "one") })
    #expect(policy.clients[0].network.allow.map { "\($0.pattern)" } == ["x.example", "b.example"])
    #expect(hosts(policy) == ["a.example:443"])
    #expect(throws: PolicyEntries.Problem.self) {
      _ = try edited(text) { try $0.add([.init("b.example:443")], to: .allow, of: "two") }
    }
  }

  @Test(arguments: [
    #"{host: "*", requests_per_minute: 5, concurrent: 2} # kept"#,
    #"{host: "*", requests_per_minute: 5, burst: 3} # kept"#,
    "host: \"*\" # kept\n      requests_per_minute: 5 # why\n      concurrent: 2",
    "host: \"*\"\n      burst: 3 # kept\n      requests_per_minute: 5",
  ])
  func aLimitIsSetInPlace(_ entry: String) throws {
    let text = "network_policy:\n  allow: [a.example:443]\n  rate_limits:\n    - \(entry)\n"
    let after = try edited(text) { try $0.setLimit(line: 4, column: 7, perMinute: 300, burst: 50) }
    let bucket = try #require(try policy(after).fallback.network.allow[0].requests)
    #expect(bucket.perMinute == 300 && bucket.burst == 50, "\(after)")
    #expect(after.contains("# kept"), "\(after)")
    let rateOnly = try edited(text) { try $0.setLimit(line: 4, column: 7, perMinute: 300, burst: nil) }
    #expect(try policy(rateOnly).fallback.network.allow[0].requests?.burst == 300, "\(rateOnly)")
  }

  @Test(arguments: [
    "network_policy:\n  allow: null\n", "network_policy: 5\n", "network_policy:\n  allow: text\n", "[1]\n", "a: [\n",
  ])
  func anotherShapeIsAProblem(_ text: String) {
    #expect(throws: PolicyEntries.Problem.self) {
      _ = try edited(text) { try $0.add([.init("b.example:443")], to: .allow) }
    }
  }
}
