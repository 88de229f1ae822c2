// All connections in TLS of one worker, and which of its sessions serve them.
// It relies on slots: a place on the loop tells a front from a session, and one session from the next.
import Intercept
import Kernel
import Policy
import Wire

final class Fronts {
  private var fronts: [Int: FrontSession] = [:]
  /// Whose client a session is; by the slot of the session.
  private var owners: [Int: FrontSession] = [:]

  var isEmpty: Bool { fronts.isEmpty }

  /// Step "accept" of a listener that speaks TLS. False: it could not be watched.
  func accepted(_ front: FrontSession) -> Bool {
    guard front.begin() else { return false }
    fronts[front.slot.index] = front
    return true
  }

  func serve(_ session: Slot, by front: FrontSession) { owners[session.index] = front }
  func leave(_ session: Slot) { owners[session.index] = nil }

  /// For each session that ends: most belong to nobody.
  func sessionEnded(_ session: Slot, isCut: Bool) {
    if owners.isEmpty { return }
    owners.removeValue(forKey: session.index)?.sessionEnded(at: session.index, isCut: isCut)
  }

  func drain() { for front in fronts.values { front.drain() } }
  func closeAll() { for front in fronts.values { front.closeNow() } }

  private unowned let worker: Worker
  init(of worker: Worker) { self.worker = worker }

  func ended(_ slot: Slot, hasPlace: Bool) {
    worker.loop.release(slot)
    fronts[slot.index] = nil
    if hasPlace { worker.shared.closed() }
    worker.stopIfDone()
  }
}
