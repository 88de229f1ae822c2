// All connections in TLS of one worker, and which of its sessions serve them.
// It relies on slots: a place on the loop tells a front from a session, and one session from the next.
import Kernel
import Policy

final class TLSListenerConnections {
  private unowned let worker: Worker
  private var fronts: [Int: TLSListenerConnection] = [:]
  /// What is the client of a session, while that lives; by the session's slot.
  private var legs: [Int: StreamSocketSource] = [:]

  init(of worker: Worker) { self.worker = worker }

  var isEmpty: Bool { fronts.isEmpty }

  /// Step "accept" of a listener that speaks TLS. False: it could not be watched.
  func accepted(_ front: TLSListenerConnection) -> Bool {
    guard front.begin() else { return false }
    fronts[front.slot.index] = front
    return true
  }

  func ended(_ slot: Slot, _ owner: ShareOwner) {
    worker.loop.release(slot)
    fronts[slot.index] = nil
    worker.shared.givePlace(by: owner)
    worker.stopIfDone()
  }

  func drain() { for front in fronts.values { front.drain() } }
  func closeAll() { for front in fronts.values { front.closeNow() } }

  // MARK: - Sessions

  func join(_ leg: StreamSocketSource) { legs[leg.session.index] = leg }

  /// The session may live on, and then has its place until its own end.
  func part(_ leg: StreamSocketSource) {
    leg.isDropped = true
    if leg.hasPlace { worker.shared.givePlace(by: leg.shareOwner) }
  }

  /// For each session that ends: most have a client of their own. True: its place under `limits.connections` stays
  /// taken, by the connection that it served.
  func sessionEnded(_ session: Slot, isCut: Bool) -> Bool {
    if legs.isEmpty { return false }
    return legs.removeValue(forKey: session.index)?.sessionEnded(isCut: isCut) ?? false
  }
}
