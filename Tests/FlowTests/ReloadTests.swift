// A reload in each state before a tunnel stands: what was decided under the old policy is not carried out against the new.

import Flow
import FlowSimulation
import Policy
import Testing
import Wire

private func connect(_ target: String) -> String { "CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n\r\n" }

@Suite struct IdentityReloadTests {
  private static func policy(_ hash: String?) throws -> Policy {
    let target = try TestPolicy.target("raw.example:22")
    var spec = NetworkSpec(line: SourceLine(file: "t", line: 1))
    spec.allow = [
      AllowSpec(line: spec.line, pattern: .exact(target.host), ports: PortSet([target.port...target.port]))
    ]
    var client = ClientSpec(name: "agent", network: spec)
    client.proxyUser = Array("agent".utf8)
    client.passwordHash = hash.map { Array($0.utf8) }
    return Policy(hash: "t", settings: Settings(), network: spec, clients: hash == nil ? [] : [client])
  }

  private static let request: [UInt8] = [5, 1, 0, 3, 11] + Array("raw.example".utf8) + [0, 22]
  private static let password: [UInt8] = [1, 5] + Array("agent".utf8) + [1, 0x78]

  @Test func aClientWhosePasswordIsBeingVerifiedIsNotRefused() throws {
    var driver = try Driver(try Self.policy("$6$one"))
    _ = driver.send([5, 1, 2])
    #expect(driver.send(Self.password).name == "authenticate")
    driver.conditions.policy = try Self.policy("$6$one")
    #expect(driver.tell(.policyReplaced).name == "wait")
    #expect(driver.tell(.authenticated(true)).name == "reply")
    #expect(driver.send(Self.request).name == "resolve")
  }

  @Test func anOldPasswordDoesNotOutliveAReload() throws {
    var driver = try Driver(try Self.policy("$6$one"))
    let credentials = "Proxy-Authorization: Basic YWdlbnQ6eA==\r\n\r\n"
    #expect(
      driver.send(connect("raw.example:22").replacing("\r\n\r\n", with: "\r\n") + credentials).name == "authenticate")
    driver.conditions.policy = try Self.policy("$6$two")
    #expect(driver.tell(.policyReplaced).name == "close")
    #expect(driver.replyText().hasPrefix("HTTP/1.1 407 "))
    #expect(driver.tell(.authenticated(true)).name == "wait")
  }

  @Test func aPasswordThatIsWantedSinceTheGreetingIsWantedOfTheRequest() throws {
    var driver = try Driver(try Self.policy(nil))
    _ = driver.send([5, 1, 0])
    _ = driver.flow.takeToClient()
    driver.conditions.policy = try Self.policy("$6$one")
    #expect(driver.tell(.policyReplaced).name == "wait")
    #expect(driver.send(Self.request).name == "close")
    #expect(driver.flow.takeToClient() == [5, 2, 0, 1, 0, 0, 0, 0, 0, 0])
  }
}
