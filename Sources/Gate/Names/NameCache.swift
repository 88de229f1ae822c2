// Answers that may be used again, each for as long as its TTL says, and no more names than configured.
// It relies on the loop's clock; the oldest name goes first when there is no room.
import Flow
import Wire

struct NameCache {
  struct Answer {
    var addresses: [IPAddress]
    var expiresMs: UInt64
  }

  private struct Entry {
    var v4: Answer?
    var v6: Answer?
  }

  private let namesMax: Int
  private var entries: [HostName: Entry] = [:]
  /// Names in the order of their arrival, from `oldest` on.
  private var order: [HostName] = []
  private var oldest = 0

  init(namesMax: Int) { self.namesMax = namesMax }

  func find(_ name: HostName, _ family: Family, nowMs: UInt64) -> [IPAddress]? {
    guard let entry = entries[name], let answer = family == .v4 ? entry.v4 : entry.v6 else { return nil }
    return nowMs < answer.expiresMs ? answer.addresses : nil
  }

  mutating func keep(_ reply: NameReply, nowMs: UInt64) {
    guard reply.ttlSeconds > 0, namesMax > 0 else { return }
    if entries[reply.name] == nil {
      if entries.count >= namesMax { dropOldest() }
      order.append(reply.name)
    }
    let answer = Answer(addresses: reply.addresses, expiresMs: nowMs + UInt64(reply.ttlSeconds) * 1000)
    switch reply.family {
    case .v4: entries[reply.name, default: Entry()].v4 = answer
    case .v6: entries[reply.name, default: Entry()].v6 = answer
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
