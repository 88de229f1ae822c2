// Levels of buckets, as values that are saved and restored across restarts.
// It relies on counting a debt as refill time, which does not depend on who counts it.

package struct BucketLevelKept: Equatable, Sendable {
  package let key: LeaseKey
  /// The time that the bucket would need to be full again.
  package let debtUs: UInt64

  package init(key: LeaseKey, debtUs: UInt64) { (self.key, self.debtUs) = (key, debtUs) }
}

extension Policy {
  /// Omits full buckets, and shared ones, whose levels belong to the group of gates.
  package func bucketLevels(nowNs: UInt64) -> [BucketLevelKept] {
    ownBuckets.compactMap { key, bucket in
      let debtUs = min(bucket.state.debtNs(nowNs: nowNs), bucket.windowNs) / 1000
      return debtUs > 0 ? BucketLevelKept(key: key, debtUs: debtUs) : nil
    }
  }

  /// Restores saved levels, less the refill of the time passed since. A debt above the limit counts as an empty
  /// bucket.
  package func restore(_ levels: [BucketLevelKept], passedUs: UInt64, nowNs: UInt64) {
    let buckets = Dictionary(ownBuckets, uniquingKeysWith: { first, _ in first })
    for level in levels where level.debtUs > passedUs {
      let debtNs = (level.debtUs - passedUs).saturatingProduct(1000)
      guard let bucket = buckets[level.key] else { continue }
      // The limit may have changed since the level was saved.
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
