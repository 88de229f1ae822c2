// The log of one loop: what each kind of line says, and the one write of them at the end of a turn.
// It relies on LogLines for the form, and on Kernel.SharedAppendFile, which all loops share: no line is torn or lost.
import Flow
import Intercept
package import Kernel
package import Policy
import Synchronization
import Wire

/// One number for each line of the process, without gaps.
package final class AuditSequence: Sendable {
  private let next = Atomic<UInt64>(1)

  package init() {}

  /// How many were taken.
  var count: UInt64 { next.load(ordering: .relaxed) - 1 }

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
  /// SAFETY of both `@exclusivity(unchecked)`: their loop alone changes them, in functions that call nothing of others, and
  /// what writes a line has the lines as its argument alone. Checked, the accesses of a tunnel cost 1,500 instructions.
  @safe @exclusivity(unchecked) private var lines = LogLines()
  @safe @exclusivity(unchecked) package private(set) var counters = Counters()

  package init(file: SharedAppendFile, sequence: AuditSequence) {
    self.file = file
    self.sequence = sequence
  }

  package var isUnwritable: Bool { file.isUnwritable }
  /// Lines that wait for the disk; the Gate stops accepting when there are too many.
  package var pendingBytes: Int { file.pendingBytes + lines.byteCount }

  /// What leaves no line, and is counted all the same.
  func count(_ body: (inout Counters) -> Void) { body(&counters) }

  func record(_ outcome: Outcome, of flow: borrowing Flow, _ facts: AuditFacts, policy: Policy, wallMs: Int64) {
    let via = flow.target == nil ? .none : CountedVia(flow.via)
    counters.count(outcome.event, outcome.reason, via: via, wouldDeny: outcome.wouldDeny)
    if !outcome.wouldDeny { counters.addBytes(up: facts.bytesUp, down: facts.bytesDown) }
    lines.append(outcome.event, sequence.take(), wallMs) { line in
      line.flowNumber(facts.id, outcome.ordinal)
      line.field(flow.client.logField)
      if let target = flow.target { line.target(target, flow.via) }
      if let sni = outcome.sni { line.text(#","sni":"#, sni.bytes) }
      if let rule = outcome.line { line.field(rule.logField) }
      line.field(policy.logField)
      if let reason = outcome.reason { line.word(#","reason":""#, reason.rawValue) }
      if let address = outcome.address { line.address(address) }
      if outcome.wouldDeny {
        line.field(#","would_deny":true"#)
      } else {
        line.number(#","bytes_up":"#, facts.bytesUp)
        line.number(#","bytes_down":"#, facts.bytesDown)
        line.number(#","duration_ms":"#, facts.durationMs)
        line.field(flow.isInspected ? #","inspected":true"# : #","inspected":false"#)
      }
      if let bucket = outcome.bucket { line.bucket(bucket) }
    }
  }

  /// A line that belongs to no flow: a connection refused before it named a target.
  func recordRefusedConnection(client: String, _ reason: Reason, id: UInt64, policy: Policy, wallMs: Int64) {
    let event = reason == .tooMany ? LogEvent.limited : .denied
    counters.count(event, reason)
    lines.append(event, sequence.take(), wallMs) { line in
      line.flowNumber(id, 0)
      line.text(#","client":"#, client)
      line.field(policy.logField)
      line.word(#","reason":""#, reason.rawValue)
    }
  }

  /// A credential went with a request, or was taken out of an answer: which, where, for whom; never what it is.
  func record(_ use: CredentialUse, of flow: borrowing Flow, id: UInt64, policy: Policy, wallMs: Int64) {
    counters.count(.credential, nil, via: flow.target == nil ? .none : CountedVia(flow.via))
    lines.append(.credential, sequence.take(), wallMs) { line in
      line.flowNumber(id, 0)
      line.field(flow.client.logField)
      if let target = flow.target { line.target(target, flow.via) }
      if let rule = flow.rule?.line { line.field(rule.logField) }
      line.field(policy.logField)
      switch use {
      case .used(let credential, let place):
        line.text(#","credential":"#, credential)
        line.text(#","place":"#, place)
      case .scrubbed(let credential):
        line.text(#","credential":"#, credential)
        line.field(#","scrubbed":true"#)
      }
    }
  }

  /// What the checks of content found in a request or an answer, or could not look into.
  func record(_ report: ContentReport, of flow: borrowing Flow, id: UInt64, policy: Policy, wallMs: Int64) {
    counters.count(.flagged, nil, wouldDeny: report.wouldDeny)
    lines.append(.flagged, sequence.take(), wallMs) { line in
      line.flowNumber(id, report.ordinal)
      line.field(flow.client.logField)
      if let target = flow.target { line.target(target, flow.via) }
      if let rule = flow.rule?.line { line.field(rule.logField) }
      line.field(policy.logField)
      line.word(#","finding":""#, report.finding)
      line.text(#","what":"#, report.what)
      line.text(#","place":"#, report.place)
      line.number(#","count":"#, UInt64(report.count))
      if report.wouldDeny { line.field(#","would_deny":true"#) }
    }
  }

  /// A DNS query: one line each, and no port in it.
  func record(_ outcome: DNSOutcome, client: String, policy: Policy, wallMs: Int64) {
    counters.count(outcome.event, outcome.reason, via: .dns, wouldDeny: outcome.wouldDeny)
    lines.append(outcome.event, sequence.take(), wallMs) { line in
      line.text(#","client":"#, client)
      line.name(outcome.host)
      if let rule = outcome.line { line.field(rule.logField) }
      line.field(policy.logField)
      line.word(#","reason":""#, outcome.reason.rawValue)
      if let address = outcome.address { line.address(address) }
      if outcome.wouldDeny { line.field(#","would_deny":true"#) }
    }
  }

  /// A policy came into force.
  package func recordPolicy(_ policy: Policy, wallMs: Int64) {
    lines.append(.policy, sequence.take(), wallMs) { line in line.field(policy.logField) }
  }

  /// A limit of the sandbox's processes was reached: no flow, no host.
  package func recordLimit(_ limit: String, client: String, policy: Policy, wallMs: Int64) {
    lines.append(.limited, sequence.take(), wallMs) { line in
      line.text(#","client":"#, client)
      line.word(#","policy":""#, policy.hash)
      line.word(#","limit":""#, limit)
    }
  }

  /// Once a turn: one write for all lines of the turn.
  package func flush() {
    if lines.byteCount == 0 { return }
    lines.withBytes { file.flush(&$0) }
  }
}
