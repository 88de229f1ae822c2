// Finds the rules that match a host without visiting all rules: one lookup per label of the name.
// It relies on a hash of the name from its end, so that one pass gives the hash of every parent.
import Wire

struct HostIndex: Sendable {
  /// Keys are hashes of the operator's names. An attacker's name that collides can only cost one comparison.
  private var names: [UInt64: [Int32]] = [:]
  private var parents: [UInt64: [Int32]] = [:]
  private var addresses: [IPAddress: [Int32]] = [:]
  private var any: [Int32] = []

  /// `patterns` must be in the order in which a host's matches are visited.
  init(_ patterns: [(index: Int, pattern: HostPattern)]) {
    for (index, pattern) in patterns {
      let index = Int32(index)
      switch pattern {
      case .exact(.name(let name)): names[Self.hash(name), default: []].append(index)
      case .exact(.address(let address)): addresses[address, default: []].append(index)
      case .wildcard(let parent): parents[Self.hash(parent), default: []].append(index)
      // Only deny rules name networks, and DeniedAddresses finds those.
      case .network: break
      case .any: any.append(index)
      }
    }
  }

  var namesAddresses: Bool { !addresses.isEmpty }

  /// Calls `visit` for each rule that may match, the least specific first. The caller compares pattern and port.
  func visit(_ host: Host, includingAny: Bool, _ visit: (Int) -> Void) {
    if includingAny { for index in any { visit(Int(index)) } }
    switch host {
    case .address(let address): for index in addresses[address] ?? [] { visit(Int(index)) }
    case .name(let name): visitName(name, visit)
    }
  }

  private func visitName(_ name: HostName, _ visit: (Int) -> Void) {
    var hash = Self.emptyHash
    for byte in name.bytes.reversed() {
      if byte == UInt8(ascii: "."), !parents.isEmpty, let found = parents[hash] {
        for index in found { visit(Int(index)) }
      }
      hash = Self.hash(hash, byte)
    }
    for index in names[hash] ?? [] { visit(Int(index)) }
  }

  private static var emptyHash: UInt64 { 0xcbf2_9ce4_8422_2325 }

  /// FNV-1a.
  @inline(__always)
  private static func hash(_ sum: UInt64, _ byte: UInt8) -> UInt64 { (sum ^ UInt64(byte)) &* 0x100_0000_01b3 }

  private static func hash(_ name: HostName) -> UInt64 { name.bytes.reversed().reduce(emptyHash, hash) }
}

extension HostPattern {
  func matches(_ host: Host) -> Bool {
    switch (self, host) {
    case (.any, _): true
    case (.exact(let exact), _): exact == host
    case (.wildcard(let parent), .name(let name)): name.isBelow(parent)
    case (.network(let prefix), .address(let address)): prefix.contains(address)
    case (.wildcard, .address), (.network, .name): false
    }
  }
}
