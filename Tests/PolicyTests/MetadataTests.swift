// Metadata services of clouds: refused wherever they lie, unless a rule names the very address.

import Testing
import Wire

@testable import Policy

@Suite struct MetadataTests {
  private let gate = GateAddresses(listeners: [], interfaces: [])

  private func reason(_ address: IPAddress, host: String, _ networks: [AddressPrefix]) throws -> Reason? {
    let target = Host.name(try HostName(host))
    let ports = PortSet([80...80])
    var spec = AllowSpec(line: SourceLine(file: "test", line: 1), pattern: .exact(target), ports: ports)
    spec.addresses = networks
    let rule = AllowRule(spec, limit: nil, usage: RuleUsage())
    return Screening.check(address, port: 80, host: target, rule: rule, gate: gate)
  }

  @Test(arguments: Array(MetadataServices.all)) func eachIsRefusedUnlessItIsNamed(address: IPAddress) throws {
    for host in ["a.example", "metadata.internal", "a.home.arpa"] {
      #expect(try reason(address, host: host, []) == .addressRefused)
      let wider = AddressPrefix(address, length: address.width - 1)
      #expect(try reason(address, host: host, [wider]) == .addressRefused, "a network is not that address")
      #expect(try reason(address, host: host, [wider, AddressPrefix(address, length: address.width)]) == nil)
    }
  }

  @Test func whatStandsForSuchAnAddressIsRefusedToo() throws {
    // NAT64 of 168.63.129.16, which is global.
    let translated = try #require(IPAddress("64:ff9b::a83f:8110"))
    #expect(try reason(translated, host: "a.example", []) == .addressRefused)
    #expect(try reason(translated, host: "a.example", [AddressPrefix("64:ff9b::/96")]) == .addressRefused)
  }

  @Test func theirNeighboursAreWhatTheyWere() throws {
    let found = ["168.63.129.17", "fd20:ce::255", "100.100.100.201"].compactMap { IPAddress($0) }
    #expect(try found.map { try reason($0, host: "a.internal", []) } == [nil, nil, .addressRefused])
  }
}
