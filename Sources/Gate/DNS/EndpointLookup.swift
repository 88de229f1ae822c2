// The addresses of what the gate itself asks: looked up as any name is. Those of a token endpoint are screened, too.
// It relies on a loop of its own, which ends with the answer: it is called on a thread that may wait.
import Flow
import Intercept
import Kernel
import Policy
package import Wire

final class EndpointLookup: LoopDelegate, ResolverDelegate {
  private let loop: Loop
  private let resolver: Resolver
  private var addresses: [IPAddress] = []
  private var unanswered = 2

  static func addresses(
    of grant: OAuth2, _ surroundings: GateCredentials.Surroundings
  ) throws(CredentialProblem) -> [SocketAddress] {
    guard case .name(let name) = grant.endpoint.host else { throw CredentialProblem("the endpoint has no name") }
    let found = try lookUp(name, surroundings)
    let allowed = found.filter { address in
      Screening.check(
        address, port: grant.endpoint.port, host: grant.endpoint.host, rule: rule(grant), gate: surroundings.gate)
        == nil
    }
    guard !allowed.isEmpty else {
      throw CredentialProblem(
        "no address of \(name) may be asked (\(found[0]) for one); if it is meant, list it in `addresses` of `oauth2`")
    }
    return allowed.map { SocketAddress($0, port: grant.endpoint.port) }
  }

  /// An address that no client can choose, or bend by its questions: the operator wrote the target.
  static func addresses(
    of target: Target, _ surroundings: GateCredentials.Surroundings
  ) throws(CredentialProblem) -> [SocketAddress] {
    switch target.host {
    case .address(let address): [SocketAddress(address, port: target.port)]
    case .name(let name): try lookUp(name, surroundings).map { SocketAddress($0, port: target.port) }
    }
  }

  private static func lookUp(
    _ name: HostName, _ surroundings: GateCredentials.Surroundings
  ) throws(CredentialProblem) -> [IPAddress] {
    let found: [IPAddress]
    do throws(SystemError) {
      let lookup = try EndpointLookup(surroundings)
      found = lookup.run(name)
    } catch {
      throw CredentialProblem("\(name) cannot be looked up: \(error)")
    }
    guard !found.isEmpty else { throw CredentialProblem("\(name) has no address, or no name server answered") }
    return found
  }

  /// As if the policy had a rule for it: no client can ask for it by this.
  private static func rule(_ grant: OAuth2) -> AllowRule {
    var spec = AllowSpec(
      line: SourceLine(file: "", line: 0), pattern: .exact(grant.endpoint.host),
      ports: PortSet([grant.endpoint.port...grant.endpoint.port]))
    spec.addresses = grant.addresses
    return AllowRule(spec, limit: nil, usage: RuleUsage())
  }

  fileprivate init(_ surroundings: GateCredentials.Surroundings) throws(SystemError) {
    loop = try Loop()
    resolver = try Resolver(loop: loop, settings: surroundings.settings, hosts: surroundings.hosts)
    resolver.report(to: self)
  }

  fileprivate func run(_ name: HostName) -> [IPAddress] {
    switch resolver.resolve(name, for: .none, token: 0, owner: .gate, .clients) {
    case .ready(let v4, let v6): addresses = v6.addresses + v4.addresses
    case .pending: loop.run(self)
    case .full: break
    }
    resolver.end()
    return addresses
  }

  func resolved(_ answer: NameAnswer, for slot: Slot, token: UInt64) {
    addresses += answer.addresses
    unanswered -= 1
    if unanswered == 0 { loop.stop() }
  }

  func resolved(_ records: [[UInt8]], absence: Absence, for slot: Slot, token: UInt64) {}

  func turnBegan() {}
  func mailArrived() {}
  func turnEnded() {}
}

/// The addresses of a name that a command was given: asked for as the gate asks, and not screened, as an operator
/// wrote it.
package enum NameOnce {
  private static let hostsBytesMax = 4 << 20

  /// None where it has none, or no server answered. Waits for the answer: not for a loop's thread.
  package static func addresses(of name: HostName) -> [IPAddress] {
    // Loopback everywhere, also where /etc/hosts lacks it (RFC 6761 section 6.3).
    if "\(name)" == "localhost" { return [.v4(0x7f00_0001), .v6(high: 0, low: 1)] }
    let hosts = HostsTable.parse(FileBytes.read("/etc/hosts", bytesMax: hostsBytesMax) ?? [])
    let surroundings = GateCredentials.Surroundings(
      settings: Settings(), hosts: hosts, gate: GateAddresses(listeners: [], interfaces: []), hiddenVariables: [])
    // No loop, or no channel: nothing can be asked.
    guard let lookup = try? EndpointLookup(surroundings) else { return [] }
    return lookup.run(name)
  }
}
