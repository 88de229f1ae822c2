// Use of a rule's limits where gates share them: leases in place of buckets of its own.
// It relies on a scope that outlives reloads, so that a lease is the same one under each policy.

/// The client of shared limits, and the thread that fills the leases.
package struct SharedScope: Sendable {
  let client: String
  let bell: LeaseBell

  package init(client: String, bell: LeaseBell) { (self.client, self.bell) = (client, bell) }
}

package struct SharedUsage: Sendable {
  package private(set) var requests: LeasedTokens?
  package private(set) var upload: LeasedTokens?
  package private(set) var download: LeasedTokens?
  package private(set) var concurrent: LeasedSlots?

  init() {}

  /// With a lease for each limit that the rule has now; what there was stays.
  func with(_ kinds: [LeaseKey.Kind], rule: String, _ scope: SharedScope) -> SharedUsage {
    var usage = self
    for kind in kinds {
      let key = LeaseKey(client: scope.client, rule: rule, kind: kind)
      switch kind {
      case .requests: usage.requests = requests ?? LeasedTokens(key: key, bell: scope.bell)
      case .uploadBytes: usage.upload = upload ?? LeasedTokens(key: key, bell: scope.bell)
      case .downloadBytes: usage.download = download ?? LeasedTokens(key: key, bell: scope.bell)
      case .concurrent: usage.concurrent = concurrent ?? LeasedSlots(key: key, bell: scope.bell)
      }
    }
    return usage
  }
}
