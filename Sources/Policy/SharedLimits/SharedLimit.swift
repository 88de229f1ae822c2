// All that gates of a group count as one, as a policy says it: each limit with its lease and its numbers.
// It relies on the leases being those of the policy before, where a limit was there already.

/// A shared limit as its numbers are now.
package struct SharedLimit: Sendable {
  package enum Lease: Sendable {
    case tokens(LeasedTokens, LeaseLimit)
    case slots(LeasedSlots, limit: Int)
  }

  package let key: LeaseKey
  package let lease: Lease
}

extension Policy {
  /// All that gates of a group count as one; empty where they share nothing. A policy may name the same client, hosts
  /// and ports twice, and then the numbers of the first count.
  package var sharedLimits: [SharedLimit] {
    guard leaseBell != nil else { return [] }
    return ([fallback] + clients).flatMap { $0.network.rulesInForce.flatMap(\.sharedLimits) }
  }
}

extension AllowRule {
  fileprivate var sharedLimits: [SharedLimit] {
    var limits: [SharedLimit] = []
    func add(_ tokens: LeasedTokens?, _ limit: LeaseLimit?) {
      guard let tokens, let limit else { return }
      limits.append(SharedLimit(key: tokens.key, lease: .tokens(tokens, limit)))
    }
    add(
      usage.shared?.requests,
      requests.map { LeaseLimit(perMinute: UInt64(clamping: $0.perMinute), capacity: UInt64(clamping: $0.burst)) })
    add(usage.shared?.upload, uploadBytes.map { LeaseLimit(bytesPerMinute: $0.perMinute) })
    add(usage.shared?.download, downloadBytes.map { LeaseLimit(bytesPerMinute: $0.perMinute) })
    if let slots = usage.shared?.concurrent, let concurrent {
      limits.append(SharedLimit(key: slots.key, lease: .slots(slots, limit: concurrent.limit)))
    }
    return limits
  }
}
