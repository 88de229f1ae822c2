// Questions of a gate to the group's store, and the store's answers: one operation on one key each.
// It relies on the store's clock, in microseconds: no gate's clock is ever compared with another's.

/// A bucket's numbers. Requests and bytes are both tokens here.
package struct LeaseLimit: Equatable, Sendable {
  /// A lease is at most what the limit grants in a second.
  private static let leaseShare: UInt64 = 60
  /// Of a short burst no gate takes more than this part at a time.
  private static let burstShare: UInt64 = 4
  /// A lease of one token would be back at the store as often as it is used.
  private static let leaseMin: UInt64 = 2
  /// Bytes are not fetched one by one: less than this at a time would cost more than it carries.
  private static let bytesMin: UInt64 = 256
  /// Of a window: what 35 years refill. Sums with the clock stay exact in a store that computes with doubles.
  static let windowUsMax: UInt64 = 1 << 50
  private static let minuteUs: UInt64 = 60_000_000

  package let perMinute: UInt64
  package let capacity: UInt64
  /// The smallest lease, where it would be none.
  private let least: UInt64

  package init(perMinute: UInt64, capacity: UInt64) {
    (self.perMinute, self.capacity, least) = (perMinute, capacity, 0)
  }

  package init(bytesPerMinute perMinute: UInt64) {
    (self.perMinute, capacity) = (perMinute, perMinute)
    least = min(perMinute, Self.bytesMin)
  }

  /// How long an empty bucket takes to be full.
  package var windowUs: UInt64 { costUs(capacity) }

  func costUs(_ tokens: UInt64) -> UInt64 {
    let product = tokens.multipliedFullWidth(by: Self.minuteUs)
    guard product.high < perMinute else { return Self.windowUsMax }
    let (quotient, remainder) = perMinute.dividingFullWidth(product)
    return min(quotient + (remainder > 0 ? 1 : 0), Self.windowUsMax)
  }

  /// How many tokens come in in this time; a part of one counts as one.
  func tokens(inUs timeUs: UInt64) -> Int {
    let product = min(timeUs, Self.windowUsMax).multipliedFullWidth(by: perMinute)
    guard product.high < Self.minuteUs else { return .max }
    return Int(clamping: Self.minuteUs.dividingFullWidth(product).quotient &+ 1)
  }

  /// How many tokens a gate may hold; none: they are fetched when a request waits for one.
  package var leaseMax: Int {
    let lease = min(perMinute / Self.leaseShare, max(capacity / Self.burstShare, least))
    return Int(clamping: lease < Self.leaseMin ? least : max(lease, least))
  }
}

package struct TokensAsked: Equatable, Sendable {
  package let limit: LeaseLimit
  package var want = 0
  /// Unspent tokens of this gate that are the bucket's again.
  package var back = 0
  /// Tokens that this gate spent without asking: they are taken from the bucket, whatever is in it.
  package var charge = 0
  /// When the bucket would be full, as this gate heard last; 0 where nothing was forgotten in between.
  package var seenFullAtUs: UInt64 = 0
  /// When the store began anew, having forgotten: a bucket that it does not know was empty then. 0: it never did.
  package var bornUs: UInt64 = 0
  /// By the store's clock, when this gate waits no longer for the answer: later the question is void. 0: it never is.
  package var untilUs: UInt64 = 0

  package init(limit: LeaseLimit) { self.limit = limit }
}

package struct SlotsAsked: Equatable, Sendable {
  package let limit: Int
  /// Slots that are filled: a fact, which no answer undoes.
  package let live: Int
  /// Slots that this gate would like to have, filled ones included.
  package let want: Int
  package var bornUs: UInt64 = 0
}

package enum LeaseCommand: Equatable, Sendable {
  /// `known`: the store's mark as this gate heard it last, or empty. `fresh`: the mark of a store that has none.
  case announce(known: String, fresh: String)
  case leave
  case tokens(TokensAsked)
  case slots(SlotsAsked)
}

package struct LeaseRequest: Sendable {
  package let id: UInt64
  /// nil: of the group as such.
  package let key: LeaseKey?
  package let command: LeaseCommand
}

package enum LeaseReply: Equatable, Sendable {
  case group(gates: Int, mark: String, bornUs: UInt64)
  /// `granted` is nil where the question was void.
  case tokens(granted: Int?, fullAtUs: UInt64, nowUs: UInt64)
  case slots(mine: Int, others: Int)
  case left
}

/// Of the protocol, in one place for the machine, the script and the documents.
package enum LeaseTimes {
  package static let announceMs: UInt64 = 10_000
  /// A gate that announced itself no more is gone then.
  package static let gateExpiryMs: UInt64 = 30_000
  /// The group's own key, when no gate is left.
  package static let groupExpiryMs: UInt64 = 3_600_000
  package static let slotRenewalMs: UInt64 = 5_000
  package static let slotExpiryMs: UInt64 = 15_000
  /// After a loss, gates tell what they spent before any of them takes more.
  package static let settleMs: UInt64 = 400
  /// In a store that has forgotten, gates tell which slots they have filled before any of them gets more.
  package static let slotGraceMs: UInt64 = 1_000
  /// An answer that takes longer is a loss.
  package static let answerMs: UInt64 = 400
  /// Of attempts to reach the store: all gates are back well before the first of them takes more.
  package static let retryMs: UInt64 = 200
  /// Tokens that were not used for so long go back.
  static let idleMs: UInt64 = 2_000
  /// A token that was not spent for so long goes back too, however busy the bucket is. With an answer that is awaited
  /// meanwhile this is below three seconds: what all gates hold is at most what the limit grants in that time.
  static let heldMs: UInt64 = 2_400
  /// The store's clock is known for so long.
  static let clockMs: UInt64 = 60_000
  /// A bucket that is in use is looked at so often.
  static let lookMs: UInt64 = 500
  static let spareSlotMs: UInt64 = 100
  /// Whoever finds a bucket empty asks again when this much has come in, or a token.
  static let quantumMs: UInt64 = 700
  /// Whoever finds it empty again and again, since others take the tokens, asks this seldom.
  static let contendedMs: UInt64 = 3_000
}
