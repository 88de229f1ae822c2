// Secrets that a person decides about, and what a reload makes of a question that is under way.
// It relies on ContentFilter to hold the request; whoever decides sees which kind of secret it is and where, no more.
import Content
import Flow
package import Policy

extension ContentFilter {
  /// nil: all of it has been let out.
  func ask(
    _ review: ExchangeReview, _ found: [(finding: Content.Finding, place: String)], mayWait: Bool
  ) -> FilterVerdict? {
    let new = found.filter { !released.contains(Self.digest(of: $0.finding)) }
    guard let first = new.first else { return nil }
    let digests = Set(new.map { Self.digest(of: $0.finding) }).sorted()
    var hasher = Hasher()
    hasher.combine(digests)
    let digest = hasher.finalize()
    let places = Set(new.map(\.place)).sorted()
    let sheet = ReviewSheet(
      path: places.contains("request url") ? nil : ReviewSheet.shape(path), place: places.joined(separator: ", "),
      found: Set(new.map(\.finding.id)).sorted(), choices: [.release], digests: [digest])
    let answer = review.ask(FlaggedContent(.request, digest: digest), .secretRefused, sheet, waits: mayWait)
    asked = digests
    switch answer {
    case .waiting: return .wait
    case .decided:
      released.formUnion(digests)
      return nil
    case .refused: return .refuse(.secretRefused, detail: Self.reads(first) + answer.detail)
    }
  }

  private static func digest(of finding: Content.Finding) -> Int {
    var hasher = Hasher()
    hasher.combine(finding.id)
    hasher.combine(finding.fingerprint)
    return hasher.finalize()
  }

  /// Of a question about the request: nil where there is none, or it has been let out.
  func answeredByPerson() -> FilterVerdict? {
    guard let review, review.askedKind == .request else { return nil }
    let found = review.askedFound.joined(separator: ", ")
    guard let answer = review.takeAnswer() else { return .wait }
    guard case .decided = answer else {
      return .refuse(.secretRefused, detail: "What looks like a secret (\(found)) stands in it\(answer.detail)")
    }
    released.formUnion(asked)
    return nil
  }

  package func awaitsPersonUntilMs() -> UInt64? { review?.awaitsUntilMs() }

  package func keeps(under rule: AllowRule) -> Bool {
    review?.isAsking == true && rule.inspection?.content == plan.policy
  }

  package func ruleChanged(to rule: AllowRule?) {
    guard let review, let kind = review.askedKind, let content = rule?.inspection?.content, content != plan.policy
    else {
      return
    }
    switch kind {
    case .request:
      switch content.secrets {
      case nil, .log: review.settle(.decided(.release))
      case .block: review.settle(.refused(id: nil))
      case .review: break
      }
    case .answer:
      switch content.flagInstructions {
      case nil, .log: review.settle(.decided(.release))
      case .annotate: review.settle(.decided(.mark))
      case .block: review.settle(.refused(id: nil))
      case .review: if review.askedFound.allSatisfy(content.muted.contains) { review.settle(.decided(.release)) }
      }
    }
  }
}
