// Bucket levels and totals kept across restarts: read before the gate confines itself, saved by the main thread's
// rounds.
// It relies on StateKeeper's thread for the writing.
import Kernel
import Policy

extension Server {
  func openState() throws(ServerError) {
    guard let folder = policy.settings.stateFolder else { return }
    do throws(SystemError) {
      let keeper = try StateKeeper(folder: folder)
      keeper.restore(policy)
      state = keeper
    } catch {
      throw .cannotKeepState(folder, error)
    }
    stateDueMs = Clock.monotonicMs() + StateKeeper.everyMs
  }

  /// Saves the state if a save is due.
  func saveState() {
    guard let state, Clock.monotonicMs() >= stateDueMs else { return }
    stateDueMs = Clock.monotonicMs() + StateKeeper.everyMs
    count { [self] counts, _ in state.save(policy, Self.totals(counts)) }
  }

  /// Saves the state a last time, after all workers have ended.
  func finishState() {
    guard let state else { return }
    state.save(policy, Self.totals(retiredCounts), isLast: true)
    state.finish()
  }

  private static func totals(_ counts: WorkerCounts) -> KeptTotals {
    var totals = counts.counters.kept
    (totals.bytesUp, totals.bytesDown) = (Int(clamping: counts.bytesUp), Int(clamping: counts.bytesDown))
    return totals
  }
}
