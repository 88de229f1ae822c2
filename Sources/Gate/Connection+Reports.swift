// What an operator may know of a connection, and its end by an operator's hand.
// It relies on being asked between events; nothing here is kept for that sake alone.
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
    // A refusal on its way to the client is no byte of a tunnel, nor of any line of the log.
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
