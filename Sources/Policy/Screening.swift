// Step "screen": decides if this address may be dialled for this target. The checked address is the dialled one. It
// relies on AddressKind for the kind of an address, and on the rule for the operator's lists: `addresses` and the
// addresses that deny rules name.
package import Wire

/// Addresses that are the gate itself.
package struct GateAddresses: Sendable {
  private let listeners: [(address: IPAddress, port: UInt16)]
  private let interfaces: Set<IPAddress>

  package init(listeners: [(IPAddress, UInt16)], interfaces: [IPAddress]) {
    self.listeners = listeners.map { ($0.0, $0.1) }
    self.interfaces = Set(interfaces)
  }

  /// True for an address of a listener. A listener on the unspecified address is reached by every address of the
  /// machine.
  package func isListener(_ address: IPAddress, _ port: UInt16) -> Bool {
    for listener in listeners where listener.port == port {
      if listener.address == address { return true }
      guard listener.address.kind == .unspecified, listener.address.width == address.width else { continue }
      if address.kind == .loopback || interfaces.contains(address) { return true }
    }
    return false
  }

  func isInterface(_ address: IPAddress) -> Bool { interfaces.contains(address) }
}

package enum Screening {
  /// Nil if the address may be dialled. Port 0 stands for all ports of the rule.
  package static func check(
    _ address: IPAddress, port: UInt16, host: Host, rule: AllowRule, gate: GateAddresses
  ) -> Reason? {
    let kind = address.kind
    if kind.isNeverDialled { return .addressRefused }
    if gate.isListener(address, port) { return .loop }
    if let embedded = address.embeddedIPv4 {
      if embedded.kind.isNeverDialled { return .addressRefused }
      if gate.isListener(embedded, port) { return .loop }
    }
    // Deny wins, also over `addresses`: a name is another way to the same machine.
    if rule.denied.rule(address, port: port, of: rule.ports) != nil { return .deniedByRule }
    // A network in `addresses` means its hosts, not the metadata service inside it: that needs its own entry.
    if MetadataServices.contains(address) { return isNamed(address, rule) ? nil : .addressRefused }
    if isListed(address, rule) { return nil }
    if !rule.addresses.isEmpty { return .addressRefused }
    if gate.isInterface(address) { return .addressRefused }
    return isOpen(address, kind, host, gate) ? nil : .addressRefused
  }

  /// The line that explains the result of `check`: the deny rule's if one refused the address, else the allow rule's.
  package static func line(_ reason: Reason, _ address: IPAddress, port: UInt16, rule: AllowRule) -> SourceLine {
    guard reason == .deniedByRule else { return rule.line }
    return rule.denied.rule(address, port: port, of: rule.ports)?.line ?? rule.line
  }

  /// True if the rule lists the address in `addresses`, or names that address as its target.
  private static func isListed(_ address: IPAddress, _ rule: AllowRule) -> Bool {
    if case .exact(.address(address)) = rule.pattern, rule.addresses.isEmpty { return true }
    if rule.isHostMachine, HostMachine.addresses.contains(address) { return true }
    return rule.addresses.contains { $0.contains(address) }
  }

  /// True if the rule names this exact address, not a network around it.
  private static func isNamed(_ address: IPAddress, _ rule: AllowRule) -> Bool {
    if case .exact(.address(address)) = rule.pattern, rule.addresses.isEmpty { return true }
    return rule.addresses.contains(AddressPrefix(address, length: address.width))
  }

  private static func isOpen(_ address: IPAddress, _ kind: AddressKind, _ host: Host, _ gate: GateAddresses) -> Bool {
    switch kind {
    case .global: return true
    case .privateUse: return host.isPrivateUse
    case .embedded:
      guard address.isNAT64, let embedded = address.embeddedIPv4 else { return false }
      return embedded.kind == .global && !gate.isInterface(embedded)
    default: return false
    }
  }
}

/// The name by which rules let clients reach services on the loopback of the gate's machine.
package enum HostMachine {
  package static let addresses: [IPAddress] = [.v4(0x7f00_0001), .v6(high: 0, low: 1)]

  package static func isNamed(by name: HostName) -> Bool { name.bytes.elementsEqual("host.internal".utf8) }
}

extension AllowRule {
  /// True for a rule for that name only, without `addresses`: with a list, the operator means a machine of that name.
  package var isHostMachine: Bool {
    guard case .exact(.name(let name)) = pattern, addresses.isEmpty else { return false }
    return HostMachine.isNamed(by: name)
  }
}

extension Host {
  /// Names reserved for private use: `.internal` (ICANN, 2024) and `home.arpa` (RFC 8375).
  package var isPrivateUse: Bool {
    guard case .name(let name) = self else { return false }
    return name.hasSuffix(".internal") || name.hasSuffix(".home.arpa")
  }
}

extension HostName {
  package var isInvalid: Bool { hasSuffix(".invalid") }

  fileprivate func hasSuffix(_ suffix: StaticString) -> Bool {
    let text = "\(suffix)".utf8
    return bytes.count > text.count && bytes.suffix(text.count).elementsEqual(text)
  }
}
