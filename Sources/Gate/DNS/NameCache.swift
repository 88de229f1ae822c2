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

  /// RFC 2308 section 5 wants negative answers kept for hours at most; a name that appears should not wait so long.
  private static let negativeSecondsMax: UInt32 = 60
  private static let positiveSecondsMax: UInt32 = 86_400
  /// An answer of more addresses is asked for again each time: a name may have thousands, and memory goes by names.
  private static let addressesMax = 64

  private var namesMax: Int
  private var entries: [HostName: Entry] = [:]
  /// Names in the order of their arrival, from `oldest` on.
  private var order: [HostName] = []
  private var oldest = 0

  init(namesMax: Int) { self.namesMax = namesMax }

  var count: Int { entries.count }

  mutating func setNamesMax(_ namesMax: Int) {
    self.namesMax = namesMax
    while entries.count > namesMax { dropOldest() }
  }

  func find(_ name: HostName, _ family: Family, nowMs: UInt64) -> NameAnswer? {
    guard let entry = entries[name], let kept = family == .v4 ? entry.v4 : entry.v6 else { return nil }
    return nowMs < kept.expiresMs ? kept.answer : nil
  }

  /// The answer that the reply makes, kept if it may be.
  mutating func keep(_ reply: LookupReply, _ name: HostName, _ family: Family, nowMs: UInt64) -> NameAnswer {
    var answer = NameAnswer(family: family, addresses: [], absence: reply.absence)
    var ttlSeconds: UInt32 = 0
    if reply.absence == .address { (answer.addresses, ttlSeconds) = reply.addresses(family) }
    ttlSeconds = min(ttlSeconds, Self.positiveSecondsMax)
    if answer.addresses.isEmpty && reply.absence != .failure {
      ttlSeconds = min(NegativeAnswer.ttlSeconds(reply.message) ?? 0, Self.negativeSecondsMax)
    }
    if answer.addresses.count <= Self.addressesMax { keep(answer, name, ttlSeconds: ttlSeconds, nowMs: nowMs) }
    return answer
  }

  private mutating func keep(_ answer: NameAnswer, _ name: HostName, ttlSeconds: UInt32, nowMs: UInt64) {
    guard ttlSeconds > 0, namesMax > 0 else { return }
    if entries[name] == nil {
      if entries.count >= namesMax { dropOldest() }
      order.append(name)
    }
    let kept = Kept(answer: answer, expiresMs: nowMs + UInt64(ttlSeconds) * 1000)
    switch answer.family {
    case .v4: entries[name, default: Entry()].v4 = kept
    case .v6: entries[name, default: Entry()].v6 = kept
    }
  }

  private mutating func dropOldest() {
    entries[order[oldest]] = nil
    oldest += 1
    if oldest > 64 && oldest > order.count / 2 {
      order.removeFirst(oldest)
      oldest = 0
    }
  }
}
