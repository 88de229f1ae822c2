// The main thread's part of the log: its own lines, reopening, and warnings if the disk is full or hangs.
// It relies on SharedAppendFile, whose thread writes; nothing here waits for a disk without a time limit.
import Kernel
import Policy

extension Server {
  private static let finishMsMax: UInt64 = 2_000

  func recordPolicy() {
    record { log, policy in log.recordPolicy(policy, wallMs: Clock.wallMs()) }
  }

  /// Records that a limit of `process_limits` ended a process of this client, or kept one from starting.
  package func recordLimit(_ limit: String, client: String) {
    record { log, policy in log.recordLimit(limit, client: client, policy: policy, wallMs: Clock.wallMs()) }
  }

  /// Records the end of a connection to a published port of this client.
  package func recordPublished(_ port: UInt16, _ counts: PublishedCounts, client: String) {
    record { log, policy in
      log.recordPublished(port, counts, client: client, policy: policy, wallMs: Clock.wallMs())
    }
  }

  /// Writes one line from the main thread.
  func record(_ line: (AuditLog, Policy) -> Void) {
    let log = AuditLog(file: shared.log, sequence: shared.sequence, gate: shared.gate)
    line(log, policy)
    log.flush()
  }

  /// Reopens the log by its path, so that lines go to a new file after a rename.
  func reopenLog(_ say: (String) -> Void) {
    switch shared.log.reopen() {
    case .done: break
    case .failed(let error): say("warning: the log stays where it was: \(error)")
    case .waiting: say("warning: the log's disk does not answer; the log is opened anew when it does")
    }
  }

  func lookAfterLog() {
    let condition = shared.log.condition()
    defer { saidOfLog = condition }
    switch (condition, saidOfLog) {
    case (.fine, .fine): break
    case (.fine, _): Messages.say("the log is written again")
    case (.failing(let error), let said):
      if case .failing(error) = said { break }
      Messages.warn("the log cannot be written: \(error); \(logConsequence)")
    case (.hanging, .hanging): break
    case (.hanging, _): Messages.warn("the log's disk does not answer; \(logConsequence)")
    }
  }

  private var logConsequence: String {
    let bytes = policy.settings.log.bufferBytes
    guard policy.settings.log.refusesWhenUnwritable else {
      return "lines wait, up to `limits.log_buffer_bytes` (\(bytes)); more are lost, and counted"
    }
    if case .failing = shared.log.condition() { return "new tunnels are refused until it can" }
    return "new tunnels are refused once `limits.log_buffer_bytes` (\(bytes)) wait"
  }

  func finishLog() -> Bool {
    if shared.log.finish(msMax: Self.finishMsMax) { return true }
    Messages.warn("the log could not be written to its end: \(shared.log.pendingBytes) bytes are lost")
    return false
  }
}
