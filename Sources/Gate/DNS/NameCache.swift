// Answers that may be used again, each for as long as its TTL says, and no more names than configured.
// It relies on the loop's clock; the oldest name goes first when there is no room.
import Flow
import Wire

struct NameCache {
  private struct Kept {
    var answer: NameAnswer
    var expiresMs: UInt64
  }

  private struct Entry {
    var v4: Kept?
    var v6: Kept?
  }

  private let namesMax: Int
  private var entries: [HostName: Entry] = [:]
  /// Names in the order of their arrival, from `oldest` on.
  private var order: [HostName] = []
  private var oldest = 0

  init(namesMax: Int) { self.namesMax = namesMax }

  func find(_ name: HostName, _ family: Family, nowMs: UInt64) -> NameAnswer? {
    guard let entry = entries[name], let kept = family == .v4 ? entry.v4 : entry.v6 else { return nil }
    return nowMs < kept.expiresMs ? kept.answer : nil
  }

  mutating func keep(_ reply: LookupReply, nowMs: UInt64) {
    guard reply.ttlSeconds > 0, namesMax > 0 else { return }
    if entries[reply.name] == nil {
      if entries.count >= namesMax { dropOldest() }
      order.append(reply.name)
    }
    let kept = Kept(answer: reply.answer, expiresMs: nowMs + UInt64(reply.ttlSeconds) * 1000)
    switch reply.answer.family {
    case .v4: entries[reply.name, default: Entry()].v4 = kept
    case .v6: entries[reply.name, default: Entry()].v6 = kept
    }
  }

  var count: Int { entries.count }

  private mutating func dropOldest() {
    entries[order[oldest]] = nil
    oldest += 1
    if oldest > 64 && oldest > order.count / 2 {
      order.removeFirst(oldest)
      oldest = 0
    }
  }
}
