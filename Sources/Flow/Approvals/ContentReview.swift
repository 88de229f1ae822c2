// Flagged content that waits for a person: what is known of it, and what may become of it.
// It relies on whoever looked through it for the digests, which mean something in this process alone.
package import Policy

/// Content that is asked about, as a part of the subject: the same passages of the same target are the same question.
package struct FlaggedContent: Hashable, Sendable {
  package enum Kind: String, Sendable, CaseIterable { case request, answer }

  package let kind: Kind
  package let digest: Int

  package init(_ kind: Kind, digest: Int) { (self.kind, self.digest) = (kind, digest) }
}

/// How content is let through.
package enum ReviewDecision: String, Sendable, CaseIterable {
  /// As it is.
  case release
  /// With marks in front of its passages.
  case mark
  /// Without its passages.
  case remove
}

/// What a person sees of it. Nothing of a secret is in it.
package struct ReviewSheet: Sendable {
  package struct Passage: Equatable, Sendable {
    package let pattern: String
    /// `plain`, `base64` or `hidden`.
    package let layer: String
    package let before: [UInt8]
    package let text: [UInt8]
    package let after: [UInt8]

    package init(pattern: String, layer: String, before: [UInt8], text: [UInt8], after: [UInt8]) {
      (self.pattern, self.layer, self.before, self.text, self.after) = (pattern, layer, before, text, after)
    }
  }

  /// Of the request, without what looks like a value in it; nil where it may hold the secret.
  package var path: String?
  package let place: String
  /// Patterns, or kinds of secrets.
  package let found: [String]
  package internal(set) var passages: [Passage]
  /// Passages beyond those.
  package let leftOut: Int
  package let choices: [ReviewDecision]
  /// Of the passages up to each one: a later answer may be looked at when only the first of them have come.
  let digests: [Int]

  package init(
    path: String?, place: String, found: [String], passages: [Passage] = [], leftOut: Int = 0,
    choices: [ReviewDecision], digests: [Int]
  ) {
    (self.path, self.place, self.found, self.passages) = (path, place, found, passages)
    (self.leftOut, self.choices, self.digests) = (leftOut, choices, digests)
  }

  /// A path with `*` for each part that looks like a value: the query is left out.
  package static func shape(_ path: [UInt8]) -> String {
    let parts = path.prefix { $0 != UInt8(ascii: "?") }.split(
      separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    return parts.map { looksLikeValue($0) ? "*" : String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
  }

  private static func looksLikeValue(_ part: ArraySlice<UInt8>) -> Bool {
    let digits = part.count { (0x30...0x39).contains($0) }
    return part.count > 40 || digits > 3 || digits > 0 && part.count > 15 || part.contains(UInt8(ascii: "@"))
  }
}

package enum ReviewAnswer: Sendable, Equatable {
  /// Ask again then, or when told.
  case waiting(id: String, untilMs: UInt64)
  case decided(ReviewDecision)
  /// A person refused it, nobody answered in time, or nobody is asked; with the entry's number where it is listed.
  case refused(id: String?)
}

/// The registry as one exchange asks it about its content.
package protocol ReviewDesk: Sendable {
  /// `waits` false: the content is not held, and its entry is for the next attempt.
  func ask(
    _ subject: ApprovalSubject, _ reason: Reason, _ sheet: ReviewSheet, client: String, ordinal: UInt32, waits: Bool
  ) -> ReviewAnswer
  func withdraw(ordinal: UInt32)
}

extension ApprovalRegistry {
  /// Like `ask`, for content. Who waits when a person decides gets the decision; where nobody does, who comes next with
  /// the same passages.
  package mutating func review(
    _ question: ApprovalQuestion, by waiter: ApprovalWaiter?, _ now: Time
  ) -> ReviewAnswer {
    if let decision = takeDecision(question.key, by: waiter, now) { return .decided(decision) }
    return switch ask(question, by: waiter, now) {
    case .waiting(let id, let untilMs): .waiting(id: id, untilMs: untilMs)
    case .recorded(let id), .notApproved(let id): .refused(id: id)
    case .full: .refused(id: nil)
    }
  }

  /// A person has looked at it. Those who wait are to be told to ask again.
  package mutating func decide(
    _ id: String, _ decision: ReviewDecision, by: String, _ now: Time
  ) throws(Problem) -> (entry: ApprovalEntry, waiters: [ApprovalWaiter]) {
    guard let entry = entry(id) else { throw Self.unknown(id) }
    guard let sheet = entry.sheet, entry.key.subject.content != nil else {
      throw Problem(description: "\(id) is no flagged content: `sluice approve` lets it out")
    }
    if entry.state == .approved { throw Problem(description: "\(id) is decided already") }
    guard sheet.choices.contains(decision) else {
      let may = sheet.choices.map { "--\($0.rawValue)" } + ["--refuse"]
      throw Problem(description: "\(id) cannot be decided so; there is \(may.joined(separator: ", "))")
    }
    guard let settled = settle(id, decision, by: by, now) else { throw Self.unknown(id) }
    return settled
  }
}
