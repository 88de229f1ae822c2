// `approvals` of the policy file, and the one rule that a person gives with an approval.

import Policy
import PolicyFile
import Testing
import Wire
import YAML

@Suite struct ApprovalsSectionTests {
  private static func read(_ approvals: String) -> LoadedPolicy {
    PolicyFile.parse(bytes: Array("network_policy: {}\napprovals: \(approvals)\n".utf8), name: "p") { path in
      path == "/s" ? Array("secret\n".utf8) : path == "/empty" ? [0x0a] : nil
    }
  }

  @Test func itsDefaultsAndItsValues() throws {
    let defaults = try #require(Self.read("{}").policy?.settings.approvals)
    #expect(defaults.waitMs == 120_000 && defaults.perClient == 20 && defaults.notify.isEmpty)
    let text =
      "{wait_seconds: 0, per_client: 3, notify: [{webhook: https://a.test/h, secret_file: /s}, {command: [/x, y]}]}"
    let values = try #require(Self.read(text).policy?.settings.approvals)
    #expect(values.waitMs == 0 && values.perClient == 3)
    #expect(values.notify == [.webhook(url: "https://a.test/h", secretFile: "/s"), .command(["/x", "y"])])
    #expect(PolicyFile.parse(bytes: Array("network_policy: {}\n".utf8), name: "p").policy?.settings.approvals == nil)
  }

  @Test(arguments: [
    ("{wait: 3}", "unknown key"), ("{wait_seconds: 3601}", "3600"), ("{wait_seconds: 5m}", "seconds"),
    ("{per_client: 0}", "from 1"), ("{notify: [{}]}", "either webhook"), ("{notify: [{webhook: ops}]}", "an address"),
    ("{notify: [{webhook: https://a.test/, command: [/x]}]}", "either webhook"),
    ("{notify: [{command: []}]}", "no program"),
    ("{notify: [{webhook: https://a.test/, secret_file: /gone}]}", "cannot read"),
    ("{notify: [{webhook: https://a.test/, secret_file: /empty}]}", "is empty"),
    ("{notify: [{command: [/x], secret_file: /s}]}", "no use"), ("[1]", "takes keys below it"),
  ])
  func whatIsWrongIsSaidWithItsPlace(_ text: String, _ said: String) {
    let loaded = Self.read(text)
    #expect(loaded.policy == nil)
    #expect(loaded.problems.contains { $0.text.contains(said) && $0.mark.line == 2 }, "\(loaded.problems)")
  }

  @Test func oneRuleIsReadAsTheFileWould() throws {
    #expect(try PolicyFile.rule("*.x.test:443", nowUnix: 0).pattern.description == "*.x.test")
    #expect(try PolicyFile.rule("{host: x.test:443, methods: [GET]}", nowUnix: 0).inspection != nil)
    for text in ["x.test", "x.test:443\n  deny: []", "{host: x.test:443, credential: c}", "a.test:443, b.test:443"] {
      #expect(throws: PolicyFile.RuleTextProblem.self) { try PolicyFile.rule(text, nowUnix: 0) }
    }
  }
}
