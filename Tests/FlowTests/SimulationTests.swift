// Random events and clocks through one flow, thousands of times; a failure prints the seed that replays it.

import FlowSimulation
import Policy
import PolicyFile
import Testing

@Suite struct SimulationTests {
  static func policy(_ text: String = Script.policy) throws -> Policy {
    let loaded = PolicyFile.parse(bytes: Array(text.utf8), name: "simulation.yaml")
    return try #require(loaded.policy, "\(loaded.problems)")
  }

  @Test(arguments: 0..<8) func randomEventsKeepTheInvariants(block: Int) throws {
    var outcomes = 0
    for seed in UInt64(block * 1000)..<UInt64(block * 1000 + 1000) {
      var choices = SeededChoices(seed: seed)
      var simulation = FlowSimulation(policy: try Self.policy(), way: Int(seed % 12))
      do {
        outcomes += try simulation.run(&choices, stepsMax: 80)
      } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
    }
    // A simulation in which nothing happens would prove nothing.
    #expect(outcomes > 500)
  }

  @Test func reportModeKeepsTheInvariantsToo() throws {
    let text = Script.policy.replacingFirst("default: deny", with: "default: deny\n  mode: report")
    let policy = try Self.policy(text)
    for seed in UInt64(0)..<1000 {
      var choices = SeededChoices(seed: seed)
      var simulation = FlowSimulation(policy: policy, way: Int(seed % 12))
      do { _ = try simulation.run(&choices, stepsMax: 80) } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
    }
  }

  @Test func approvalsKeepTheInvariantsToo() throws {
    let policy = try Self.policy(Script.policy + "\napprovals: {wait_seconds: 1}\n")
    for seed in UInt64(0)..<2000 {
      var choices = SeededChoices(seed: seed)
      var simulation = FlowSimulation(policy: policy, way: Int(seed % 12))
      do { _ = try simulation.run(&choices, stepsMax: 80) } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
    }
  }

  @Test func noPlaceUnderConcurrentIsLost() throws {
    let policy = try Self.policy(
      """
      network_policy:
        allow: ["web.example:80", "tls.example:443", {host: "raw.example:22", protocol: tcp}]
        rate_limits: [{host: "*", concurrent: 2}]
      """)
    for seed in UInt64(0)..<2000 {
      var choices = SeededChoices(seed: seed)
      var simulation = FlowSimulation(policy: policy, way: Int(seed % 12))
      _ = try simulation.run(&choices, stepsMax: 60)
    }
    for name in ["web.example:80", "tls.example:443", "raw.example:22"] {
      let limit = try #require(TestPolicy.rule(for: name, in: policy).concurrent)
      #expect(limit.enter() == .entered && limit.enter() == .entered, "a place under \(name) was not given back")
      #expect(limit.enter() == .full)
    }
  }
}

extension String {
  func replacingFirst(_ text: String, with other: String) -> String {
    guard let found = firstRange(of: text) else { return self }
    return replacingCharacters(found, other)
  }

  private func firstRange(of text: String) -> Range<String.Index>? {
    indices.first { self[$0...].hasPrefix(text) }.map { $0..<index($0, offsetBy: text.count) }
  }

  private func replacingCharacters(_ range: Range<String.Index>, _ other: String) -> String {
    String(self[..<range.lowerBound]) + other + String(self[range.upperBound...])
  }
}
