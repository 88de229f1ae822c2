// Happy Eyeballs (RFC 8305) as values: the next screened address to try, and when.
// It relies on the flow for answers and failures, and opens no socket.
import Policy
import Wire

/// The waits of RFC 8305 section 8.
package enum HappyEyeballs {
  package static let resolutionDelayMs: UInt64 = 50
  package static let attemptDelayMs: UInt64 = 250
  /// Limit of attempts under way at once. It bounds descriptors and is not from the RFC.
  package static let attemptsMax = 4
}

struct Dialling: Sendable {
  enum Next: Equatable {
    case connect(IPAddress)
    /// Ask again at this time. Nil: only an event can change anything.
    case wait(untilMs: UInt64?)
    case exhausted
  }

  private var v6: ArraySlice<IPAddress> = []
  private var v4: ArraySlice<IPAddress> = []
  private var isV6Pending: Bool
  private var isV4Pending: Bool
  private var isV6Next = true
  private var underWay = 0
  private var mayStartAtMs: UInt64 = 0
  private(set) var lastFailure: Int32?
  private(set) var lastTried: IPAddress?
  private(set) var refused: (reason: Reason, address: IPAddress)?
  private(set) var sawAddress = false

  /// Starts with a name: the answers of both families are pending.
  init() {
    isV6Pending = true
    isV4Pending = true
  }

  /// Starts with a target that is an address.
  init(_ address: IPAddress) {
    isV6Pending = false
    isV4Pending = false
    sawAddress = true
    v4 = [address]
  }

  mutating func answered(_ answer: NameAnswer, nowMs: UInt64, screen: (IPAddress) -> Reason?) {
    // A late answer for an earlier request's name does not apply to this target.
    guard answer.family == .v6 ? isV6Pending : isV4Pending else { return }
    if !answer.addresses.isEmpty { sawAddress = true }
    var passed = answer.addresses
    // Usually all addresses pass, and the array is used without a copy.
    for address in answer.addresses {
      guard let reason = screen(address) else { continue }
      passed.removeAll { $0 == address }
      if refused == nil || reason == .loop { refused = (reason, address) }
    }
    switch answer.family {
    case .v6:
      isV6Pending = false
      v6 = passed[...]
    case .v4:
      isV4Pending = false
      v4 = passed[...]
      // RFC 8305 section 3: give AAAA a moment before A alone is used.
      if isV6Pending && underWay == 0 { mayStartAtMs = nowMs + HappyEyeballs.resolutionDelayMs }
    }
    if !isV6Pending && underWay == 0 { mayStartAtMs = 0 }
  }

  /// Screens the untried addresses again after the rule has changed.
  mutating func screen(_ check: (IPAddress) -> Reason?) {
    for address in v6 + v4 where refused == nil { refused = check(address).map { ($0, address) } }
    v6 = v6.filter { check($0) == nil }[...]
    v4 = v4.filter { check($0) == nil }[...]
  }

  mutating func attemptFailed(code: Int32) {
    underWay -= 1
    lastFailure = code
    mayStartAtMs = 0
  }

  mutating func next(nowMs: UInt64) -> Next {
    if v6.isEmpty && v4.isEmpty {
      if isV6Pending || isV4Pending || underWay > 0 { return .wait(untilMs: nil) }
      return .exhausted
    }
    if underWay >= HappyEyeballs.attemptsMax { return .wait(untilMs: nil) }
    if nowMs < mayStartAtMs { return .wait(untilMs: mayStartAtMs) }
    // RFC 8305 section 4: the families take turns, IPv6 first.
    let address: IPAddress?
    if isV6Next {
      address = v6.popFirst() ?? v4.popFirst()
    } else {
      address = v4.popFirst() ?? v6.popFirst()
    }
    guard let address else { return .exhausted }
    if case .v6 = address { isV6Next = false } else { isV6Next = true }
    underWay += 1
    lastTried = address
    mayStartAtMs = nowMs + HappyEyeballs.attemptDelayMs
    return .connect(address)
  }

  var hasMoreToTry: Bool { !v6.isEmpty || !v4.isEmpty }
  var startsNextAtMs: UInt64 { mayStartAtMs }
}
