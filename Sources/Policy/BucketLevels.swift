// What buckets hold, as values that can be kept and given back: for a gate that is restarted.
// It relies on the time that a debt is worth: that is what a bucket refills by, whoever counts it.

package struct BucketLevelKept: Equatable, Sendable {
  package let key: LeaseKey
  /// How long the bucket would have taken to be full again.
  package let debtUs: UInt64

  package init(key: LeaseKey, debtUs: UInt64) { (self.key, self.debtUs) = (key, debtUs) }
}

extension Policy {
  /// Full buckets are left out, and those that gates share: their levels are the group's.
  package func bucketLevels(nowNs: UInt64) -> [BucketLevelKept] {
    ownBuckets.compactMap { key, state in
      let debtUs = state.debtNs(nowNs: nowNs) / 1000
      return debtUs > 0 ? BucketLevelKept(key: key, debtUs: debtUs) : nil
    }
  }

  /// What has passed since then has refilled them. A debt beyond what the limit can owe counts as an empty bucket.
  package func restore(_ levels: [BucketLevelKept], passedUs: UInt64, nowNs: UInt64) {
    let states = Dictionary(ownBuckets, uniquingKeysWith: { first, _ in first })
    for level in levels where level.debtUs > passedUs {
      let debtNs = (level.debtUs - passedUs).saturatingProduct(1000)
      states[level.key]?.set(fullAtNs: nowNs &+ min(debtNs, Self.debtNsMax))
    }
  }

  /// Far beyond any window: a bucket cuts it to its own.
  private static let debtNsMax: UInt64 = 1 << 61

  private var ownBuckets: [(LeaseKey, BucketState)] {
    guard leaseBell == nil else { return [] }
    var found: [(LeaseKey, BucketState)] = []
    for client in [fallback] + clients {
      for rule in client.network.rulesInForce {
        func add(_ kind: LeaseKey.Kind, _ state: BucketState, isThere: Bool) {
          if isThere { found.append((LeaseKey(client: client.name, rule: rule.text, kind: kind), state)) }
        }
        add(.requests, rule.usage.requests, isThere: rule.requests != nil)
        add(.uploadBytes, rule.usage.upload, isThere: rule.uploadBytes != nil)
        add(.downloadBytes, rule.usage.download, isThere: rule.downloadBytes != nil)
      }
    }
    return found
  }
}
