// Approved rules beside those of the file: they join their client's rules, and are judged and logged like them.
// It relies on a policy being immutable: an approval that comes or goes makes another policy, which shares all else.
package import Wire

extension AllowRule {
  /// The approval that lets out a request which the rule itself refuses, and the path that then goes out. A request
  /// that was let out before (`isPaid`) is not held to how many are left.
  package func approval(
    method: Span<UInt8>, target path: Span<UInt8>, overrides: MethodOverrides, of target: Target, nowUnix: Int64,
    isPaid: Bool
  ) -> (request: ApprovedRequest, path: RequestPath?)? {
    guard let inspection else { return nil }
    for request in approvedRequests where request.target == target {
      if let expiresAt = request.expiresAt, nowUnix >= expiresAt { continue }
      if !isPaid, request.approval.uses?.isSpent == true { continue }
      var wider = inspection
      wider.requests = inspection.patterns + [request.pattern]
      if case .allow(let path) = wider.judge(method: method, target: path, overrides: overrides) {
        return (request, path)
      }
    }
    return nil
  }
}

extension AllowRule {
  /// The place of the approval that lets out this request; nil where the rule itself does, or none.
  package func approval(_ method: String, _ path: String, of target: Target, nowUnix: Int64) -> SourceLine? {
    if refusal(method: method, path: path) == nil { return nil }
    let (method, path) = (Array(method.utf8), Array(path.utf8))
    return approval(
      method: method.span, target: path.span, overrides: MethodOverrides(), of: target, nowUnix: nowUnix, isPaid: true
    )?.request.line
  }
}

extension NetworkSpec {
  /// Approved rules stand behind those of the file: of two for the same hosts and ports the file's counts.
  func joined(by approved: [ApprovedRule]) -> NetworkSpec {
    if approved.isEmpty { return self }
    var joined = self
    for rule in approved {
      let approval = Approval(id: rule.id, uses: rule.uses)
      switch rule.scope {
      case .rule(var spec):
        spec.line = rule.line
        spec.approval = approval
        spec.expiresAt = rule.expiresAt
        joined.allow.append(spec)
      case .request(let target, let pattern):
        let request = ApprovedRequest(
          line: rule.line, target: target, pattern: pattern, expiresAt: rule.expiresAt, approval: approval)
        for index in joined.allow.indices
        where joined.allow[index].inspection != nil && joined.allow[index].matches(target) {
          joined.allow[index].approvedRequests.append(request)
        }
      }
    }
    return joined
  }
}

extension AllowSpec {
  package func matches(_ target: Target) -> Bool { ports.contains(target.port) && pattern.matches(target.host) }
}

extension Policy {
  /// The same policy with these rules, by the client's name, beside its own. What was used up under `old` counts on.
  package func approving(_ rules: [String: [ApprovedRule]], inheriting old: Policy? = nil) -> Policy {
    let old = old ?? self
    func client(_ client: Client) -> Client {
      let approved = rules[client.name] ?? []
      if approved.isEmpty && client.approved.isEmpty { return client }
      return Client(client.spec, approved: approved, inheriting: old.client(named: client.name), sharing: leaseBell)
    }
    return Policy(self, fallback: client(fallback), clients: clients.map(client))
  }

  /// Nil where the policy has no such client.
  package func client(named name: String) -> Client? {
    name == Self.fallbackName ? fallback : clients.first { $0.name == name }
  }
}
