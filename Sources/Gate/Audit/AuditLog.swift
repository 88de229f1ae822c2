// The log of one loop: the fields of each kind of line, and one hand-over of them at the end of a turn.
// It relies on LogLines for the form, on RepeatedLines for refusals that repeat, and on Kernel.SharedAppendFile, which
// all loops share: no line is torn, and a line that finds no room is counted.
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
  var count: UInt64 { next.load(ordering: .relaxed) &- 1 }

  func take() -> UInt64 { next.wrappingAdd(1, ordering: .relaxed).oldValue }
}

/// The Gate's facts of a flow beside its outcome.
struct AuditFacts {
  var id: UInt64
  var bytesUp: UInt64
  var bytesDown: UInt64
  var durationMs: UInt64

  var hasBytes: Bool { bytesUp > 0 || bytesDown > 0 }
}

package final class AuditLog {
  private let file: SharedAppendFile
  private let sequence: AuditSequence
  /// SAFETY of the `@exclusivity(unchecked)`: their loop alone changes them, in functions that call nothing of others,
  /// and
  /// what writes a line has the lines as its argument alone. Checked, the accesses of a tunnel cost 1,500 instructions.
  @safe @exclusivity(unchecked) private var lines: LogLines
  @safe @exclusivity(unchecked) package private(set) var counters = Counters()
  private var repeated = RepeatedLines()
  private var timer: RepeatTimer?
  /// Clients whose sandbox checks itself, and the number of the first flow that is the command's.
  private var probing: [String: UInt64] = [:]

  /// With a loop, refusals that repeat within a second share a line.
  package init(file: SharedAppendFile, sequence: AuditSequence, gate: GateName, loop: Loop? = nil) {
    self.file = file
    self.sequence = sequence
    lines = LogLines(gate: gate.logField)
    timer = loop.map { RepeatTimer($0, of: self) }
  }

  /// The file of all loops. Its one line that no loop writes says how many others were lost.
  package static func open(
    _ path: String?, bytesMax: Int, sequence: AuditSequence, gate: GateName
  ) throws(SystemError) -> SharedAppendFile {
    try SharedAppendFile(path: path, bytesMax: bytesMax) { lost in
      var lines = LogLines(gate: gate.logField)
      lines.append(.failed, sequence.take(), Clock.wallMs()) { line in
        line.word(#","reason":""#, Reason.logUnwritable.rawValue)
        line.number(#","lost":"#, lost)
      }
      return lines.take()
    }
  }

  package var isUnwritable: Bool { file.isUnwritable }

  /// What leaves no line, and is counted all the same.
  func count(_ body: (inout Counters) -> Void) { body(&counters) }

  // MARK: - Lines

  func record(_ outcome: Outcome, of flow: borrowing Flow, _ facts: AuditFacts, policy: Policy, wallMs: Int64) {
    let via = flow.target == nil ? .none : CountedVia(flow.via)
    counters.count(outcome.event, outcome.reason, via: via, wouldDeny: outcome.wouldDeny)
    if !outcome.wouldDeny { counters.addBytes(up: facts.bytesUp, down: facts.bytesDown) }
    let client = flow.client
    let isProbe = isProbe(client.name, facts.id)
    let mayRepeat = outcome.event.isRefusal && (outcome.wouldDeny || !facts.hasBytes) && !isProbe
    let key = RepeatedLines.Key(
      event: outcome.event, reason: outcome.reason, client: client.name, target: flow.target, via: via,
      wouldDeny: outcome.wouldDeny)
    write(outcome.event, policy, wallMs, key: mayRepeat ? key : nil) { line in
      line.flowNumber(facts.id, outcome.ordinal)
      line.field(flow.client.logField)
      if let target = flow.target { line.target(target, flow.via) }
      if let sni = outcome.sni { line.text(#","sni":"#, sni.bytes) }
      if let rule = outcome.line { line.field(rule.logField) }
      line.field(policy.logField)
      if let reason = outcome.reason { line.word(#","reason":""#, reason.rawValue) }
      if let detail = outcome.detail { line.text(#","detail":"#, detail) }
      if let address = outcome.address { line.address(address) }
      if outcome.wouldDeny {
        line.field(#","would_deny":true"#)
      } else {
        line.account(outcome.event, facts, isInspected: outcome.isInspected)
      }
      if let request = outcome.request { line.request(request, policy.settings.log.paths) }
      if let bucket = outcome.bucket { line.bucket(bucket) }
      if isProbe { line.field(#","probe":true"#) }
    }
  }

  /// A line that belongs to no flow: a connection refused before it named a target.
  func recordRefusedConnection(
    client: String, _ reason: Reason, _ detail: String?, id: UInt64, policy: Policy, wallMs: Int64
  ) {
    let event = reason == .tooMany ? LogEvent.limited : .denied
    counters.count(event, reason)
    let key = RepeatedLines.Key(
      event: event, reason: reason, client: client, target: nil, via: .none, wouldDeny: false)
    write(event, policy, wallMs, key: key) { line in
      line.flowNumber(id, 0)
      line.text(#","client":"#, client)
      line.field(policy.logField)
      line.word(#","reason":""#, reason.rawValue)
      if let detail { line.text(#","detail":"#, detail) }
    }
  }

  /// A credential went with a request, or was taken out of an answer: which, where, for whom; never what it is.
  func record(_ use: CredentialUse, of flow: borrowing Flow, id: UInt64, policy: Policy, wallMs: Int64) {
    counters.count(.credential, nil, via: flow.target == nil ? .none : CountedVia(flow.via))
    write(.credential, policy, wallMs) { line in
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

  /// A finding of the content checks in a request or an answer, or a body that they could not look into.
  func record(_ report: ContentReport, of flow: borrowing Flow, id: UInt64, policy: Policy, wallMs: Int64) {
    counters.count(.flagged, nil, wouldDeny: report.wouldDeny)
    write(.flagged, policy, wallMs) { line in
      line.flowNumber(id, report.ordinal)
      line.field(flow.client.logField)
      if let target = flow.target { line.target(target, flow.via) }
      if let rule = flow.rule?.line { line.field(rule.logField) }
      line.field(policy.logField)
      line.word(#","finding":""#, report.finding)
      line.text(#","what":"#, report.what)
      line.text(#","place":"#, report.place)
      line.number(#","count":"#, UInt64(clamping: report.count))
      if report.wouldDeny { line.field(#","would_deny":true"#) }
    }
  }

  /// A request that needs a person: asked, or answered.
  func record(_ event: ApprovalEvent, policy: Policy, wallMs: Int64) {
    let (entry, key) = (event.entry, event.entry.key)
    write(.approval, policy, wallMs) { line in
      line.word(#","id":""#, entry.id)
      line.text(#","client":"#, key.client)
      line.word(#","via":""#, entry.via)
      line.text(#","host":"#, "\(key.subject.target.host)")
      line.number(#","port":"#, UInt64(key.subject.target.port))
      if event.verdict == .approved, key.subject.content == nil { line.word(#","rule":""#, "approval:\(entry.id)") }
      line.field(policy.logField)
      line.word(#","verdict":""#, event.verdict.rawValue)
      line.word(#","reason":""#, entry.reason.rawValue)
      if let request = key.subject.request { line.text(#","method":"#, request.method) }
      if let sheet = entry.sheet {
        line.text(#","what":"#, sheet.found.joined(separator: ", "))
        line.text(#","place":"#, sheet.place)
      }
      guard event.verdict == .approved || event.verdict == .refused, let decision = entry.decision else { return }
      line.text(#","by":"#, decision.by)
      if let word = decision.grant?.text ?? decision.review?.rawValue { line.word(#","for":""#, word) }
      if decision.isAlways { line.word(#","for":""#, "always") }
      if let text = decision.text, key.subject.request == nil { line.text(#","detail":"#, text) }
    }
  }

  /// A DNS query: one line each, and no port in it.
  func record(_ outcome: DNSOutcome, client: String, policy: Policy, wallMs: Int64) {
    counters.count(outcome.event, outcome.reason, via: .dns, wouldDeny: outcome.wouldDeny)
    let isProbe = isProbe(client, nil)
    let key = RepeatedLines.Key(
      event: outcome.event, reason: outcome.reason, client: client, target: nil, name: outcome.host, via: .dns,
      wouldDeny: outcome.wouldDeny)
    write(outcome.event, policy, wallMs, key: isProbe ? nil : key) { line in
      line.text(#","client":"#, client)
      line.name(outcome.host)
      if let rule = outcome.line { line.field(rule.logField) }
      line.field(policy.logField)
      line.word(#","reason":""#, outcome.reason.rawValue)
      if let address = outcome.address { line.address(address) }
      if outcome.wouldDeny { line.field(#","would_deny":true"#) }
      if isProbe { line.field(#","probe":true"#) }
    }
  }

  /// A policy came into force.
  package func recordPolicy(_ policy: Policy, wallMs: Int64) {
    write(.policy, policy, wallMs) { line in line.field(policy.logField) }
  }

  /// Gates of a group can count together, or not any more.
  func record(_ event: LeaseGroup.Event, problem: String?, policy: Policy, wallMs: Int64) {
    counters.count(.limits, nil)
    write(.limits, policy, wallMs) { line in
      line.field(policy.logField)
      switch event {
      case .joined(let gates), .regained(let gates, _):
        line.field(#","state":"shared""#)
        line.number(#","gates":"#, UInt64(clamping: gates))
        if case .regained(_, true) = event { line.field(#","forgotten":true"#) }
      case .lost(let mode):
        line.field(#","state":"lost""#)
        if case .alone(let gates) = mode {
          line.field(#","on_loss":"share""#)
          line.number(#","gates":"#, UInt64(clamping: gates))
        } else {
          line.field(#","on_loss":"refuse""#)
        }
        if let problem { line.text(#","detail":"#, problem) }
      }
    }
  }

  /// A limit of the sandbox's processes was reached: no flow, no host.
  package func recordLimit(_ limit: String, client: String, policy: Policy, wallMs: Int64) {
    write(.limited, policy, wallMs) { line in
      line.text(#","client":"#, client)
      line.word(#","policy":""#, policy.hash)
      line.word(#","limit":""#, limit)
    }
  }

  /// A connection that came to a published port of a sandbox has ended: no flow, and no host that was asked for.
  package func recordPublished(_ port: UInt16, _ counts: PublishedCounts, client: String, policy: Policy, wallMs: Int64)
  {
    write(.closed, policy, wallMs) { line in
      line.text(#","client":"#, client)
      line.word(#","policy":""#, policy.hash)
      line.field(#","via":"published""#)
      line.number(#","port":"#, UInt64(clamping: port))
      line.number(#","bytes_up":"#, counts.up)
      line.number(#","bytes_down":"#, counts.down)
      line.number(#","duration_ms":"#, counts.durationMs)
    }
  }

  /// The line is written, or shares one with others of its second, or is counted as lost. Under `on_failure: refuse` a
  /// line of something that went out is kept even without room: as nothing new goes out then, there are few.
  private func write(
    _ event: LogEvent, _ policy: Policy, _ wallMs: Int64, key: RepeatedLines.Key? = nil,
    _ fields: (inout LogLines) -> Void
  ) {
    if let timer, let key {
      if repeated.holds(key, { lines.fields(fields) }) { return }
      timer.begin()
    }
    guard file.hasRoom || (key == nil && policy.settings.log.refusesWhenUnwritable) else { return file.countLost() }
    lines.append(event, sequence.take(), wallMs, fields)
  }

  /// The lines that repeated refusals of the last second are owed. False when none may repeat any more.
  func endSecond(wallMs: Int64) -> Bool {
    for line in repeated.endWindow() {
      guard file.hasRoom else {
        file.countLost(line.count)
        continue
      }
      lines.append(line.event, sequence.take(), wallMs) { out in
        out.field(line.fields)
        if line.count > 1 { out.number(#","repeated":"#, line.count &- 1) }
      }
    }
    return !repeated.isEmpty
  }

  /// Once a turn: all lines of the turn are handed to the thread that writes them.
  package func flush() {
    if lines.byteCount == 0 { return }
    lines.withBytes { file.flush(&$0) }
  }

  /// At the end of the loop: nothing is held back.
  package func finish(wallMs: Int64) {
    _ = endSecond(wallMs: wallMs)
    flush()
  }

  // MARK: - A sandbox that checks itself

  /// The flows of this client are its sandbox's own check, until `endProbing`.
  func beginProbing(_ client: String) { probing[client] = .max }

  /// Flows from this number on are the command's; those of the check may still be open.
  func endProbing(_ client: String, before id: UInt64) { probing[client] = id }

  func forgetProbing(_ client: String) { probing[client] = nil }

  /// `id`: of a connection; nil for a DNS query.
  func isProbe(_ client: String, _ id: UInt64?) -> Bool {
    if probing.isEmpty { return false }
    guard let end = probing[client] else { return false }
    return id.map { $0 < end } ?? (end == .max)
  }
}

extension LogEvent {
  /// Nothing went out, or what did left no bytes.
  fileprivate var isRefusal: Bool { self == .denied || self == .limited || self == .failed }
}

/// Bytes and time of one connection to a published port: `up` left the sandbox.
package struct PublishedCounts: Sendable {
  let up: UInt64
  let down: UInt64
  let durationMs: UInt64

  package init(up: UInt64, down: UInt64, durationMs: UInt64) {
    (self.up, self.down, self.durationMs) = (up, down, durationMs)
  }
}
