// Approved rules in addition to the file's: they join their client's rules, and are judged and logged like them.
// It relies on a policy being immutable: a new or ended approval makes another policy, which shares all else.
package import Wire

extension AllowRule {
  /// The approval that allows a request which the rule refuses, with the path to forward. For a request allowed
  /// before (`isPaid`), the number of remaining uses does not matter.
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
  /// The approval that allows this request. Nil if the rule itself allows it, or if none does.
  package func approval(_ method: String, _ path: String, of target: Target, nowUnix: Int64) -> SourceLine? {
    if refusal(method: method, path: path) == nil { return nil }
    let (method, path) = (Array(method.utf8), Array(path.utf8))
    return approval(
      method: method.span, target: path.span, overrides: MethodOverrides(), of: target, nowUnix: nowUnix, isPaid: true
    )?.request.line
  }
}

extension NetworkSpec {
  /// Approved rules come after the file's: for the same hosts and ports, the file's rule wins.
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
  /// The same policy with approved rules per client name. Usage under `old` is kept.
  package func approving(_ rules: [String: [ApprovedRule]], inheriting old: Policy? = nil) -> Policy {
    let old = old ?? self
    func client(_ client: Client) -> Client {
      let approved = rules[client.name] ?? []
      if approved.isEmpty && client.approved.isEmpty { return client }
      return Client(client.spec, approved: approved, inheriting: old.client(named: client.name), sharing: leaseBell)
    }
    return Policy(self, fallback: client(fallback), clients: clients.map(client))
  }

  /// Nil if the policy has no such client.
  package func client(named name: String) -> Client? {
    name == Self.fallbackName ? fallback : clients.first { $0.name == name }
  }
}
