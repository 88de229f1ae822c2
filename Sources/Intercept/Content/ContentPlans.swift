// What the policy says of content, made ready: tables of patterns and keys, once for each kind of check and shared by
// the loops. It relies on being built on the main thread with its policy; nothing in it changes.
package import Content
package import Policy

/// The checks of one `content_policy`.
package final class ContentPlan: Sendable {
  package let policy: ContentPolicy
  /// A page becomes its text.
  let page: ContentRules
  /// Looked through, and passed on in the bytes that came.
  let watched: ContentRules
  let outgoing: ContentRules
  /// Tokens in answers: what the other side issued may go out again.
  let issued: ContentRules

  init(_ policy: ContentPolicy, _ patterns: PatternSet) {
    self.policy = policy
    var settings = ContentSettings()
    settings.patterns = patterns
    settings.threshold = policy.threshold
    settings.muted = policy.muted
    settings.keepsExcerpts = policy.flagInstructions == .review
    settings.secrets = .off
    settings.html = .never
    settings.flagInstructions = policy.flagInstructions == nil ? .off : .log
    settings.readsStrings = true
    watched = ContentRules(settings)
    settings.readsStrings = false
    if policy.flagInstructions == .annotate { settings.flagInstructions = .annotate }
    settings.html = .always
    page = ContentRules(settings)
    settings.html = .never
    settings.keepsExcerpts = false
    settings.flagInstructions = .off
    settings.secrets = .log
    outgoing = ContentRules(settings)
    settings.findsAllRandom = true
    issued = ContentRules(settings)
  }

  /// True if answers are looked into, rather than counted.
  var looksIntoAnswers: Bool { policy.stripsHTML || policy.flagInstructions != nil }

  /// True if what cannot be looked into must not pass: something would have been done about what is found.
  var actsOnAnswers: Bool {
    policy.stripsHTML || policy.flagInstructions != nil && policy.flagInstructions != .log
  }
}

package struct ContentPlans: Sendable {
  private let plans: [ContentPlan]

  /// Throws what is wrong with a file of patterns.
  package init(_ policy: Policy) throws(PatternProblems) {
    var plans: [ContentPlan] = []
    for content in policy.contentPolicies where !plans.contains(where: { $0.policy == content }) {
      var patterns = PatternSet.shipped
      if let file = content.patterns { patterns = try patterns.extended(by: file.bytes, name: file.path) }
      let unknown = content.muted.filter { !patterns.has($0) }.sorted()
      guard unknown.isEmpty else {
        throw PatternProblems(
          lines: unknown.map {
            "`muted` names a pattern that there is not: \($0); the log's `what` and `sluice review` have their names"
          })
      }
      plans.append(ContentPlan(content, patterns))
    }
    self.plans = plans
  }

  package var isEmpty: Bool { plans.isEmpty }
  package var checksSecrets: Bool { plans.contains { $0.policy.secrets != nil } }

  /// Few policies differ, and arrays that share their bytes are compared by address.
  package func plan(for policy: ContentPolicy) -> ContentPlan? {
    policy.checksNothing ? nil : plans.first { $0.policy == policy }
  }
}
