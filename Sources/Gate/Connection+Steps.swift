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
    if stage == .reading { stepEnded(.read, sinceNs: flow.startedNs) }
    begins(.resolving)
  }

  /// The first attempt, or a further one.
  mutating func attemptBegins() {
    switch stage {
    case .reading: stepEnded(.read, sinceNs: flow.startedNs)
    case .resolving: stepEnded(.resolve, sinceNs: stepNs)
    // Another upstream is dialled in place of one that was gone: the first step counts.
    case .standing, .open: break
    case .connecting: return
    }
    begins(.connecting)
  }

  mutating func connectionStands() {
    if stage == .connecting { stepEnded(.connect, sinceNs: stepNs) }
    begins(.standing)
  }

  /// Bytes may go over from now on.
  mutating func requestOpens() {
    if stage == .open { return }
    // The upstream of the last request serves this one too.
    if stage == .reading { stepEnded(.read, sinceNs: flow.startedNs) }
    stepEnded(.open, sinceNs: flow.startedNs)
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
    stepNs = worker.conditions.nowNs
  }

  private func stepEnded(_ step: StepTimes.Step, sinceNs: UInt64) {
    let ns = worker.conditions.nowNs &- sinceNs
    worker.audit.count { $0.steps.note(step, ns: ns) }
  }
}
