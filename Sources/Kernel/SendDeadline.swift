// The deadline for a peer to take sent bytes, used everywhere that a send may wait.
// It relies on its owner to ask before each return to the loop, and to wait no longer than `dueMs`.

package struct SendDeadline {
  /// The timeout for a peer that no other work is done for.
  package static let patienceMs: UInt64 = 10_000
  /// Fewer bytes do not renew the deadline: a peer must not hold a connection by taking single bytes.
  private static let progressBytes = 4096

  private var sinceMs: UInt64 = 0
  private var patienceMs: UInt64 = 0
  private var takenBefore = 0
  /// `.max` while no bytes wait.
  package private(set) var dueMs = UInt64.max

  package init() {}

  /// False if bytes waited for `patienceMs` with almost no progress. `taken` is the total that the peer took,
  /// measured as near to the peer as possible. It is called only if needed, as it may cost a system call.
  package mutating func holds(
    whileWaiting isWaiting: Bool, patienceMs: UInt64, nowMs: UInt64, taken: () -> Int
  ) -> Bool {
    guard isWaiting else {
      dueMs = .max
      return true
    }
    if dueMs == .max {
      restart(patienceMs, nowMs, taken())
    } else if patienceMs != self.patienceMs {
      // Past waiting counts, but shortening the timeout must not put the deadline into the past.
      let dueMs = sinceMs + patienceMs
      self.dueMs = patienceMs < self.patienceMs ? min(self.dueMs, max(dueMs, nowMs + patienceMs)) : dueMs
      self.patienceMs = patienceMs
    }
    if nowMs < dueMs { return true }
    let takenNow = taken()
    if takenNow - takenBefore < Self.progressBytes { return false }
    restart(patienceMs, nowMs, takenNow)
    return true
  }

  private mutating func restart(_ patienceMs: UInt64, _ nowMs: UInt64, _ taken: Int) {
    sinceMs = nowMs
    self.patienceMs = patienceMs
    takenBefore = taken
    dueMs = nowMs + patienceMs
  }
}
