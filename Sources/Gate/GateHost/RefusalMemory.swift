// The latest refusals of each client, for the client itself, and how often it may ask for them.
// It relies on one lock that all loops share; what it holds is bounded for each client and in all.
import Policy
import Synchronization
import Wire

struct RememberedRefusal: Sendable {
  /// As the log has it; a DNS query has none there.
  let id: String
  let wallMs: Int64
  let via: String
  let host: String?
  let port: UInt16?
  let reason: Reason
  var target: Target?
  /// Of the request for an approval, where there is one.
  var request: String?
  var state = "refused"
}

final class RefusalMemory: Sendable {
  static let perClient = 50
  static let clientsMax = 1024
  /// A bucket for questions to the gate itself: so many at once, and one more each `questionMs`.
  static let questionsAtOnce: UInt64 = 60
  static let questionMs: UInt64 = 500

  /// One refusal without a text: most are never asked for.
  struct Note: Sendable {
    var flow: UInt64 = 0
    var ordinal: UInt32 = 0
    var wallMs: Int64
    var via: StaticString
    var host: Host?
    var port: UInt16?
    var reason: Reason
  }

  private struct Record: Sendable {
    var notes: [Note] = []
    /// Where the next one goes, when there are as many as may be.
    var next = 0
    var usedMs: UInt64 = 0
    var fullAtMs: UInt64 = 0

    mutating func add(_ note: Note, nowMs: UInt64) {
      usedMs = nowMs
      if notes.count < RefusalMemory.perClient { return notes.append(note) }
      notes[next] = note
      next = (next + 1) % RefusalMemory.perClient
    }

    /// The newest first.
    var latest: [Note] { Array((notes[next...] + notes[..<next]).reversed()) }
  }

  private let records = Mutex<[ShareOwner: Record]>([:])

  init() {}

  func add(_ note: Note, of owner: ShareOwner, nowMs: UInt64) {
    records.withLock { records in
      if records[owner] == nil { Self.makeRoom(&records) }
      records[owner, default: Record()].add(note, nowMs: nowMs)
    }
  }

  /// The newest first.
  func latest(of owner: ShareOwner) -> [Note] { records.withLock { $0[owner]?.latest ?? [] } }

  func forget(_ owner: ShareOwner) { records.withLock { $0[owner] = nil } }

  /// Takes one question out of the client's bucket; nil: the client may ask. Else the time until it may.
  func waitMs(of owner: ShareOwner, nowMs: UInt64) -> UInt64? {
    records.withLock { records in
      if records[owner] == nil { Self.makeRoom(&records) }
      let windowMs = Self.questionsAtOnce * Self.questionMs
      let startMs = max(records[owner]?.fullAtMs ?? 0, nowMs)
      records[owner, default: Record()].usedMs = nowMs
      let endMs = startMs + Self.questionMs
      if endMs > nowMs + windowMs { return endMs - nowMs - windowMs }
      records[owner]?.fullAtMs = endMs
      return nil
    }
  }

  /// The client that was last heard of longest ago goes.
  private static func makeRoom(_ records: inout [ShareOwner: Record]) {
    guard records.count >= clientsMax, let oldest = records.min(by: { $0.value.usedMs < $1.value.usedMs }) else {
      return
    }
    records[oldest.key] = nil
  }
}

extension Policy {
  /// Whom a refusal is told to: the client by its name, and an address where the policy names no client.
  func memoryOwner(of client: Client, source: IPAddress) -> ShareOwner {
    client.name == Policy.fallbackName ? ShareOwner(address: source) : ShareOwner(client: client.name)
  }
}
