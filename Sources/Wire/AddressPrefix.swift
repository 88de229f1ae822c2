// A network as an operator writes it: an address and the number of its leading bits that count.
// It relies on `IPAddress`; a network with host bits set is an error, since it is nearly always a slip.

package struct AddressPrefix: Hashable, Sendable, CustomStringConvertible {
  package let address: IPAddress
  package let length: Int

  /// `10.0.0.0/8`, `fd00::/8`, or a bare address, which means only itself.
  package init(_ text: String) throws(AddressPrefixProblem) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let address = IPAddress(String(parts[0])) else { throw .notAnAddress }
    guard parts.count == 2 else {
      self.init(address, length: address.width)
      return
    }
    let digits = parts[1].utf8
    guard (1...3).contains(digits.count), digits.allSatisfy(\.isDigit), let length = Int(parts[1]),
      length <= address.width, digits.count == 1 || digits.first != UInt8(ascii: "0")
    else { throw .badLength(max: address.width) }
    self.init(address, length: length)
    guard self.address == address else { throw .hostBits(network: description) }
  }

  /// The network of `length` bits that `address` is in.
  package init(_ address: IPAddress, length: Int) {
    precondition((0...address.width).contains(length), "a prefix is no longer than its address")
    self.length = length
    switch address {
    case .v4(let value): self.address = .v4(value & UInt32(truncatingIfNeeded: AddressPrefix.mask(length + 32)))
    case .v6(let high, let low):
      self.address = .v6(high: high & AddressPrefix.mask(length), low: low & AddressPrefix.mask(length - 64))
    }
  }

  package func contains(_ other: IPAddress) -> Bool {
    switch (address, other) {
    case (.v4(let network), .v4(let value)):
      return (network ^ value) & UInt32(truncatingIfNeeded: AddressPrefix.mask(length + 32)) == 0
    case (.v6(let high, let low), .v6(let otherHigh, let otherLow)):
      return (high ^ otherHigh) & AddressPrefix.mask(length) == 0
        && (low ^ otherLow) & AddressPrefix.mask(length - 64) == 0
    default: return false
    }
  }

  package func overlaps(_ other: AddressPrefix) -> Bool { contains(other.address) || other.contains(address) }

  package var description: String { "\(address)/\(length)" }

  /// The first `bits` of 64 set: none below 0, all above 63.
  private static func mask(_ bits: Int) -> UInt64 {
    if bits <= 0 { return 0 }
    return bits >= 64 ? .max : ~(UInt64.max >> UInt64(bits))
  }
}

package enum AddressPrefixProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case notAnAddress
  case badLength(max: Int)
  case hostBits(network: String)

  package var description: String {
    switch self {
    case .notAnAddress: "not an IP address or network (write 10.0.0.0/8 or fd00::/8)"
    case .badLength(let max): "prefix length is not a number from 0 to \(max)"
    case .hostBits(let network): "has bits set behind its prefix length; the network is \(network)"
    }
  }
}
