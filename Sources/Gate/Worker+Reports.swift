// A worker's answers to the main thread, and the sandboxes that it serves.
// It relies on being called from the mailbox, between events; sessions are read only when asked.
import Flow
import Kernel
import Policy

extension Worker {
  func answer(_ question: WorkerQuestion, _ token: UInt64) {
    switch question {
    case .counts: report(token, .counts(counts()))
    case .tunnels(let max):
      var tunnels: [TunnelFacts] = []
      for session in liveSessions where tunnels.count < max {
        if let facts = session.facts() { tunnels.append(facts) }
      }
      report(token, .tunnels(tunnels))
    case .clients: report(token, .clients(Set(liveSessions.map(\.clientName))))
    case .close(let id, let ordinal):
      let session = liveSessions.first { $0.id == id }
      report(token, .closed(session?.closeForOperator(ordinal: ordinal) ?? false))
    }
  }

  func counts() -> WorkerCounts {
    var counts = WorkerCounts()
    counts.counters = audit.counters
    counts.names = resolver.counts
    counts.loops = [
      LoopUse(
        worker: index, busyNs: loop.nowNs &- loop.startedNs &- loop.idleNs, idleNs: loop.idleNs, turns: loop.turns)
    ]
    for session in liveSessions { session.addTo(&counts) }
    return counts
  }

  func report(_ token: UInt64, _ body: WorkerReport.Body) {
    shared.reports.post(WorkerReport(worker: index, token: token, body: body))
  }

  // MARK: - Sandboxes

  /// Serves a sandbox's sockets. If one cannot be watched, all are closed.
  func adopt(_ sockets: [BoundSocket], _ token: UInt64) {
    guard !isStopping else {
      for socket in sockets { _ = Descriptor(owning: socket.raw) }
      return report(token, .adopted(false))
    }
    var isWhole = true
    for socket in sockets {
      do throws(SystemError) { try serve(socket) } catch {
        Messages.warn("a listener of the sandbox \(socket.sandbox ?? "") cannot be served: \(error)")
        isWhole = false
      }
    }
    if !isWhole, let name = sockets.first?.sandbox { closeListeners(of: name) }
    report(token, .adopted(isWhole))
  }

  /// The mailbox is read after the turn's events, so connections of the self-check already have their numbers.
  func noteProbing(_ sandbox: String, isOver: Bool, _ token: UInt64) {
    if isOver { audit.endProbing(sandbox, before: shared.upcomingId) } else { audit.beginProbing(sandbox) }
    shared.tookProbing()
    report(token, .probing)
  }

  /// Closes the sandbox's listeners and idle connections. The others may finish, unless `isCut`.
  func dismiss(_ name: String, isCut: Bool, _ token: UInt64) {
    closeListeners(of: name)
    for session in liveSessions where session.sandbox == name {
      if isCut { session.tellFromOutside(.drainEnded) } else { session.closeIfQuiet() }
    }
    if isCut { for session in liveSessions where session.sandbox == name { session.closeNow() } }
    let left = liveSessions.count { $0.sandbox == name }
    if left == 0 { audit.forgetProbing(name) }
    // A later sandbox of this name is a different client.
    shared.refusals.forget(ShareOwner(client: name))
    report(token, .dismissed(left: left))
  }
}
