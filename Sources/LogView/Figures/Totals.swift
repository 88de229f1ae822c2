// Lines by event and reason, and bytes: what a gate's own counters say too (`sluice status`).
// It relies on the log alone; reasons that a hostile log makes up share one place when there are too many.
import Wire

struct Totals: Sendable {
  struct Reasons: Sendable {
    private(set) var all = 0
    private(set) var byName: [String: Int] = [:]

    mutating func add(_ reason: String?, _ count: Int) {
      all += count
      guard let reason else { return }
      let isKnown = byName[reason] != nil || byName.count < Tally.reasonsMax
      byName[isKnown ? reason : Tally.othersName, default: 0] += count
    }
  }

  private(set) var lines = 0
  private var byEvent = [Reasons](repeating: Reasons(), count: LogEventKind.allCases.count)
  /// Requests that report mode let out and enforce would have refused: their end has another line.
  private(set) var wouldDeny = Reasons()
  private(set) var bytesUp: UInt64 = 0
  private(set) var bytesDown: UInt64 = 0
  /// Ends of what was let out: tunnels, plain requests, requests inside inspected tunnels.
  private(set) var tunnels = 0
  private(set) var requests = 0
  private(set) var inspectedRequests = 0

  mutating func add(_ line: borrowing LogLine, _ event: LogEventKind, reason: String?) {
    lines += 1
    if line.flag(.wouldDeny) { return wouldDeny.add(reason, line.count) }
    byEvent[event.place].add(reason, line.count)
    bytesUp = bytesUp &+ (line.number(.bytesUp) ?? 0)
    bytesDown = bytesDown &+ (line.number(.bytesDown) ?? 0)
    guard event == .closed || event == .revoked else { return }
    if line.equals(.via, "http") {
      requests += 1
    } else if line.flag(.inspected), line.bytes(.id)?.contains(UInt8(ascii: "-")) == true {
      inspectedRequests += 1
    } else {
      tunnels += 1
    }
  }

  subscript(event: LogEventKind) -> Reasons { byEvent[event.place] }
}

/// Things that are the same, counted: the first ones that came, up to a bound; the rest as one number.
struct CountTable<Key: Hashable & Sendable>: Sendable {
  struct Entry: Sendable {
    let key: Key
    var count = 0
    var lastMs: Int64 = 0
  }

  private let max: Int
  private var entries: [Key: Entry] = [:]
  /// Of those that found no place.
  private(set) var beyond = 0

  init(max: Int) { self.max = max }

  mutating func add(_ key: Key, _ timeMs: Int64, _ count: Int = 1) {
    guard entries[key] != nil || entries.count < max else {
      beyond += count
      return
    }
    entries[key, default: Entry(key: key)].count += count
    entries[key]?.lastMs = timeMs
  }

  /// The latest first.
  func latest(where isWanted: (Key) -> Bool) -> [Entry] {
    entries.values.filter { isWanted($0.key) }.sorted { ($0.lastMs, $0.count) > ($1.lastMs, $1.count) }
  }
}
