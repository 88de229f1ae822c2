// Step "relay": each direction is pumped as far as its sockets and its byte bucket allow.
// It relies on RelayDirection for the bytes; the Flow decides what an end means.
import Flow
import Kernel
import Policy

extension Connection {
  mutating func relay() {
    flow.touched(atMs: worker.conditions.nowMs)
    var isAgain = false
    if up.hasWork(from: client) { isAgain = pumpUp() }
    if phase == .open && down.hasWork(from: upstream) { isAgain = pumpDown() || isAgain }
    if phase == .open && up.hasCarriedEnd && down.hasCarriedEnd && flow.state.isRelaying { tell(.relayEnded) }
    if phase == .open && client.hasPeerEnded && up.meter.hasEnded && flow.state.isExchanging { tell(.clientEnded) }
    if isAgain && phase == .open { worker.loop.again(slot) }
  }

  mutating func pumpUp() -> Bool {
    let end = up.pump(from: &client, to: &upstream, worker.tools, bucket: uploadBucket())
    switch end {
    case .blocked: return false
    case .again: return true
    case .bodyEnded:
      up.isOpen = false
      // The bytes behind a chunked body may be the next request.
      flow.clientSent(up.takeSurplus().span)
      tell(.requestBodyEnded)
    case .sourceEnded:
      guard flow.state.isExchanging else { return up.carryEnd(to: &upstream, isLast: down.hasCarriedEnd) }
      tell(.clientEnded)
    case .malformed: tell(.bodyMalformed)
    case .sourceReset: tell(.clientReset)
    case .sinkReset: tell(.upstreamReset)
    case .limited(let grant): limited(.uploadLimited, grant)
    }
    return false
  }

  mutating func pumpDown() -> Bool {
    let end = down.pump(from: &upstream, to: &client, worker.tools, bucket: downloadBucket())
    switch end {
    case .blocked: return false
    case .again: return true
    case .bodyEnded:
      down.isOpen = false
      // Bytes behind the answer's body: such an upstream is not used for the next request.
      flow.upstreamSent(down.takeSurplus().span)
      if flow.state.isExchanging { tell(.responseBodyEnded) }
    case .sourceEnded:
      guard flow.state.isExchanging else { return down.carryEnd(to: &client, isLast: up.hasCarriedEnd) }
      down.isOpen = false
      tell(down.meter.endsWithConnection ? .responseBodyEnded : .upstreamEnded)
    case .malformed: tell(.bodyMalformed)
    case .sourceReset: tell(.upstreamReset)
    case .sinkReset: tell(.clientReset)
    case .limited(let grant): limited(.downloadLimited, grant)
    }
    return false
  }

  /// Handles a flush that did not send all held bytes of an answer.
  mutating func stalled(_ end: PumpEnd) {
    switch end {
    case .sinkReset: tell(.clientReset)
    case .limited(let grant): limited(.downloadLimited, grant)
    default: break
    }
  }

  mutating func limited(_ event: Event, _ grant: ByteBucket.Grant) {
    if !pace(grant) { tell(event) }
  }

  /// Waits for tokens if the rule paces, or while the store of a shared bucket is being asked.
  mutating func pace(_ grant: ByteBucket.Grant) -> Bool {
    guard grant.isFetching || flow.rule?.onLimit == .pace else { return false }
    let waitMs = max(1, min(grant.retryAfterNs / 1_000_000, 1_000))
    pacedUntilMs = min(pacedUntilMs, worker.conditions.nowMs + waitMs)
    return true
  }

  /// The store of shared limits has answered: a paced session is judged again.
  mutating func tokensCame() {
    guard phase == .open, flow.state.isPacing else { return }
    tell(.deadlinePassed)
    awaitNext()
  }

  func uploadBucket() -> ByteBucketUse { use(flow.limitsBytes ? flow.rule?.uploadBytes : nil) }
  func downloadBucket() -> ByteBucketUse { use(flow.limitsBytes ? flow.rule?.downloadBytes : nil) }

  private func use(_ bucket: ByteBucket?) -> ByteBucketUse {
    guard let bucket, !flow.isReportOnly else { return ByteBucketUse(bucket: nil, nowNs: 0) }
    return ByteBucketUse(bucket: bucket, nowNs: worker.conditions.nowNs)
  }
}
