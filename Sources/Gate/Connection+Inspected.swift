// Step "intercept": hands the sockets of an inspected tunnel to Intercept and runs its turns.
// It relies on InspectedTunnel for the bytes; the Flow decides what an end means.
import Flow
import Intercept
import Kernel
import Policy

extension Connection {
  mutating func openInspected() -> Action? {
    down.hold(flow.takeToClient(), isOwn: flow.isReplyOwn)
    let early = flow.takeAllForTunnel().input
    guard let contexts = worker.intercept, let target = flow.target, let rule = flow.rule else {
      return flow.handle(.gateFailed, worker.conditions)
    }
    tunnelOpens()
    upstream.sendAtOnce()
    inspected = InspectedTunnel(
      contexts, worker.interceptTools, target: target, client: flow.client.name, clientFD: client.fd,
      upstreamFD: upstream.fd, early: early, rule: rule, nowMs: worker.conditions.nowMs)
    worker.loop.again(slot)
    return nil
  }

  /// Starts a plain HTTP request whose rule inspects content.
  mutating func inspectExchange() -> Action? {
    guard let target = flow.target else { return flow.handle(.gateFailed, worker.conditions) }
    worker.audit.count { $0.requests &+= 1 }
    requestOpens()
    upstream.sendAtOnce()
    inspected = InspectedTunnel(
      exchanging: flow.takeJudgedRequest(), worker.interceptTools, target: target,
      client: flow.client.name, clientFD: client.fd, upstreamFD: upstream.fd, nowMs: worker.conditions.nowMs)
    worker.loop.again(slot)
    return nil
  }

  /// Answers the client inside its TLS. An open upstream gets no further request.
  mutating func explain() -> Action? {
    down.hold(flow.takeToClient(), isOwn: flow.isReplyOwn)
    guard let refusal = flow.unsaid, let contexts = worker.intercept, let target = flow.target else {
      return flow.handle(.gateFailed, worker.conditions)
    }
    if let inspected {
      inspected.explain(refusal, nowMs: worker.conditions.nowMs)
    } else {
      inspected = InspectedTunnel(
        contexts, worker.interceptTools, refusing: refusal, target: target, clientFD: client.fd,
        early: flow.takeAllForTunnel().input, nowMs: worker.conditions.nowMs)
    }
    closeUpstream()
    worker.loop.again(slot)
    return nil
  }

  mutating func moveInspected() {
    guard let inspected else { return }
    // Bytes from before TLS are sent first.
    if let end = down.flush(to: &client, bucket: downloadBucket()) { return stalled(end) }
    inspected.noteClient(
      isReadable: client.isReadable, isWritable: client.isWritable, hasPeerEnded: client.hasPeerEnded)
    inspected.noteUpstream(
      isReadable: upstream.isReadable, isWritable: upstream.isWritable, hasPeerEnded: upstream.hasPeerEnded)
    // The tunnel now holds this readiness; the next edge adds to it.
    (client.isReadable, client.isWritable) = (false, false)
    (upstream.isReadable, upstream.isWritable) = (false, false)
    (client.hasPeerEnded, upstream.hasPeerEnded) = (false, false)
    filters = worker.filters(for: slot, shareOwner, reviews, keeping: filters)
    var tick = tick
    tick.approvals = approvalsOfTunnel()
    let progress = inspected.advance(tick)
    if !inspected.isStuck { flow.touched(atMs: worker.conditions.nowMs) }
    (up.moved, down.moved) = (inspected.bytesUp, inspected.bytesDown)
    for outcome in inspected.takeOutcomes() { record(outcome) }
    for use in filters?.takeUses() ?? [] { worker.record(use, of: flow, id: id) }
    for report in filters?.takeReports() ?? [] { record(report) }
    switch progress {
    case .waiting: break
    case .again: worker.loop.again(slot)
    case .event(.exchangeEnded): exchangeEnded(inspected)
    case .event(let event): tell(event)
    }
  }

  /// Gives the connection back to the flow after an inspected exchange.
  private mutating func exchangeEnded(_ exchange: InspectedTunnel) {
    dropInspected()
    if let back = exchange.handBack() {
      (client.isReadable, client.isWritable) = (back.isReadable, back.isWritable)
      client.hasPeerEnded = back.hasPeerEnded
      flow.clientSent(back.input.span)
    }
    tell(.exchangeEnded)
  }

  private var tick: Tick {
    let settings = worker.conditions.policy.settings
    var tick = Tick(
      worker.conditions.moment, rule: flow.rule, headBytesMax: settings.limits.headBytes,
      headMs: settings.timeouts.headMs)
    tick.isReportOnly = flow.isReportOnly
    tick.wouldRefuseTunnel = flow.hasNoted
    tick.filters = filters
    return tick
  }

  /// Ends the inspected tunnel and records the last reports of its filters.
  mutating func dropInspected() {
    guard inspected != nil else { return }
    inspected = nil
    for report in filters?.takeReports() ?? [] { record(report) }
  }

  private func record(_ report: ContentReport) {
    var report = report
    if flow.via == .http { report.ordinal = flow.ordinal }
    worker.record(report, of: flow, id: id)
  }

  /// Records one request inside the tunnel. Its bytes count in the tunnel's own line.
  private func record(_ outcome: Outcome) {
    var outcome = outcome
    outcome.address = outcome.address ?? flow.address
    outcome.isInspected = flow.isInspected
    // Outside a tunnel the flow numbers the requests.
    if flow.via == .http { outcome.ordinal = flow.ordinal }
    worker.record(outcome, of: flow, AuditFacts(id: id, bytesUp: 0, bytesDown: 0, durationMs: 0))
  }
}
