// The mark of an approved rule: the approval's number, and the number of requests left.
// It relies on one atomic counter that all loops share.
import Synchronization

/// The number of requests left for an approval, shared by all loops.
package final class RemainingUses: Sendable {
  private let left: Atomic<Int>

  package init(_ count: Int) { left = Atomic(count) }

  package var isSpent: Bool { left.load(ordering: .relaxed) <= 0 }

  /// False if none is left.
  package func take() -> Bool {
    var count = left.load(ordering: .relaxed)
    while count > 0 {
      let (isDone, found) = left.compareExchange(expected: count, desired: count - 1, ordering: .relaxed)
      if isDone { return true }
      count = found
    }
    return false
  }

  /// Returns a use: the request was refused after all.
  package func give() { left.wrappingAdd(1, ordering: .relaxed) }
}

/// The mark of an approved rule.
package struct Approval: Sendable {
  package let id: String
  /// Nil: any number of requests.
  package let uses: RemainingUses?

  package init(id: String, uses: RemainingUses?) { (self.id, self.uses) = (id, uses) }
}
