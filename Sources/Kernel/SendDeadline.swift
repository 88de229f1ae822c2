// How long a peer may leave bytes of ours untaken: the rule of every place that waits to send.
// It relies on its owner to ask before each return to the loop, and to wait no longer than `dueMs`.

package struct SendDeadline {
  /// For a peer that nothing else is done for any more.
  package static let patienceMs: UInt64 = 10_000
  /// Less than this does not renew a deadline: a peer must not hold a connection by taking a byte now and then.
  private static let progressBytes = 4096

  private var sinceMs: UInt64 = 0
  private var patienceMs: UInt64 = 0
  private var takenBefore = 0
  /// `.max` while nothing waits.
  package private(set) var dueMs = UInt64.max

  package init() {}

  /// False: bytes have waited for `patienceMs` while the peer took next to nothing. `taken` is all that the peer ever
  /// took, measured as near to the peer as can be; asked only when it matters, as it may cost a system call.
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
      // Time that was waited so far counts, but no deadline is in the past because it has just become shorter.
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
