// The most requests that fell into one span of the clock: a minute for rates, a second for bursts.
// It relies on its caller for the order of lines being nearly that of time; far stragglers are dropped.

/// Any span of that length holds at most twice the peak, as it touches two spans of the clock.
struct BusiestSpan: Sendable {
  /// Tunnels end in another order than they began: so many spans are kept open for those that began earlier.
  private let openMax: Int
  private let lengthMs: Int64
  private var recent: [(span: Int64, count: Int)] = []
  private(set) var peak = 0

  static var minute: BusiestSpan { BusiestSpan(lengthMs: 60_000, openMax: 64) }
  static var second: BusiestSpan { BusiestSpan(lengthMs: 1000, openMax: 32) }

  private init(lengthMs: Int64, openMax: Int) { (self.lengthMs, self.openMax) = (lengthMs, openMax) }

  mutating func add(_ timeMs: Int64, _ count: Int) {
    let span = timeMs / lengthMs
    if let index = recent.lastIndex(where: { $0.span == span }) {
      recent[index].count += count
      peak = max(peak, recent[index].count)
      return
    }
    if recent.count == openMax {
      guard let oldest = recent.indices.min(by: { recent[$0].span < recent[$1].span }) else { return }
      recent.remove(at: oldest)
    }
    recent.append((span, count))
    peak = max(peak, count)
  }
}
