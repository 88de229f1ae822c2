// The log of one loop: lines are built here and leave with one write at the end of a turn.
// It relies on Kernel.SharedAppendFile, which all loops share, so that no line is torn and none is lost.
import Flow
package import Kernel
package import Policy
import Synchronization
import Wire

/// One number for each line of the process, without gaps.
package final class AuditSequence: Sendable {
  private let next = Atomic<UInt64>(1)

  package init() {}

  func take() -> UInt64 { next.wrappingAdd(1, ordering: .relaxed).oldValue }
}

/// What the Gate knows of a flow beside its outcome.
struct AuditFacts {
  var id: UInt64
  var bytesUp: UInt64
  var bytesDown: UInt64
  var durationMs: UInt64
}

package final class AuditLog {
  private let file: SharedAppendFile
  private let sequence: AuditSequence
  private var lines: [UInt8] = []

  package init(file: SharedAppendFile, sequence: AuditSequence) {
    self.file = file
    self.sequence = sequence
  }

  package var isUnwritable: Bool { file.isUnwritable }
  /// Lines that wait for the disk; the Gate stops accepting when there are too many.
  package var pendingBytes: Int { file.pendingBytes + lines.count }

  func record(_ outcome: Outcome, of flow: borrowing Flow, _ facts: AuditFacts, policy: Policy, wallMs: Int64) {
    begin(outcome.event, policy, wallMs)
    string("id", hex(facts.id, outcome.ordinal))
    string("client", flow.client.name)
    if let target = flow.target {
      literal("via", flow.via.rawValue)
      key("host")
      lines.append(UInt8(ascii: "\""))
      target.host.append(to: &lines)
      lines.append(UInt8(ascii: "\""))
      number("port", UInt64(target.port))
    }
    if let sni = outcome.sni { string("sni", sni.bytes) }
    if let line = outcome.line { string("rule", "\(line)") }
    literal("policy", policy.hash)
    if let reason = outcome.reason { literal("reason", reason.rawValue) }
    if let address = outcome.address { literal("address", "\(address)") }
    if outcome.wouldDeny {
      lines += #","would_deny":true"#.utf8
    } else {
      number("bytes_up", facts.bytesUp)
      number("bytes_down", facts.bytesDown)
      number("duration_ms", facts.durationMs)
      lines += #","inspected":false"#.utf8
    }
    if let bucket = outcome.bucket {
      number("tokens", UInt64(max(0, bucket.tokens)))
      number("capacity", UInt64(max(0, bucket.capacity)))
      number("per_minute", UInt64(max(0, bucket.perMinute)))
    }
    end()
  }

  /// A line that belongs to no flow: a connection refused before it was read.
  func recordRefusedConnection(client: String, _ reason: Reason, id: UInt64, policy: Policy, wallMs: Int64) {
    begin(.limited, policy, wallMs)
    string("id", hex(id, 0))
    string("client", client)
    literal("policy", policy.hash)
    literal("reason", reason.rawValue)
    end()
  }

  /// A policy came into force.
  package func recordPolicy(_ policy: Policy, wallMs: Int64) {
    begin(.policy, policy, wallMs)
    literal("policy", policy.hash)
    end()
  }

  /// Once a turn: one write for all lines of the turn.
  package func flush() {
    if lines.isEmpty { return }
    file.flush(&lines)
  }

  // MARK: - A line

  private func begin(_ event: LogEvent, _ policy: Policy, _ wallMs: Int64) {
    lines += #"{"v":1,"time":""#.utf8
    Timestamp.append(unixMilliseconds: wallMs, to: &lines)
    lines += #"","seq":"#.utf8
    JSONText.appendDecimal(sequence.take(), to: &lines)
    literal("event", event.rawValue)
  }

  private func end() { lines += "}\n".utf8 }

  private func key(_ name: StaticString) {
    lines += ",\"".utf8
    lines += "\(name)".utf8
    lines += "\":".utf8
  }

  private func number(_ name: StaticString, _ value: UInt64) {
    key(name)
    JSONText.appendDecimal(value, to: &lines)
  }

  /// For text of ours that needs no escape.
  private func literal(_ name: StaticString, _ text: String) {
    key(name)
    lines.append(UInt8(ascii: "\""))
    lines += text.utf8
    lines.append(UInt8(ascii: "\""))
  }

  private func string(_ name: StaticString, _ text: String) {
    key(name)
    JSONText.appendString(text, to: &lines)
  }

  private func string(_ name: StaticString, _ bytes: [UInt8]) {
    key(name)
    JSONText.appendString(bytes, to: &lines)
  }

  /// The flow's number, and the request's on its connection.
  private func hex(_ id: UInt64, _ ordinal: UInt32) -> String {
    let base = String(id, radix: 16)
    return ordinal == 0 ? base : "\(base)-\(ordinal)"
  }
}
