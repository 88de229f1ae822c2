// The text format of Prometheus, version 0.0.4: families of samples with their help and type, as bytes.
// It relies on names and label names of ours being right; values of labels may be anything, and are escaped here.

package enum MetricType: String, Sendable {
  case counter, gauge, histogram
}

/// The description of a metric family, for the output and for docs/metrics.md alike.
package struct MetricFamily: Sendable {
  package let name: String
  package let type: MetricType
  package let labels: [String]
  package let help: String

  init(_ name: String, _ type: MetricType, by labels: [String] = [], _ help: String) {
    (self.name, self.type, self.labels, self.help) = (name, type, labels, help)
  }
}

package struct Exposition {
  package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  package private(set) var bytes: [UInt8] = []

  package init() {}

  /// A family's head; its samples follow.
  package mutating func begin(_ family: MetricFamily) {
    bytes += "# HELP \(family.name) ".utf8
    escape(family.help, quotes: false)
    bytes += "\n# TYPE \(family.name) \(family.type.rawValue)\n".utf8
  }

  package mutating func sample(
    _ family: MetricFamily, suffix: String = "", of labels: [String] = [], more: (name: String, value: String)? = nil,
    _ value: MetricValue
  ) {
    precondition(labels.count == family.labels.count, "a value for each label of \(family.name)")
    bytes += "\(family.name)\(suffix)".utf8
    let pairs = Array(zip(family.labels, labels)) + (more.map { [($0.name, $0.value)] } ?? [])
    for (index, pair) in pairs.enumerated() {
      bytes += "\(index == 0 ? "{" : ",")\(pair.0)=\"".utf8
      escape(pair.1, quotes: true)
      bytes.append(UInt8(ascii: "\""))
    }
    if !pairs.isEmpty { bytes.append(UInt8(ascii: "}")) }
    bytes += " \(value.text)\n".utf8
  }

  /// Backslash and newline always, and the quote within a label's value.
  private mutating func escape(_ text: String, quotes: Bool) {
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\\"): bytes += #"\\"#.utf8
      case UInt8(ascii: "\n"): bytes += #"\n"#.utf8
      case UInt8(ascii: "\"") where quotes: bytes += #"\""#.utf8
      default: bytes.append(byte)
      }
    }
  }
}

/// Counts are whole, times are thousandths, millionths or nanoseconds written as decimal fractions: no rounding
/// anywhere.
package enum MetricValue: Sendable, Equatable {
  case whole(UInt64)
  case milliseconds(UInt64)
  case microseconds(UInt64)
  case nanoseconds(UInt64)

  package static func whole(_ count: Int) -> MetricValue { .whole(UInt64(max(0, count))) }
  package static func flag(_ isTrue: Bool) -> MetricValue { .whole(isTrue ? UInt64(1) : 0) }

  package var text: String {
    switch self {
    case .whole(let count): "\(count)"
    case .milliseconds(let count): Self.seconds(count, digits: 3, unit: 1_000)
    case .microseconds(let count): Self.seconds(count, digits: 6, unit: 1_000_000)
    case .nanoseconds(let count): Self.seconds(count, digits: 9, unit: 1_000_000_000)
    }
  }

  private static func seconds(_ count: UInt64, digits: Int, unit: UInt64) -> String {
    var fraction = "\(count % unit)"
    fraction = String(repeating: "0", count: digits - fraction.utf8.count) + fraction
    while fraction.hasSuffix("0") { fraction.removeLast() }
    return fraction.isEmpty ? "\(count / unit)" : "\(count / unit).\(fraction)"
  }
}
