// Durations of the steps of a request, for the histograms of the metrics.
// It relies on the clock of the loop's turn: no clock is read here, and a relay costs nothing.
import Flow
import Kernel

extension Connection {
  /// The stages of a request from its start to the first forwarded byte.
  enum Stage: UInt8 {
    case reading, resolving, connecting, standing, open
  }

  mutating func resolutionBegins() {
    if stage == .reading { ended(.read) }
    begins(.resolving)
  }

  /// Called for the first connect attempt and for each further one.
  mutating func attemptBegins() {
    switch stage {
    case .reading: ended(.read)
    case .resolving: ended(.resolve, sinceMicroseconds: stepMicroseconds)
    // A new upstream replaces one that has gone.
    case .standing, .open: break
    case .connecting: return
    }
    begins(.connecting)
  }

  mutating func connectionStands() {
    if stage == .connecting { ended(.connect, sinceMicroseconds: stepMicroseconds) }
    begins(.standing)
  }

  /// Called when bytes may be forwarded.
  mutating func requestOpens() {
    if stage == .open { return }
    // The upstream of the last request is used again.
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

  /// Mutating, as `facts` is: a call that only borrows would copy the connection.
  private mutating func ended(_ step: StepTimes.Step, sinceMicroseconds start: UInt32 = 0) {
    let ns = worker.conditions.nowNs &- flow.startedNs
    let spentNs = ns - min(ns, UInt64(start) * 1_000)
    worker.audit.count { $0.steps.note(step, ns: spentNs) }
  }
}
