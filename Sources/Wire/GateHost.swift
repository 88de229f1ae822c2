// `sluice.internal`: the name at which a gate answers questions about itself. No rule, lookup or upstream uses it. It
// relies on HostName for the canonical spelling.

package enum GateHost {
  package static let text: StaticString = "sluice.internal"
  package static let url: StaticString = "http://sluice.internal/"
  /// HTTP without TLS only: the gate's own answers need no secrecy between client and gate.
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
