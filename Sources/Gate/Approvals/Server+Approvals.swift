// Approvals as the main thread sees them: what a person decides, the rules that come of it, and a line for each event.
// It relies on Approvals for the registry; rules are put in force as a reload puts a policy in force.
import Flow
import Kernel
import Policy
import Wire

extension Server {
  /// The policy's settings, for a gate that somebody can answer.
  static func registrySettings(_ settings: Settings, adminPath: String?) -> ApprovalRegistry.Settings {
    let approvals = settings.approvals ?? Settings.Approvals()
    let isAnswerable = adminPath != nil || !approvals.notify.isEmpty
    return ApprovalRegistry.Settings(waitMs: isAnswerable ? approvals.waitMs : 0, perClient: approvals.perClient)
  }

  /// An unattended run never hangs.
  func sayOfApprovals() {
    guard let approvals = policy.settings.approvals, approvals.waitMs > 0, adminPath == nil, approvals.notify.isEmpty
    else { return }
    let review = policy.contentPolicies.contains(where: \.asksPeople) ? ", and `review` refuses like `block`" : ""
    Messages.warn(
      "approvals: nobody can decide, so no request waits (as with `wait_seconds: 0`)\(review); give "
        + "`listen: {admin: …}` or `approvals: {notify: …}`")
  }

  /// A loop, or a decision, has moved an entry.
  func noteApproval(_ event: ApprovalEvent) {
    record { log, policy in log.record(event, policy: policy, wallMs: Clock.wallMs()) }
    notifiers.tell(event)
    onApproval?(event)
  }

  // MARK: - Decisions

  func approve(
    _ id: String, _ grant: ApprovalGrant, rule text: String?, by: String, _ finish: @escaping (JSONValue) -> Void
  ) {
    var rule: AllowSpec?
    if let text {
      switch source.rule(text) {
      case .success(let spec): rule = spec
      case .failure(let problem): return finish(.failure("--rule \(problem.text)"))
      }
    }
    let entry: ApprovalEntry
    do throws(ApprovalRegistry.Problem) {
      entry = try shared.approvals.change { registry throws(ApprovalRegistry.Problem) in
        try registry.approve(id, grant, rule: rule, text: text, by: by, .now)
      }
    } catch {
      return finish(error.json)
    }
    if grant == .forever { return reloadFor(id, entry, by: by, finish) }
    applyApprovals { [self] problem in
      if let problem {
        // Nothing of it is in force: the request goes on as if nobody had answered.
        takeBack(id, by: by)
        return finish(.failure(problem))
      }
      finish(.success([JSONMember("approval", entry.json(.now))]))
    }
  }

  func refuse(_ id: String, isAlways: Bool, by: String, _ finish: @escaping (JSONValue) -> Void) {
    do throws(ApprovalRegistry.Problem) {
      let (entry, waiters) = try shared.approvals.change { registry throws(ApprovalRegistry.Problem) in
        try registry.refuse(id, isAlways: isAlways, by: by, .now)
      }
      wake(waiters)
      // The entry may have been approved before.
      applyApprovals { _ in finish(.success([JSONMember("approval", entry.json(.now))])) }
    } catch {
      finish(error.json)
    }
  }

  private func wake(_ waiters: [ApprovalWaiter]) {
    for waiter in waiters where shared.mailboxes.indices.contains(waiter.seat.worker) {
      shared.mailboxes[waiter.seat.worker].post(.answered(connection: waiter.seat.connection))
    }
  }

  // MARK: - Content

  /// The visible part of flagged content.
  func review(_ id: String) -> JSONValue {
    guard let entry = shared.approvals.change({ $0.entry(id) }), let sheet = entry.sheet else {
      return .failure(
        "no flagged content has the id \(id); `sluice approvals` lists what waits", [JSONMember("gone", .bool(true))])
    }
    return .success([
      JSONMember("approval", entry.json(.now)), JSONMember("passages", .list(sheet.passages.map(\.json))),
      JSONMember("left_out", .number(sheet.leftOut)),
      JSONMember("policy_file", policyPath.map(JSONValue.text) ?? .null),
    ])
  }

  func decide(_ id: String, _ decision: ReviewDecision, by: String) -> JSONValue {
    do throws(ApprovalRegistry.Problem) {
      let (entry, waiters) = try shared.approvals.change { registry throws(ApprovalRegistry.Problem) in
        try registry.decide(id, decision, by: by, .now)
      }
      wake(waiters)
      return .success([JSONMember("approval", entry.json(.now))])
    } catch {
      return error.json
    }
  }

  /// The rule stands in the policy file by now: whoever asks has written it there.
  private func reloadFor(
    _ id: String, _ entry: ApprovalEntry, by: String, _ finish: @escaping (JSONValue) -> Void
  ) {
    reload { [self] result in
      if result.change != nil, result.silence == nil, isAllowed(entry.key) {
        shared.approvals.change { $0.delivered(id) }
        return finish(.success([JSONMember("approval", entry.json(.now)), JSONMember("policy", .text(policy.hash))]))
      }
      takeBack(id, by: by)
      let why = "the policy file was read again and does not allow \(entry.allows) for \(entry.key.client)"
      finish(.failure(([why] + result.messages).joined(separator: "; ")))
    }
  }

  private func takeBack(_ id: String, by: String) {
    shared.approvals.change { registry in
      // An entry that is gone meanwhile has nothing to take back.
      _ = try? registry.refuse(id, isAlways: false, by: by, .now)
    }
  }

  /// By the file's own rules.
  private func isAllowed(_ key: ApprovalKey) -> Bool {
    guard let client = policy.client(named: key.client) else { return false }
    guard case .allow(let rule) = client.network.judge(key.subject.target, nowUnix: Clock.wallMs() / 1000) else {
      return false
    }
    guard let request = key.subject.request else { return true }
    return rule.refusal(method: request.method, path: request.path) == nil
  }

  /// Puts the rules that are approved now beside those of the policy. `finish` gets what went wrong.
  func applyApprovals(_ finish: @escaping (String?) -> Void) {
    let (rules, ids) = shared.approvals.change { registry in (registry.rules, registry.undelivered) }
    var problems: [String] = []
    guard
      replacePolicy(
        policy.approving(rules), say: { problems.append($0) },
        { [self] _ in
          shared.approvals.change { registry in for id in ids { registry.delivered(id) } }
          finish(nil)
        })
    else {
      return finish(problems.joined(separator: "; "))
    }
  }

  // MARK: - Ends

  /// Applies to expired rules, and to clients that have left.
  func lookAfterApprovals() {
    guard policy.settings.approvals != nil else { return }
    let (needsClients, isChanged) = shared.approvals.change { registry in
      (registry.hasRulesOfConnections, registry.endRules(.now))
    }
    if isChanged { applyApprovals { _ in } }
    guard needsClients else { return }
    survey { [self] answers in
      guard answers.isWhole else { return }
      // A sandbox's session is as long as the sandbox, whether it has a connection or not.
      var live = sandboxes
      for case .clients(let names) in answers.bodies { live.formUnion(names) }
      if shared.approvals.change({ $0.endRules(live: live, .now) }) { applyApprovals { _ in } }
    } asking: {
      .question(.clients, token: $0)
    }
  }

  /// The sandbox of this client is gone.
  func endSession(of client: String) {
    if shared.approvals.change({ $0.endSession(of: client) }) { applyApprovals { _ in } }
  }

  /// Before a new policy is in force: rules that it denies, and those of clients that it lacks, are over.
  func approvedRules(under new: Policy) -> [String: [ApprovedRule]] {
    shared.approvals.change { registry in
      registry.settings = Self.registrySettings(new.settings, adminPath: adminPath)
      if new.settings.approvals == nil { registry.keepRules { _, _ in false } }
      registry.keepRules { name, rule in
        guard let client = new.client(named: name) else { return false }
        return !rule.isDenied(by: client.network)
      }
      return registry.rules
    }
  }
}

extension ApprovalRegistry.Problem {
  fileprivate var json: JSONValue { .failure(description, isUnknown ? [JSONMember("gone", .bool(true))] : []) }
}

extension ApprovedRule {
  fileprivate func isDenied(by network: NetworkPolicy) -> Bool {
    let target: Target
    switch scope {
    case .request(let asked, _): target = asked
    case .rule(let spec):
      // Of a rule for many hosts no single deny rule says all: deny wins for each host as it is asked for.
      guard case .exact(let host) = spec.pattern, let port = spec.ports.ranges.first?.lowerBound else { return false }
      target = Target(host: host, port: port)
    }
    guard case .refuse(.deniedByRule, _) = network.judge(target, nowUnix: Clock.wallMs() / 1000) else { return false }
    return true
  }
}
