// Refusals that repeat: one line a second for each client, reason and target, so that a client in a loop cannot fill
// the disk. The first of them is written at once; those that follow share a line at the end of the second.
// It relies on its AuditLog to call it, on one loop; counters are counted before, and stay exact.
import Flow
import Kernel
import Policy
import Wire

struct RepeatedLines {
  struct Key: Hashable {
    let event: LogEvent
    let reason: Reason?
    let client: String
    let target: Target?
    /// Of a DNS query.
    var name: HostName?
    let via: CountedVia
    let wouldDeny: Bool
  }

  struct Repeated {
    let event: LogEvent
    /// The fields of the line.
    let fields: [UInt8]
    /// Occurrences that it stands for.
    let count: UInt64
  }

  private struct Entry {
    var fields: [UInt8] = []
    var count: UInt64 = 0
  }

  /// Further keys are not folded: memory is bounded, and one client cannot make another's lines wait.
  static let keysMax = 1024
  static let windowMs: UInt64 = 1_000

  private var entries: [Key: Entry] = [:]

  var isEmpty: Bool { entries.isEmpty }

  /// False: the line is the first of its second, and is to be written.
  mutating func holds(_ key: Key, _ makeFields: () -> [UInt8]) -> Bool {
    guard let index = entries.index(forKey: key) else {
      if entries.count < Self.keysMax { entries[key] = Entry() }
      return false
    }
    if entries.values[index].count == 0 { entries.values[index].fields = makeFields() }
    entries.values[index].count &+= 1
    return true
  }

  /// At the end of a second: the lines that are owed for it. What repeated stays held in the next one.
  mutating func endWindow() -> [Repeated] {
    var owed: [Repeated] = []
    for (key, entry) in entries {
      if entry.count == 0 {
        entries[key] = nil
      } else {
        owed.append(Repeated(event: key.event, fields: entry.fields, count: entry.count))
        entries[key] = Entry()
      }
    }
    return owed
  }
}

/// Tells an AuditLog, on its loop, that a second is over.
final class RepeatTimer: Source {
  private let loop: Loop
  private unowned let log: AuditLog
  private var slot = Slot.none
  private var isArmed = false

  init(_ loop: Loop, of log: AuditLog) {
    self.loop = loop
    self.log = log
  }

  /// From the first line that may repeat on.
  func begin() {
    if isArmed { return }
    isArmed = true
    if slot == Slot.none { slot = loop.register(self) }
    loop.setDeadline(slot, atMs: loop.nowMs &+ RepeatedLines.windowMs)
  }

  func deadlinePassed() {
    isArmed = false
    if log.endSecond(wallMs: loop.wallMs) { begin() }
  }

  func ready(_ readiness: Readiness, tag: UInt8) {}
  func resume() {}
}
