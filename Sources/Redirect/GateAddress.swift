// Where the gate listens, as the rules must know it: a port, or an address and a port, for each family.
// It relies on Wire for addresses.
import Wire

package enum Family: CaseIterable, Sendable { case v4, v6 }

/// One listener. Without an address: the loopback of this machine, or the address of the interface that traffic came in
/// by.
package struct GateAddress: Equatable, Sendable {
  let address: IPAddress?
  let port: UInt16

  var destination: Rule.Destination? { address.map { .address($0) } }
}

/// The listeners of one kind. A family without one is unserved: all of it is refused.
package struct GateAddresses: Equatable, Sendable {
  let v4: GateAddress?
  let v6: GateAddress?

  /// From PORT (both families), or one ADDRESS:PORT a family.
  package init(_ texts: [String], option: String) throws(RedirectProblem) {
    var (v4, v6): (GateAddress?, GateAddress?)
    for text in texts {
      let parsed = try GateAddresses.parse(text, option: option)
      let (first, second): (Bool, Bool)
      switch parsed.address {
      case nil: (first, second) = (true, true)
      case .v4: (first, second) = (true, false)
      case .v6: (first, second) = (false, true)
      }
      if (first && v4 != nil) || (second && v6 != nil) {
        throw RedirectProblem("\(option) stands twice for one family; write PORT once, or one ADDRESS:PORT for each")
      }
      if first { v4 = parsed }
      if second { v6 = parsed }
    }
    (self.v4, self.v6) = (v4, v6)
  }

  subscript(family: Family) -> GateAddress? { family == .v4 ? v4 : v6 }

  private static func parse(_ text: String, option: String) throws(RedirectProblem) -> GateAddress {
    let problem = RedirectProblem(
      "\(option) \(Text.printable(text)): write PORT or ADDRESS:PORT, such as 3129, 127.0.0.1:3129 or [::1]:3129")
    guard let colon = text.lastIndex(of: ":") else {
      guard let port = port(text[...]) else { throw problem }
      return GateAddress(address: nil, port: port)
    }
    var host = text[..<colon]
    guard let port = port(text[text.index(after: colon)...]) else { throw problem }
    let isBracketed = host.first == "[" && host.last == "]" && host.utf8.count > 2
    if isBracketed { host = host.dropFirst().dropLast() }
    guard let address = IPAddress(String(host)), isBracketed == (address.width == 128) else { throw problem }
    switch address {
    case .v4(0), .v6(high: 0, low: 0):
      throw RedirectProblem("\(option) \(text): every address is none to send to; write the port alone")
    case .v6(high: 0, let low) where low >> 32 == 0xffff:
      throw RedirectProblem("\(option) \(text): write the IPv4 address as such")
    default: return GateAddress(address: address, port: port)
    }
  }

  private static func port(_ text: Substring) -> UInt16? {
    guard text.utf8.allSatisfy({ $0.isDigit }), let port = UInt16(text), port > 0 else { return nil }
    return port
  }
}

extension IPAddress {
  var family: Family { width == 32 ? .v4 : .v6 }
  func endpoint(_ port: UInt16) -> String { width == 32 ? "\(self):\(port)" : "[\(self)]:\(port)" }
  var isLoopback: Bool {
    switch self {
    case .v4(let value): value >> 24 == 127
    case .v6(let high, let low): high == 0 && low == 1
    }
  }
}
