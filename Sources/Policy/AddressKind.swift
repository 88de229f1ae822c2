// Kinds of addresses: the IANA special-purpose address registries (RFC 6890) as data.
// It relies on nothing else; an address without an entry is global unicast, or of no use to a gate.
package import Wire

package enum AddressKind: String, CaseIterable, Sendable {
  case global
  /// RFC 1918 and unique local addresses (RFC 4193).
  case privateUse = "private"
  case shared = "shared (CGNAT)"
  case loopback
  case linkLocal = "link-local"
  case multicast
  case unspecified
  case broadcast
  case documentation
  case benchmarking
  /// An IPv6 address that stands for an IPv4 address: mapped, NAT64, 6to4, Teredo.
  case embedded = "IPv4 embedded in IPv6"
  case reserved

  /// True for addresses that no connection can mean. A connection to the unspecified address would reach the gate's
  /// own machine.
  var isNeverDialled: Bool { self == .multicast || self == .unspecified || self == .broadcast }
}

package struct AddressBlock: Sendable {
  package let prefix: AddressPrefix
  package let kind: AddressKind

  /// The registries as of 2025-10, and the blocks for multicast, which have registries of their own.
  /// `.global` stands for "Globally Reachable: True".
  private static let table: [(text: String, kind: AddressKind)] = [
    ("0.0.0.0/8", .unspecified),  // RFC 791
    ("10.0.0.0/8", .privateUse),  // RFC 1918
    ("100.64.0.0/10", .shared),  // RFC 6598
    ("127.0.0.0/8", .loopback),  // RFC 1122
    ("169.254.0.0/16", .linkLocal),  // RFC 3927; cloud metadata is 169.254.169.254
    ("172.16.0.0/12", .privateUse),  // RFC 1918
    ("192.0.0.0/24", .reserved),  // RFC 6890
    ("192.0.0.9/32", .global),  // RFC 7723
    ("192.0.0.10/32", .global),  // RFC 8155
    ("192.0.2.0/24", .documentation),  // RFC 5737
    ("192.31.196.0/24", .global),  // RFC 7535
    ("192.52.193.0/24", .global),  // RFC 7450
    ("192.88.99.0/24", .reserved),  // RFC 7526
    ("192.168.0.0/16", .privateUse),  // RFC 1918
    ("192.175.48.0/24", .global),  // RFC 7534
    ("198.18.0.0/15", .benchmarking),  // RFC 2544
    ("198.51.100.0/24", .documentation),  // RFC 5737
    ("203.0.113.0/24", .documentation),  // RFC 5737
    ("224.0.0.0/4", .multicast),  // RFC 5771
    ("240.0.0.0/4", .reserved),  // RFC 1112
    ("255.255.255.255/32", .broadcast),  // RFC 919
    ("::/128", .unspecified),  // RFC 4291
    ("::1/128", .loopback),  // RFC 4291
    ("::ffff:0:0/96", .embedded),  // RFC 4291, mapped
    ("64:ff9b::/96", .embedded),  // RFC 6052, NAT64
    ("64:ff9b:1::/48", .embedded),  // RFC 8215, local NAT64
    ("100::/64", .reserved),  // RFC 6666, discard
    ("100:0:0:1::/64", .reserved),  // RFC 9780, dummy
    ("2001::/23", .reserved),  // RFC 2928
    ("2001::/32", .embedded),  // RFC 4380, Teredo
    ("2001:1::1/128", .global),  // RFC 7723
    ("2001:1::2/128", .global),  // RFC 8155
    ("2001:1::3/128", .global),  // RFC 9665
    ("2001:2::/48", .benchmarking),  // RFC 5180
    ("2001:3::/32", .global),  // RFC 7450
    ("2001:4:112::/48", .global),  // RFC 7535
    ("2001:10::/28", .reserved),  // RFC 4843
    ("2001:20::/28", .global),  // RFC 7343
    ("2001:30::/28", .global),  // RFC 9374
    ("2001:db8::/32", .documentation),  // RFC 3849
    ("2002::/16", .embedded),  // RFC 3056, 6to4
    ("2620:4f:8000::/48", .global),  // RFC 7534
    ("3fff::/20", .documentation),  // RFC 9637
    ("5f00::/16", .reserved),  // RFC 9602
    ("fc00::/7", .privateUse),  // RFC 4193
    ("fe80::/10", .linkLocal),  // RFC 4291
    ("ff00::/8", .multicast),  // RFC 4291
    ("2000::/3", .global),  // RFC 4291: the only IPv6 space that is global unicast by default
    ("::/0", .reserved),
    ("0.0.0.0/0", .global),
  ]

  /// The longest prefixes first, so that the first match is the most specific one.
  package static let all: [AddressBlock] = table.map { text, kind in
    do throws(AddressPrefixProblem) {
      return AddressBlock(prefix: try AddressPrefix(text), kind: kind)
    } catch {
      preconditionFailure("address table: \(text): \(error)")
    }
  }.sorted { $0.prefix.length > $1.prefix.length }

  /// Candidate blocks by family and first byte, so that a lookup compares few blocks.
  fileprivate static let v4 = byFirstByte { .v4(UInt32($0) << 24) }
  fileprivate static let v6 = byFirstByte { .v6(high: UInt64($0) << 56, low: 0) }

  private static func byFirstByte(_ address: (Int) -> IPAddress) -> [[AddressBlock]] {
    (0..<256).map { byte in
      let network = AddressPrefix(address(byte), length: 8)
      return all.filter { $0.prefix.overlaps(network) }
    }
  }
}

extension IPAddress {
  package var kind: AddressKind {
    let blocks =
      switch self {
      case .v4(let value): AddressBlock.v4[Int(value >> 24)]
      case .v6(let high, _): AddressBlock.v6[Int(high >> 56)]
      }
    for block in blocks where block.prefix.contains(self) { return block.kind }
    return .reserved
  }

  /// The IPv4 address embedded in this IPv6 address, if the network would route to the IPv4 address.
  package var embeddedIPv4: IPAddress? {
    guard case .v6(let high, let low) = self else { return nil }
    if high == 0 && low >> 32 == 0xffff { return .v4(UInt32(truncatingIfNeeded: low)) }
    if high == 0x0064_ff9b_0000_0000 && low >> 32 == 0 { return .v4(UInt32(truncatingIfNeeded: low)) }
    if high >> 48 == 0x2002 { return .v4(UInt32(truncatingIfNeeded: high >> 16)) }
    // Teredo carries the client's address with its bits flipped (RFC 4380 section 4).
    if high >> 32 == 0x2001_0000 { return .v4(~UInt32(truncatingIfNeeded: low)) }
    return nil
  }

  /// True in the well-known NAT64 prefix, the only embedding form that is globally reachable.
  var isNAT64: Bool {
    guard case .v6(0x0064_ff9b_0000_0000, let low) = self else { return false }
    return low >> 32 == 0
  }
}
