// An edit of a policy file adds one item, and moves no other byte.

import Policy
import PolicyFile
import Testing
import Wire
import YAML

@Suite struct PolicyEditTests {
  private struct Case: Sendable, CustomTestStringConvertible {
    let name: String
    let before: String
    let after: String
    var testDescription: String { name }

    init(_ name: String, _ before: String, _ after: String) {
      (self.name, self.before, self.after) = (name, before, after)
    }
  }

  private static let cases = [
    Case(
      "a list in lines",
      "# ours\nnetwork_policy:\n  allow:  # these\n    - a.test:443  # one\n    # a note\n\nlog: {}\n",
      "# ours\nnetwork_policy:\n  allow:  # these\n    - a.test:443  # one\n    - new.test:443  # why\n    # a note\n\nlog: {}\n"
    ),
    Case(
      "dashes below the key", "network_policy:\n  allow:\n  - a.test:443\n  deny: []\n",
      "network_policy:\n  allow:\n  - a.test:443\n  - new.test:443  # why\n  deny: []\n"),
    Case(
      "a rule of several lines",
      "network_policy:\n  allow:\n    - host: a.test:443\n      methods: [GET]\n      # its note\n  rate_limits: []\n",
      "network_policy:\n  allow:\n    - host: a.test:443\n      methods: [GET]\n    - new.test:443  # why\n      # its note\n  rate_limits: []\n"
    ),
    Case(
      "brackets", "network_policy: {allow: [a.test:443]}\n", "network_policy: {allow: [a.test:443, new.test:443]}\n"),
    Case("empty brackets", "network_policy: {allow: []}\n", "network_policy: {allow: [new.test:443]}\n"),
    Case(
      "brackets over lines", "network_policy:\n  allow: [\n    a.test:443,  # ] one\n    \"b.test:443\",\n  ]\n",
      "network_policy:\n  allow: [\n    a.test:443,  # ] one\n    \"b.test:443\", new.test:443\n  ]\n"),
    Case(
      "no list", "network_policy:\n  # strict\n  default: deny\nlog: {}\n",
      "network_policy:\n  # strict\n  allow:\n    - new.test:443  # why\n  default: deny\nlog: {}\n"),
    Case(
      "no list in braces", "network_policy: {default: deny}\n",
      "network_policy: {default: deny, allow: [new.test:443]}\n"),
    Case("nothing in braces", "network_policy: {}\n", "network_policy: {allow: [new.test:443]}\n"),
    Case("an empty list", "network_policy:\n  allow:\n", "network_policy:\n  allow:\n    - new.test:443  # why\n"),
    Case(
      "no section", "include: [./team.yaml]\n",
      "include: [./team.yaml]\nnetwork_policy:\n  allow:\n    - new.test:443  # why\n"),
    Case(
      "no newline at the end", "network_policy:\n  allow:\n    - a.test:443",
      "network_policy:\n  allow:\n    - a.test:443\n    - new.test:443  # why"),
    Case(
      "returns", "network_policy:\r\n  allow:\r\n    - a.test:443\r\n",
      "network_policy:\r\n  allow:\r\n    - a.test:443\r\n    - new.test:443  # why\r\n"),
  ]

  @Test(arguments: cases)
  private func addsOneItem(_ one: Case) throws {
    var edit = PolicyEdit(Array(one.before.utf8))
    try edit.add("new.test:443", comment: "why")
    #expect(String(decoding: edit.bytes, as: UTF8.self) == one.after)
    let read = PolicyFile.parse(bytes: edit.bytes, name: "p") {
      $0 == "team.yaml" ? Array("network_policy: {}\n".utf8) : nil
    }
    if !one.before.contains("include") {
      #expect(read.problems.filter { !$0.text.contains("log") }.isEmpty, "\(read.problems)")
    }
  }

  @Test func aClientsOwnRulesAreItsOwn() throws {
    let text = """
      network_policy: {allow: [a.test:443]}
      clients:
        - name: one
          source: [10.1.0.0/16]
          network_policy:
            allow:
              - b.test:443
        - name: two
          source: [10.2.0.0/16]

      """
    var own = PolicyEdit(Array(text.utf8))
    try own.add("new.test:443", of: "one")
    #expect(
      String(decoding: own.bytes, as: UTF8.self).contains("        - b.test:443\n        - new.test:443\n  - name: two")
    )
    var shared = PolicyEdit(Array(text.utf8))
    try shared.add("new.test:443", of: "two")
    #expect(
      String(decoding: shared.bytes, as: UTF8.self).hasPrefix("network_policy: {allow: [a.test:443, new.test:443]}\n"))
  }

  @Test func aRequestJoinsThePairsOfItsRule() throws {
    let text = "network_policy:\n  allow:\n    - host: a.test:443\n      requests:\n        - {methods: [GET]}\n"
    var edit = PolicyEdit(Array(text.utf8))
    let isAdded = try edit.add(request: "{methods: [POST], paths: [\"/x\"]}", toRuleAt: 3, column: 7)
    #expect(isAdded)
    #expect(String(decoding: edit.bytes, as: UTF8.self) == text + "        - {methods: [POST], paths: [\"/x\"]}\n")
    var other = PolicyEdit(Array("network_policy:\n  allow:\n    - host: a.test:443\n      methods: [GET]\n".utf8))
    let isOther = try other.add(request: "{methods: [POST]}", toRuleAt: 3, column: 7)
    #expect(!isOther)
  }

  private static let mutes: [(before: String, after: String?)] = [
    (
      "network_policy:\n  allow:\n    - {host: a.test:443, content: {flag_instructions: review}}  # ours\n",
      "network_policy:\n  allow:\n    - {host: a.test:443, content: {flag_instructions: review, muted: [p, q]}}  # ours\n"
    ),
    (
      "network_policy:\n  allow:\n    - host: a.test:443\n      methods: [GET]\n    - b.test:443\n",
      "network_policy:\n  allow:\n    - host: a.test:443\n      methods: [GET]\n      content: {muted: [p, q]}  # why\n    - b.test:443\n"
    ),
    (
      "network_policy:\n  allow:\n    - host: a.test:443\n      content:\n        flag_instructions: review\n        # a note\n",
      "network_policy:\n  allow:\n    - host: a.test:443\n      content:\n        flag_instructions: review\n        muted: [p, q]  # why\n        # a note\n"
    ),
    (
      "network_policy:\n  allow:\n    - host: a.test:443\n      content: {muted: [o], flag_instructions: review}\n",
      "network_policy:\n  allow:\n    - host: a.test:443\n      content: {muted: [o, p, q], flag_instructions: review}\n"
    ),
    (
      "network_policy:\n  allow:\n    - host: a.test:443\n      content:\n        muted:\n          - o\n        secrets: log\n",
      "network_policy:\n  allow:\n    - host: a.test:443\n      content:\n        muted:\n          - o\n          - p  # why\n          - q  # why\n        secrets: log\n"
    ),
    ("network_policy:\n  allow:\n    - a.test:443\n", nil),
    ("network_policy:\n  allow:\n    - {host: a.test:443, content: none}\n", nil),
  ]

  @Test(arguments: mutes.indices) func patternsAreMutedInTheContentOfARule(number: Int) throws {
    let (before, after) = Self.mutes[number]
    var edit = PolicyEdit(Array(before.utf8))
    let isDone = try edit.mute(["p", "q"], atRule: 3, column: 7, comment: "why")
    #expect(isDone == (after != nil))
    #expect(String(decoding: edit.bytes, as: UTF8.self) == after ?? before)
  }

  @Test(arguments: ["*.x.test:443", "[2001:db8::1]:443", "x.test:[80, 443]", "x.test:*"])
  func anItemIsQuotedWhereItMustBe(_ rule: String) throws {
    for text in ["network_policy: {allow: []}\n", "network_policy:\n  allow:\n    - a.test:1\n"] {
      var edit = PolicyEdit(Array(text.utf8))
      try edit.add(PolicyEdit.item(rule))
      let read = PolicyFile.parse(bytes: edit.bytes, name: "p")
      #expect(read.problems.isEmpty, "\(read.problems)")
    }
  }

  @Test func aDifferenceShowsWhatChanged() {
    let old = Array("1\n2\n3\n4\n5\n6\n7\n8\n".utf8)
    let new = Array("1\n2\n3\n4\nx\n5\n6\n7\n8\n".utf8)
    #expect(
      TextDifference.unified(old, new, name: "p") == "--- p\n+++ p\n@@ -2,6 +2,7 @@\n 2\n 3\n 4\n+x\n 5\n 6\n 7\n")
    #expect(TextDifference.unified(old, old, name: "p").isEmpty)
  }
}
