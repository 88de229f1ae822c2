// Addresses and networks that deny rules name: never dialled, no matter if a client names the address or a name
// resolves to it. It relies on AddressPrefix; a lookup costs one hash per prefix length in use, however many rules
// there are.
import Wire

package struct DeniedAddresses: Sendable {
  package static let none = DeniedAddresses([])

  private var rules: [AddressPrefix: [DenyRule]] = [:]
  /// Prefix lengths in use per family, the longest first.
  private let lengths: [(width: Int, length: Int)]

  init(_ deny: [DenyRule]) {
    for rule in deny { if let prefix = rule.pattern.prefix { rules[prefix, default: []].append(rule) } }
    let byWidth = Dictionary(grouping: rules.keys, by: \.address.width)
    lengths = byWidth.flatMap { width, prefixes in
      Set(prefixes.map(\.length)).sorted(by: >).map { (width, $0) }
    }
  }

  /// The most specific deny rule for this address and port.
  func rule(_ address: IPAddress, port: UInt16) -> DenyRule? {
    first(address) { $0.ports.contains(port) }
  }

  /// With port 0 (a DNS answer, before any connection) the rules must together deny every port of `ports`.
  func rule(_ address: IPAddress, port: UInt16, of ports: PortSet) -> DenyRule? {
    if rules.isEmpty { return nil }
    if port != 0 { return rule(address, port: port) }
    var denied: [ClosedRange<UInt16>] = []
    return first(address) { rule in
      denied += rule.ports.ranges
      return PortSet(denied).covers(ports)
    }
  }

  private func first(_ address: IPAddress, where isWanted: (DenyRule) -> Bool) -> DenyRule? {
    if rules.isEmpty { return nil }
    // An IPv6 address that embeds an IPv4 address reaches the same machine.
    for form in [address, address.embeddedIPv4].compactMap(\.self) {
      for (width, length) in lengths where width == form.width {
        for rule in rules[AddressPrefix(form, length: length)] ?? [] where isWanted(rule) { return rule }
      }
    }
    return nil
  }
}

extension HostPattern {
  /// The pattern's addresses. Nil for a pattern of names.
  var prefix: AddressPrefix? {
    switch self {
    case .exact(.address(let address)): AddressPrefix(address, length: address.width)
    case .network(let prefix): prefix
    case .exact(.name), .wildcard, .any: nil
    }
  }
}
