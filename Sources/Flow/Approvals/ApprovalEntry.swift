// One question to a person: which client asks for what, since when, how often, and what became of it.
// It relies on ApprovalRegistry to move it; a copy of it is all that others ever see.
package import Policy
package import Wire

/// The subject of a question: a whole target, or one method and path more of a target that a rule inspects.
package struct ApprovalSubject: Hashable, Sendable {
  package struct Request: Hashable, Sendable {
    package static let methodBytesMax = 32
    package static let pathBytesMax = 512

    package let method: String
    /// Without its query.
    package let path: String

    package init(method: String, path: String) { (self.method, self.path) = (method, path) }
  }

  package let target: Target
  package let request: Request?
  /// What was flagged in a request to the target, or in its answer; nil where the way out itself is asked about.
  package let content: FlaggedContent?

  package init(_ target: Target, request: Request? = nil, content: FlaggedContent? = nil) {
    (self.target, self.request, self.content) = (target, request, content)
  }

  /// The scope of an approval where nobody says otherwise: exactly the subject.
  package var scope: ApprovedRule.Scope {
    // A path that is no pattern is never asked about: `ApprovalSubject.init(_:method:path:)`.
    if let request, let pattern = try? PathPattern(request.path) {
      return .request(target, Inspection.RequestPattern(methods: [Array(request.method.utf8)], paths: [pattern]))
    }
    return .rule(
      AllowSpec(
        line: SourceLine(approval: ""), pattern: .exact(target.host), ports: PortSet([target.port...target.port])))
  }
}

package struct ApprovalKey: Hashable, Sendable {
  package let client: String
  package let subject: ApprovalSubject

  package init(client: String, subject: ApprovalSubject) { (self.client, self.subject) = (client, subject) }
}

/// A request that was found to need an approval.
package struct ApprovalQuestion: Sendable {
  package let key: ApprovalKey
  package let reason: Reason
  /// As the log's `via` has it.
  package let via: String
  /// The client's own words, where it gave any. Hostile, as the host is.
  package var note: String?
  /// Of content.
  package var sheet: ReviewSheet?

  package init(_ key: ApprovalKey, reason: Reason, via: String, note: String? = nil, sheet: ReviewSheet? = nil) {
    (self.key, self.reason, self.via, self.note, self.sheet) = (key, reason, via, note, sheet)
  }
}

package enum ApprovalAnswer: Sendable, Equatable {
  /// Ask again then, or when told.
  case waiting(id: String, untilMs: UInt64)
  /// Listed, and refused as if nobody could be asked.
  case recorded(id: String)
  /// A person refused it, or nobody answered in time.
  case notApproved(id: String)
  /// The client has as many entries as it may have: refused, and not listed.
  case full
}

/// For how long an approval holds.
package enum ApprovalGrant: Sendable, Equatable {
  /// For the requests that wait, or for the next one.
  case once
  case seconds(Int)
  /// Until the sandbox ends, or the client's last connection.
  case session
  /// The rule stands in the policy file.
  case forever

  package static let form = "once, session, forever, or a time such as 90s, 30m, 8h or 7d (up to 365d)"
  private static let units = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
  private static let secondsMax = 365 * 86_400

  package init?(_ text: String) {
    switch text {
    case "once": self = .once
    case "session": self = .session
    case "forever": self = .forever
    default:
      guard let last = text.last, let unit = Self.units[String(last)], text.utf8.count <= 9,
        text.utf8.dropLast().allSatisfy({ (0x30...0x39).contains($0) }), let count = Int(text.dropLast()),
        (1...Self.secondsMax).contains(count * unit)
      else { return nil }
      self = .seconds(count * unit)
    }
  }

  /// As the log's `for` has it.
  package var text: String {
    switch self {
    case .once: "once"
    case .seconds(let count): "\(count)s"
    case .session: "session"
    case .forever: "forever"
    }
  }
}

package struct ApprovalEntry: Sendable {
  package enum State: String, Sendable, CaseIterable {
    /// Connections wait for an answer.
    case waiting
    /// Listed; nothing waits.
    case recorded
    case approved
    case refused
    /// Nobody answered in time. It may still be approved, for the next request.
    case expired
  }

  package struct Decision: Sendable {
    /// Uid and name of the person who decided.
    package let by: String
    /// Nil for a refusal, and for content.
    package let grant: ApprovalGrant?
    /// Nil for all but content that is let through.
    package var review: ReviewDecision?
    /// Of a refusal: until the gate ends.
    package let isAlways: Bool
    /// The rule that was allowed, in the words of the policy file.
    package let text: String?
    /// A person gave that rule, in place of exactly what was asked for.
    package let isGiven: Bool
    package let ms: UInt64
  }

  package let id: String
  package let key: ApprovalKey
  package let reason: Reason
  package let via: String
  package internal(set) var note: String?
  package internal(set) var state: State
  package let askedUnixMs: Int64
  package internal(set) var lastMs: UInt64
  /// How many requests asked.
  package internal(set) var count = 1
  /// How many of them wait now, and until when the last one does.
  package internal(set) var waiting = 0
  package internal(set) var untilMs: UInt64 = 0
  package internal(set) var decision: Decision?
  /// Of content.
  package internal(set) var sheet: ReviewSheet?
  /// How many more pass by the decision about content.
  var passesLeft = 0
  /// All loops have the approved rule.
  var isDelivered = false

  /// A person has decided: the next request begins another entry.
  var isDecided: Bool { state == .approved || state == .refused }
}

/// For the log and for those who are told.
package struct ApprovalEvent: Sendable {
  package enum Verdict: String, Sendable, CaseIterable { case asked, approved, refused, expired, withdrawn }

  package let verdict: Verdict
  package let entry: ApprovalEntry
}

/// A connection of one loop, and the request of it that waits.
package struct ApprovalWaiter: Hashable, Sendable {
  package struct Seat: Hashable, Sendable {
    package let worker: Int
    package let connection: UInt64

    package init(worker: Int, connection: UInt64) { (self.worker, self.connection) = (worker, connection) }
  }

  package let seat: Seat
  package let ordinal: UInt32

  package init(_ seat: Seat, ordinal: UInt32) { (self.seat, self.ordinal) = (seat, ordinal) }
}

/// The registry as the turns of one connection's tunnel ask it.
package protocol ApprovalDesk {
  /// The same request may ask again and again; it is counted once.
  func ask(_ subject: ApprovalSubject, _ reason: Reason, ordinal: UInt32) -> ApprovalAnswer
  /// The request waits no more.
  func withdraw(ordinal: UInt32)
}
