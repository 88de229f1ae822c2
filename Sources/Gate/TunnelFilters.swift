// The filters of one tunnel's requests: credentials and content checks, with their reports for the log.
// It relies on Intercept for the filters; a rule without credentials and content checks has none, and costs nothing.
import Intercept
import Policy
import Wire

final class TunnelFilters: FilterSource {
  private let policy: Policy
  private let plans: ContentPlans
  private let store: CredentialStore
  private let wake: @Sendable () -> Void
  private let told: ReportedFindings
  private let held: HeldBytes
  private let reviews: ConnectionReviews?

  /// Nil if the policy has no credentials and checks no content.
  /// Reports of `old`'s filters that still run are kept.
  init?(
    _ policy: Policy, _ plans: ContentPlans, _ store: CredentialStore, _ pages: PagePool, for owner: ShareOwner,
    _ reviews: ConnectionReviews?, keeping old: TunnelFilters?, wake: @escaping @Sendable () -> Void
  ) {
    if policy.credentials.isEmpty && plans.isEmpty { return nil }
    (self.policy, self.plans, self.store, self.wake) = (policy, plans, store, wake)
    told = old?.told ?? ReportedFindings()
    held = old?.held ?? HeldBytes(pages, for: owner, policy.sharing)
    self.reviews = reviews
  }

  func isOf(_ policy: Policy, _ reviews: ConnectionReviews?) -> Bool {
    self.policy === policy && self.reviews == reviews
  }

  func filter(for rule: AllowRule, _ request: FilteredRequest) -> (any RequestFilter)? {
    switch (contentFilter(rule, request), credentialFilter(rule, request)) {
    case (let content?, let credential?): FilterChain(content: content, credential: credential)
    case (let content, let credential): content ?? credential
    }
  }

  private func credentialFilter(_ rule: AllowRule, _ request: FilteredRequest) -> CredentialFilter? {
    let credential = request.wouldRefuse ? nil : rule.inspection?.credential
    if credential == nil && policy.placeholders.isEmpty { return nil }
    let told = told
    return CredentialFilter(
      credential, placeholders: policy.placeholders, store: store, target: request.target,
      allowsKeyIssuing: rule.inspection?.allowsKeyIssuing ?? false, wake: wake
    ) { told.uses.append($0) }
  }

  private func contentFilter(_ rule: AllowRule, _ request: FilteredRequest) -> (any RequestFilter)? {
    guard let inspection = rule.inspection, !inspection.content.checksNothing else { return nil }
    guard let plan = plans.plan(for: inspection.content) else {
      preconditionFailure("a policy comes with the plans of all its rules")
    }
    let told = told
    return ContentFilter(
      plan, request,
      ContentSurroundings(
        held: held, placeholders: policy.placeholders,
        own: inspection.content.secrets == nil ? [] : store.ownSecrets,
        fieldsOfTheGate: inspection.credential?.placement.fields ?? [],
        hasCredential: inspection.credential != nil, review: reviews, wake: wake
      ) { told.reports.append($0) })
  }

  func takeUses() -> [CredentialUse] {
    defer { told.uses = [] }
    return told.uses
  }

  func takeReports() -> [ContentReport] {
    defer { told.reports = [] }
    return told.reports
  }

  /// Collected reports. All filters of a tunnel end with it and run on one loop, so no lock is needed.
  private final class ReportedFindings {
    var uses: [CredentialUse] = []
    var reports: [ContentReport] = []
  }
}
