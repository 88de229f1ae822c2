// A deny rule about an address holds for names that resolve to it, and cuts what stands when it arrives by a reload.

import Flow
import FlowSimulation
import Policy
import Testing
import Wire

private func policy(deny: String) throws -> Policy {
  try SimulationTests.policy("network_policy: {deny: [\(deny)], allow: [\"any.example:8443\"]}")
}

private let request = "CONNECT any.example:8443 HTTP/1.1\r\nHost: any.example:8443\r\n\r\n"
private let address = IPAddress.v4(0x5DB8_D822)

@Suite struct DeniedAddressTests {
  @Test(arguments: ["\"93.184.216.34:*\"", "\"93.184.216.0/24:8443\""])
  func aNameThatResolvesToADeniedAddressIsNotDialled(deny: String) throws {
    var driver = try Driver(try policy(deny: deny))
    _ = driver.send(request)
    _ = driver.tell(.answered(NameAnswer(family: .v6, addresses: [])))
    #expect(driver.tell(.answered(NameAnswer(family: .v4, addresses: [address]))).name == "close")
    let outcome = driver.flow.takeOutcome()
    #expect(outcome?.reason == .deniedByRule && outcome?.address == address)
    #expect(outcome?.line == driver.conditions.policy.fallback.network.deny.first?.line)
  }

  @Test func anotherAddressOfTheNameIsDialled() throws {
    var driver = try Driver(try policy(deny: "\"93.184.216.34:*\""))
    _ = driver.send(request)
    _ = driver.tell(.answered(NameAnswer(family: .v6, addresses: [])))
    let other = IPAddress.v4(0x5DB8_D823)
    guard
      case .connect(other, port: 8443) = driver.tell(.answered(NameAnswer(family: .v4, addresses: [address, other])))
    else {
      Issue.record("the address that is not denied is tried")
      return
    }
  }

  @Test func aReloadCutsTheTunnel() throws {
    var driver = try Driver(try policy(deny: ""))
    _ = driver.send(request)
    #expect(try driver.reachUpstream().name == "relay")
    driver.conditions.policy = try policy(deny: "\"93.184.216.34:*\"")
    let relayed = driver.flow.address
    #expect(relayed == address)
    #expect(driver.tell(.policyReplaced).name == "close")
    let outcome = driver.flow.takeOutcome()
    #expect(outcome?.event == .revoked && outcome?.reason == .deniedByRule)
    #expect(outcome?.line == driver.conditions.policy.fallback.network.deny.first?.line)
  }

  /// A deny rule that hides the allow rule is an emergency stop: the policy loads, and the tunnel is cut.
  @Test func aDenyRuleThatHidesTheAllowRuleCutsTheTunnel() throws {
    var driver = try Driver(try policy(deny: ""))
    _ = driver.send(request)
    #expect(try driver.reachUpstream().name == "relay")
    driver.conditions.policy = try policy(deny: "\"any.example:*\"")
    #expect(driver.tell(.policyReplaced).name == "close")
    #expect(driver.flow.takeOutcome()?.reason == .deniedByRule)
  }
}
