// What one loop has counted since it began: lines of the log by event, reason and via, what was let out, bytes, times.
// It relies on its loop alone to change it: plain numbers, read by a message, and added up where they are wanted.
package import Flow
package import Policy

/// How a target was named, as the log says it: `none` where a line names no target.
package enum CountedVia: Int, CaseIterable, Sendable {
  case none, connect, http, tls, address, dns

  init(_ via: Via) {
    switch via {
    case .connect: self = .connect
    case .http: self = .http
    case .tls: self = .tls
    case .address: self = .address
    }
  }
}

/// The protocol that asked for a tunnel.
package enum TunnelKind: Int, CaseIterable, Sendable {
  case connect, socks
  /// An upgrade, by 101.
  case http
  case tls, address

  init(_ via: Via, isSOCKS: Bool) {
    switch via {
    case .connect: self = isSOCKS ? .socks : .connect
    case .http: self = .http
    case .tls: self = .tls
    case .address: self = .address
    }
  }
}

package struct Counters: Sendable, Equatable {
  private static let columns = Reason.allCases.count + 1
  private static let vias = 6

  /// By event, and within it by reason; the last column is for lines without one.
  private var lines = [UInt64](repeating: 0, count: LogEvent.allCases.count * Counters.columns)
  /// The same lines by event and via.
  private var linesByVia = [UInt64](repeating: 0, count: LogEvent.allCases.count * Counters.vias)
  /// Requests that report mode let out and enforce mode would have refused, by reason.
  private var wouldDenyLines = [UInt64](repeating: 0, count: Counters.columns)
  /// Tunnels that were joined, by kind.
  private var joined = [UInt64](repeating: 0, count: TunnelKind.allCases.count)
  /// Requests that were sent on, DNS queries that were read.
  package var requests: UInt64 = 0
  package var queries: UInt64 = 0
  /// Of what has ended.
  package private(set) var bytesUp: UInt64 = 0
  package private(set) var bytesDown: UInt64 = 0
  package var steps = StepTimes()

  package init() {}

  package mutating func count(
    _ event: LogEvent, _ reason: Reason?, via: CountedVia = .none, wouldDeny: Bool = false
  ) {
    if wouldDeny {
      wouldDenyLines[reason?.column ?? Self.columns - 1] &+= 1
    } else {
      lines[Self.place(event, reason)] &+= 1
      linesByVia[event.column * Self.vias + via.rawValue] &+= 1
    }
  }

  mutating func countTunnels(_ kind: TunnelKind, _ count: UInt64) { joined[kind.rawValue] &+= count }
  package mutating func countTunnel(_ kind: TunnelKind) { joined[kind.rawValue] &+= 1 }

  mutating func addBytes(up: UInt64, down: UInt64) {
    bytesUp &+= up
    bytesDown &+= down
  }

  package static func += (sum: inout Counters, other: Counters) {
    for index in sum.lines.indices { sum.lines[index] &+= other.lines[index] }
    for index in sum.linesByVia.indices { sum.linesByVia[index] &+= other.linesByVia[index] }
    for index in sum.wouldDenyLines.indices { sum.wouldDenyLines[index] &+= other.wouldDenyLines[index] }
    for index in sum.joined.indices { sum.joined[index] &+= other.joined[index] }
    sum.requests &+= other.requests
    sum.queries &+= other.queries
    sum.addBytes(up: other.bytesUp, down: other.bytesDown)
    sum.steps += other.steps
  }

  package var tunnels: UInt64 { joined.reduce(0, &+) }
  package func tunnels(_ kind: TunnelKind) -> UInt64 { joined[kind.rawValue] }

  package var wouldDeny: UInt64 { wouldDenyLines.reduce(0, &+) }
  package func wouldDeny(_ reason: Reason) -> UInt64 { wouldDenyLines[reason.column] }

  package func lines(_ event: LogEvent, _ reason: Reason?) -> UInt64 { lines[Self.place(event, reason)] }
  package func lines(_ event: LogEvent, via: CountedVia) -> UInt64 {
    linesByVia[event.column * Self.vias + via.rawValue]
  }

  package func lines(_ event: LogEvent) -> UInt64 {
    let start = Self.place(event, Reason.allCases.first)
    return lines[start..<start + Self.columns].reduce(0, &+)
  }

  /// Reasons whose count is not zero, in their order.
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
    case .approval: 8
    case .limits: 9
    }
  }
}

extension CountedVia {
  package var word: String {
    switch self {
    case .none: "none"
    case .connect: "connect"
    case .http: "http"
    case .tls: "tls"
    case .address: "address"
    case .dns: "dns"
    }
  }
}

extension TunnelKind {
  package var word: String {
    switch self {
    case .connect: "connect"
    case .socks: "socks"
    case .http: "http"
    case .tls: "tls"
    case .address: "address"
    }
  }
}
