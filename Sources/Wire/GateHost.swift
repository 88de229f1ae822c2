// `sluice.internal`: the name at which a gate tells its clients about themselves. No rule, look-up or upstream has it.
// It relies on HostName for the one spelling that is compared.

package enum GateHost {
  package static let text: StaticString = "sluice.internal"
  package static let url: StaticString = "http://sluice.internal/"
  /// Without TLS alone: the gate's own words need no secrecy on the client's way to the gate.
  package static let port: UInt16 = 80
}

extension HostName {
  package var isGate: Bool {
    let text = GateHost.text
    return bytes.count == text.utf8CodeUnitCount && bytes.span.equals(text, at: 0..<bytes.count)
  }
}

extension Host {
  package var isGate: Bool {
    guard case .name(let name) = self else { return false }
    return name.isGate
  }
}
