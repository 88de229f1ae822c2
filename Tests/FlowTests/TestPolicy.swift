// Policies, targets and flows for the tests of Flow.

import Flow
import FlowSimulation
import Policy
import PolicyFile
import Testing
import Wire

enum TestPolicy {
  static func target(_ text: String) throws -> Target {
    try Authority.parse(Array(text.utf8).span, defaultPort: nil)
  }

  static func rule(for text: String, in policy: Policy) throws -> AllowRule {
    let verdict = policy.fallback.network.judge(try target(text), nowUnix: 1_800_000_000)
    guard case .allow(let rule) = verdict else { throw NotAllowed(target: text) }
    return rule
  }

  struct NotAllowed: Error { let target: String }
}

/// A flow and its clock, driven step by step.
struct Driver: ~Copyable {
  var flow: Flow
  var conditions: Conditions
  /// Addresses that were made up for names, as a PROXY header may give them.
  var madeUp: [IPAddress: HostName] = [:]

  init(
    _ yaml: String, source: String = "10.1.0.1", opening: Opening = .proxy, expectsProxyHeader: Bool = false
  ) throws {
    try self.init(
      try SimulationTests.policy(yaml), source: source, opening: opening, expectsProxyHeader: expectsProxyHeader)
  }

  init(
    _ policy: Policy, source: String = "10.1.0.1", opening: Opening = .proxy, expectsProxyHeader: Bool = false
  ) throws {
    let address = try #require(IPAddress(source))
    conditions = Conditions(policy: policy, gate: GateAddresses(listeners: [(.v4(0x7F00_0001), 3128)], interfaces: []))
    conditions.nowMs = 1_000_000
    conditions.nowNs = 1_000_000_000_000
    conditions.unixSeconds = 1_800_000_000
    flow = Flow(source: address, opening: opening, expectsProxyHeader: expectsProxyHeader, conditions)
  }

  mutating func tell(_ event: Event) -> Action {
    let action = flow.handle(event, conditions)
    guard case .nameDestination(let address) = action else { return action }
    return flow.handle(.destinationNamed(madeUp[address]), conditions)
  }

  mutating func send(_ text: String) -> Action { send(Array(text.utf8)) }

  mutating func send(_ bytes: [UInt8]) -> Action {
    flow.clientSent(bytes.span)
    return tell(.clientSent)
  }

  mutating func upstreamSends(_ text: String) -> Action {
    flow.upstreamSent(Array(text.utf8).span)
    return tell(.upstreamSent)
  }

  mutating func pass(ms: UInt64) {
    conditions.nowMs += ms
    conditions.nowNs += ms * 1_000_000
    conditions.unixSeconds += Int64(ms / 1000)
  }

  /// Answers, connects, and returns what the flow does then.
  mutating func reachUpstream(_ address: String = "93.184.216.34") throws -> Action {
    let address = try #require(IPAddress(address))
    _ = tell(.answered(NameAnswer(family: .v6, addresses: [])))
    _ = tell(.answered(NameAnswer(family: .v4, addresses: [address])))
    return tell(.connected(dialled: address, peer: address))
  }

  mutating func replyText() -> String { String(decoding: flow.takeToClient(), as: UTF8.self) }
}
