// Levels of buckets, as values that can be kept and given back: for a gate that is restarted.
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
    ownBuckets.compactMap { key, bucket in
      let debtUs = min(bucket.state.debtNs(nowNs: nowNs), bucket.windowNs) / 1000
      return debtUs > 0 ? BucketLevelKept(key: key, debtUs: debtUs) : nil
    }
  }

  /// Time that has passed since then has refilled them. A debt beyond what the limit can owe counts as an empty bucket.
  package func restore(_ levels: [BucketLevelKept], passedUs: UInt64, nowNs: UInt64) {
    let buckets = Dictionary(ownBuckets, uniquingKeysWith: { first, _ in first })
    for level in levels where level.debtUs > passedUs {
      let debtNs = (level.debtUs - passedUs).saturatingProduct(1000)
      guard let bucket = buckets[level.key] else { continue }
      // The limit may have been another one then.
      bucket.state.set(fullAtNs: nowNs &+ min(debtNs, bucket.windowNs))
    }
  }

  private typealias OwnBucket = (state: BucketState, windowNs: UInt64)

  private var ownBuckets: [(LeaseKey, OwnBucket)] {
    guard leaseBell == nil else { return [] }
    var found: [(LeaseKey, OwnBucket)] = []
    for client in [fallback] + clients {
      for rule in client.network.rulesInForce {
        func add(_ kind: LeaseKey.Kind, _ state: BucketState, _ windowNs: UInt64?) {
          guard let windowNs else { return }
          found.append((LeaseKey(client: client.name, rule: rule.text, kind: kind), (state, windowNs)))
        }
        add(.requests, rule.usage.requests, rule.requests?.windowNs)
        add(.uploadBytes, rule.usage.upload, rule.uploadBytes.map { _ in ByteBucket.windowNs })
        add(.downloadBytes, rule.usage.download, rule.downloadBytes.map { _ in ByteBucket.windowNs })
      }
    }
    return found
  }
}
