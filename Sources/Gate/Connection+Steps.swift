// When one step of a request ends and the next begins, for the histograms of the metrics.
// It relies on the clock of the loop's turn; nothing is read for its sake, and a relay costs nothing.
import Flow
import Kernel

extension Connection {
  /// Where a request stands between its beginning and the first byte that goes over.
  enum Stage: UInt8 {
    case reading, resolving, connecting, standing, open
  }

  mutating func resolutionBegins() {
    if stage == .reading { ended(.read) }
    begins(.resolving)
  }

  /// The first attempt, or a further one.
  mutating func attemptBegins() {
    switch stage {
    case .reading: ended(.read)
    case .resolving: ended(.resolve, sinceMicroseconds: stepMicroseconds)
    // Another upstream is dialled in place of one that was gone: the first step counts.
    case .standing, .open: break
    case .connecting: return
    }
    begins(.connecting)
  }

  mutating func connectionStands() {
    if stage == .connecting { ended(.connect, sinceMicroseconds: stepMicroseconds) }
    begins(.standing)
  }

  /// Bytes may go over from now on.
  mutating func requestOpens() {
    if stage == .open { return }
    // The upstream of the last request serves this one too.
    if stage == .reading { ended(.read) }
    ended(.open)
    stage = .open
  }

  mutating func nextRequestBegins() { stage = .reading }

  mutating func tunnelOpens() {
    requestOpens()
    guard !isTunnel else { return }
    isTunnel = true
    let kind = TunnelKind(flow.via, isSOCKS: flow.isSOCKS)
    worker.audit.count { $0.countTunnel(kind) }
  }

  private mutating func begins(_ next: Stage) {
    stage = next
    stepMicroseconds = UInt32(clamping: (worker.conditions.nowNs &- flow.startedNs) / 1_000)
  }

  /// Mutating, as `facts` is: a connection that is only looked at is copied for the call.
  private mutating func ended(_ step: StepTimes.Step, sinceMicroseconds start: UInt32 = 0) {
    let ns = worker.conditions.nowNs &- flow.startedNs
    let spentNs = ns - min(ns, UInt64(start) * 1_000)
    worker.audit.count { $0.steps.note(step, ns: spentNs) }
  }
}
