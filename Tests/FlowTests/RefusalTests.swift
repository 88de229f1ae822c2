// The line of policy that a refusal suggests: none that would weaken a rule which is there.

import Policy
import Testing
import Wire

@testable import Flow

@Suite struct RefusalTests {
  private func body(_ reason: Reason, hasRule: Bool) throws -> String {
    let target = Target(host: .name(try HostName("a.example")), port: 443)
    var refusal = Refusal(reason, target: target, client: "c")
    refusal.hasRule = hasRule
    return String(decoding: refusal.message.body, as: UTF8.self)
  }

  @Test(arguments: Reason.allCases) func whereARuleIsNoLineIsSuggested(reason: Reason) throws {
    #expect(try !body(reason, hasRule: true).contains("policy_line"))
  }

  /// Any other reason speaks of a rule: one that limits, denies, screens or inspects.
  @Test(arguments: Reason.allCases) func aTargetThatNoRuleNamesGetsOne(reason: Reason) throws {
    let line = #""policy_line":"- \"a.example:443\"""#
    #expect(try body(reason, hasRule: false).contains(line) == (reason == .notAllowed))
  }
}
