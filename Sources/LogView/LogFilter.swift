// Filter for the lines of a view: alternatives within one option, all options together.
// It relies on Policy.HostPattern, so that a host is matched here as a rule matches it.
package import Policy
import Wire

package struct LogFilter: Sendable {
  package var gates: Set<String> = []
  package var clients: Set<String> = []
  package var reasons: Set<String> = []
  package var events: Set<String> = []
  package var ids: Set<String> = []
  package var hosts: [(pattern: HostPattern, port: UInt16?)] = []
  package var sinceMs: Int64?

  package init() {}

  package func matches(_ line: borrowing LogLine) -> Bool {
    if let sinceMs { guard let timeMs = line.timeMs, timeMs >= sinceMs else { return false } }
    return allows(events, .event, line) && allows(gates, .gate, line) && allows(clients, .client, line)
      && allows(reasons, .reason, line) && allowsID(line) && allowsHost(line)
  }

  private func allows(_ wanted: Set<String>, _ field: LogField, _ line: borrowing LogLine) -> Bool {
    if wanted.isEmpty { return true }
    return line.text(field).map(wanted.contains) ?? false
  }

  /// `1f` means the connection and all its requests, `1f-2` the one.
  private func allowsID(_ line: borrowing LogLine) -> Bool {
    if ids.isEmpty { return true }
    guard let id = line.text(.id) else { return false }
    return ids.contains(id) || ids.contains(String(id.prefix { $0 != "-" }))
  }

  private func allowsHost(_ line: borrowing LogLine) -> Bool {
    if hosts.isEmpty { return true }
    guard let host = line.host else { return false }
    return hosts.contains { $0.pattern.covers(.exact(host)) && ($0.port == nil || $0.port == line.port) }
  }
}

/// `90s`, `30m`, `1h`, `2d` before now, or an RFC 3339 time; unix milliseconds.
package enum Since {
  package static func parse(_ text: String, nowMs: Int64) -> Int64? {
    if let seconds = Timestamp.parse(text) { return seconds * 1000 }
    let unit: Int64
    switch text.last {
    case "s": unit = 1000
    case "m": unit = 60_000
    case "h": unit = 3_600_000
    case "d": unit = 86_400_000
    default: return nil
    }
    let digits = text.dropLast()
    guard (1...9).contains(digits.utf8.count), digits.utf8.allSatisfy(\.isDigit), let count = Int64(digits) else {
      return nil
    }
    return nowMs - count * unit
  }
}
