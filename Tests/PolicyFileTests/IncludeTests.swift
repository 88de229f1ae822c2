// `include`: what fragments add up to, and what is wrong with them, by file, line and column.

import Policy
import PolicyFile
import Testing
import Wire
import YAML

private func load(_ main: String, _ files: [String: String] = [:], name: String = "p.yaml") -> LoadedPolicy {
  PolicyFile.parse(bytes: Array(main.utf8), name: name, nowUnix: 1_800_000_000) { path in
    files[path].map { Array($0.utf8) }
  }
}

@Suite struct IncludeTests {
  @Test func laterFragmentsAddToEarlierOnes() throws {
    let loaded = load(
      """
      include: [one.yaml, ./two.yaml]
      network_policy:
        allow: [c.test:443]
        rate_limits: [{host: "*", requests_per_minute: 3}]
      timeouts: {idle: 9}
      """,
      [
        "one.yaml": "network_policy: {mode: report, allow: [a.test:443]}\ntimeouts: {idle: 1, head: 2}\n",
        "two.yaml": "network_policy: {mode: enforce, deny: [c.test:443], allow: [b.test:443]}\n",
      ])
    let policy = try #require(loaded.policy, "\(loaded.problems)")
    let network = policy.fallback.network
    #expect(
      network.allow.map { "\($0.text) \($0.line)" } == [
        "a.test:443 one.yaml:1:40", "b.test:443 two.yaml:1:61", "c.test:443 p.yaml:3:11",
      ])
    #expect(!network.isReportOnly && policy.settings.timeouts.idleMs == 9000 && policy.settings.timeouts.headMs == 2000)
    #expect(network.allow.allSatisfy { $0.requests?.perMinute == 3 })
    // Deny wins, whichever file it is in.
    let target = try Authority.parse(Array("c.test:443".utf8).span, defaultPort: nil)
    guard case .refuse(.deniedByRule, let line?) = network.judge(target, nowUnix: 0) else {
      Issue.record("a deny rule of a fragment holds")
      return
    }
    #expect("\(line)" == "two.yaml:1:40")
  }

  @Test func theSameRuleInTwoFilesIsOneAndTheLaterCounts() throws {
    let loaded = load(
      "include: one.yaml\nnetwork_policy: {allow: [{host: a.test:443, methods: [GET]}]}\n",
      ["one.yaml": "network_policy: {allow: [a.test:443, b.test:443], deny: [x.test:443]}\n"])
    let rules = try #require(loaded.policy, "\(loaded.problems)").fallback.network.allow
    #expect(rules.map(\.text) == ["b.test:443", "a.test:443"] && rules[1].isInspected)
    #expect(
      loaded.warnings.map { "\($0)" } == ["p.yaml:2:26: this rule takes the place of the one in line 1 of one.yaml"])
  }

  @Test func aSectionOfEachKindIsPutTogether() throws {
    let loaded = load(
      """
      include: [one.yaml]
      network_policy: {}
      environment: {pass: [B], set: {Y: b, Z: b}}
      clients: [{name: d, source: [10.1.0.0/16]}]
      credentials: {k: {env: B, header: "A: ${token}"}}
      """,
      [
        "one.yaml": """
        environment: {pass: [A], set: {X: a, Y: a}}
        clients: [{name: c, source: [10.2.0.0/16]}]
        credentials: {k: {file: /a, query: a}, l: {file: /l, query: l}}
        """
      ])
    let policy = try #require(loaded.policy, "\(loaded.problems)")
    let environment = policy.settings.environment
    #expect(environment.pass == ["A", "B"])
    #expect(environment.set.map { "\($0.name)=\($0.value)" } == ["X=a", "Y=b", "Z=b"])
    #expect(policy.clients.map(\.name) == ["c", "d"])
    #expect(policy.credentials.map { $0.source } == [.env("B"), .file("/l")])
  }

  @Test func aPathIsTakenFromTheFolderOfItsFile() throws {
    let loaded = load(
      "include: [parts/one.yaml, /etc/all.yaml]\nnetwork_policy: {}\n",
      [
        "etc/parts/one.yaml": "include: [../two.yaml, ./deep/three.yaml]\n",
        "etc/two.yaml": "network_policy: {allow: [b.test:1]}",
        "etc/parts/deep/three.yaml": "include: ../../two.yaml\nnetwork_policy: {allow: [c.test:1]}\n",
        "/etc/all.yaml": "network_policy: {allow: [d.test:1]}\n",
      ], name: "etc/p.yaml")
    let policy = try #require(loaded.policy, "\(loaded.problems)")
    #expect(policy.fallback.network.allow.map(\.text) == ["b.test:1", "c.test:1", "d.test:1"])
  }

  @Test func aFragmentChangesTheHash() throws {
    let main = "include: one.yaml\nnetwork_policy: {}\n"
    let hashes = Set(
      try ["a.test:1", "b.test:1"].map {
        try #require(load(main, ["one.yaml": "network_policy: {allow: [\($0)]}\n"]).policy).hash
      })
    #expect(hashes.count == 2)
  }

  @Test(arguments: [
    ("include: none.yaml", "p.yaml:1:10: cannot read none.yaml"),
    ("include: [profile:nothing]", "p.yaml:1:11: there is no profile `nothing`"),
    ("include: {a: b}", "p.yaml:1:10: `include` takes a list"),
    ("include: [[a]]", "p.yaml:1:11: an entry of `include`"),
    ("include: []\ninclude: []", "p.yaml:2:1: `include` stands twice, first in line 1"),
    ("include: [bad.yaml]", "bad.yaml:2:11: the port is missing; write a.test:443"),
    ("include: [broken.yaml]", "broken.yaml:1:5: the quote that begins here is not closed"),
    ("include: [list.yaml]", "list.yaml:1:1: an included file is written as a policy is"),
    ("include: [typo.yaml]", "typo.yaml:1:1: unknown key `network_polcy`"),
    ("include: [p.yaml]", "p.yaml:1:11: this file is included in a circle: p.yaml -> p.yaml"),
    (
      "include: [ring1.yaml]",
      "ring2.yaml:1:10: this file is included in a circle: p.yaml -> ring1.yaml -> ring2.yaml -> ring1.yaml"
    ),
    ("include: [deep0.yaml]", "deep7.yaml:1:10: at most 64 files are included, and 8 one in another"),
  ])
  func whatIsWrongIsToldWhereItStands(head: String, says: String) {
    var files = [
      "bad.yaml": "network_policy:\n  allow: [a.test]\n", "broken.yaml": "a: [\"x]\n", "list.yaml": "- a.test:443\n",
      "typo.yaml": "network_polcy: {}\n", "ring1.yaml": "include: ring2.yaml\n",
      "ring2.yaml": "include: ./ring1.yaml\n",
      "p.yaml": "a: b",
    ]
    for depth in 0..<20 { files["deep\(depth).yaml"] = "include: deep\(depth + 1).yaml\n" }
    let loaded = load(head + "\nnetwork_policy: {}\n", files)
    #expect(loaded.policy == nil && loaded.problems.contains { "\($0)".hasPrefix(says) }, "\(loaded.problems)")
  }

  @Test func manyFilesAreBounded() {
    let names = (0..<100).map { "f\($0).yaml" }
    let files = Dictionary(uniqueKeysWithValues: names.map { ($0, "network_policy: {}\n") })
    let loaded = load("include: [\(names.joined(separator: ", "))]\nnetwork_policy: {}\n", files)
    #expect(loaded.problems.count == 36 && loaded.problems[0].text.hasPrefix("at most 64 files"))
  }
}
