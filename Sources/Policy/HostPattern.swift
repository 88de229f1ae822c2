// Hosts and ports of a rule, compared label by label and number by number.
// It relies on Wire for names in canonical form.
package import Wire

package enum HostPattern: Hashable, Sendable, CustomStringConvertible {
  case exact(Host)
  /// One or more labels below this name; the name itself does not match.
  case wildcard(HostName)
  /// Every address of a network. Allowed in deny rules only.
  case network(AddressPrefix)
  /// Every name, but no address: only a rule that names an address matches it.
  case any

  package var description: String {
    switch self {
    case .exact(let host): "\(host)"
    case .wildcard(let parent): "*.\(parent)"
    case .network(let prefix): prefix.address.width == 128 ? "[\(prefix)]" : "\(prefix)"
    case .any: "*"
    }
  }

  /// True if this pattern matches every host that `other` matches.
  package func covers(_ other: HostPattern) -> Bool {
    switch (self, other) {
    case (.any, _): true
    case (.wildcard(let parent), .wildcard(let name)): name == parent || name.isBelow(parent)
    case (.wildcard(let parent), .exact(.name(let name))): name.isBelow(parent)
    case (.network(let prefix), .exact(.address(let address))): prefix.contains(address)
    case (.network(let prefix), .network(let other)): prefix.length <= other.length && prefix.contains(other.address)
    default: self == other
    }
  }

  /// True if both patterns match some host.
  package func overlaps(_ other: HostPattern) -> Bool { covers(other) || other.covers(self) }

  /// More specific patterns are greater: an exact host, then wildcards by their length, then all.
  var specificity: Int {
    switch self {
    case .exact: .max
    case .wildcard(let parent): parent.bytes.count
    case .network(let prefix): prefix.length
    case .any: 0
    }
  }
}

extension HostName {
  /// True if this name is a subdomain of `parent`.
  package func isBelow(_ parent: HostName) -> Bool {
    let front = bytes.count - parent.bytes.count - 1
    guard front > 0, bytes[front] == UInt8(ascii: ".") else { return false }
    return bytes[(front + 1)...].elementsEqual(parent.bytes)
  }
}

/// A set of ports as sorted ranges that neither touch nor overlap.
package struct PortSet: Hashable, Sendable, CustomStringConvertible {
  package let ranges: [ClosedRange<UInt16>]

  package static let all = PortSet([1...UInt16.max])

  package init(_ ranges: [ClosedRange<UInt16>]) {
    var merged: [ClosedRange<UInt16>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      guard let last = merged.last, Int(range.lowerBound) <= Int(last.upperBound) + 1 else {
        merged.append(range)
        continue
      }
      merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
    }
    self.ranges = merged
  }

  package func contains(_ port: UInt16) -> Bool {
    for range in ranges where range.contains(port) { return true }
    return false
  }

  package func covers(_ other: PortSet) -> Bool {
    other.ranges.allSatisfy { inner in
      ranges.contains { $0.lowerBound <= inner.lowerBound && inner.upperBound <= $0.upperBound }
    }
  }

  package func overlaps(_ other: PortSet) -> Bool {
    ranges.contains { range in other.ranges.contains { $0.overlaps(range) } }
  }

  package var count: Int { ranges.reduce(0) { $0 + $1.count } }

  package var description: String {
    if self == .all { return "*" }
    let parts = ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
    return parts.count == 1 ? parts[0] : "[" + parts.joined(separator: ", ") + "]"
  }
}
