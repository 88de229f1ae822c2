// Facts of a connection for operators, and its end by an operator.
// It relies on being called between events; no state is kept only for these reports.
import Flow
import Kernel
import Policy

extension Connection {
  borrowing func tunnelFacts() -> TunnelFacts? {
    guard phase == .open, flow.isLetOut, let target = flow.target else { return nil }
    let ageMs = (worker.conditions.nowNs &- flow.startedNs) / 1_000_000
    let isOpen = flow.state.isRelaying || flow.state.isExchanging
    return TunnelFacts(
      id: id, ordinal: flow.ordinal, client: flow.client, via: flow.via, target: target, address: flow.address,
      rule: flow.rule?.line, isOpen: isOpen, bytesUp: up.moved, bytesDown: down.moved,
      ageMs: ageMs, idleMs: isOpen ? worker.conditions.nowMs &- flow.lastActivityMs : ageMs)
  }

  borrowing func addTo(_ counts: inout WorkerCounts) {
    // Bytes of a refusal count neither as tunnel bytes nor in any log line.
    guard phase == .open, flow.isLetOut else { return }
    counts.liveBytesUp &+= up.moved
    counts.liveBytesDown &+= down.moved
    counts.open += 1
  }

  mutating func closeForOperator(ordinal: UInt32?) -> Bool {
    guard phase == .open, flow.isLetOut, ordinal ?? flow.ordinal == flow.ordinal else { return false }
    tellFromOutside(.operatorCloses)
    return true
  }
}
