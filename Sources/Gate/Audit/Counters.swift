// What one loop has counted since it began: lines of the log by event and reason, what was let out, bytes.
// It relies on its loop alone to change it: plain numbers, read by a message, and added up where they are wanted.
package import Flow
package import Policy

package struct Counters: Sendable, Equatable {
  private static let columns = Reason.allCases.count + 1

  /// By event, and within it by reason; the last column is for lines without one.
  private var lines = [UInt64](repeating: 0, count: LogEvent.allCases.count * Counters.columns)
  /// What report mode let out and enforce would have refused.
  package private(set) var wouldDeny: UInt64 = 0
  /// Tunnels that were joined, requests that were sent on, DNS queries that were read.
  package var tunnels: UInt64 = 0
  package var requests: UInt64 = 0
  package var queries: UInt64 = 0
  /// Of what has ended.
  package private(set) var bytesUp: UInt64 = 0
  package private(set) var bytesDown: UInt64 = 0

  package init() {}

  package mutating func count(_ event: LogEvent, _ reason: Reason?, wouldDeny: Bool = false) {
    if wouldDeny {
      self.wouldDeny &+= 1
    } else {
      lines[Self.place(event, reason)] &+= 1
    }
  }

  mutating func addBytes(up: UInt64, down: UInt64) {
    bytesUp &+= up
    bytesDown &+= down
  }

  package static func += (sum: inout Counters, other: Counters) {
    for index in sum.lines.indices { sum.lines[index] &+= other.lines[index] }
    sum.wouldDeny &+= other.wouldDeny
    sum.tunnels &+= other.tunnels
    sum.requests &+= other.requests
    sum.queries &+= other.queries
    sum.addBytes(up: other.bytesUp, down: other.bytesDown)
  }

  package func lines(_ event: LogEvent) -> UInt64 {
    let start = Self.place(event, Reason.allCases.first)
    return lines[start..<start + Self.columns].reduce(0, &+)
  }

  /// Those that are not zero, in the order of the reasons.
  package func reasons(of event: LogEvent) -> [(reason: Reason, count: UInt64)] {
    Reason.allCases.map { ($0, lines[Self.place(event, $0)]) }.filter { $0.count > 0 }
  }

  private static func place(_ event: LogEvent, _ reason: Reason?) -> Int {
    event.column * columns + (reason?.column ?? columns - 1)
  }
}

extension LogEvent {
  fileprivate var column: Int {
    switch self {
    case .denied: 0
    case .limited: 1
    case .closed: 2
    case .failed: 3
    case .revoked: 4
    case .policy: 5
    case .flagged: 6
    case .credential: 7
    }
  }
}
