// A rule's keys for the requests to its target: methods, paths, a credential, content checks, the upstream's TLS.
// It relies on PathPattern for paths and on MethodOverrides for methods; a rule with one of these keys is inspected.
package import Wire

package struct Inspection: Sendable {
  /// Empty: any. Case-sensitive (RFC 9110 section 9.1).
  package var methods: [[UInt8]] = []
  /// Empty: any.
  package var paths: [PathPattern] = []
  /// Methods and paths as pairs, in place of `methods` and `paths`.
  package var requests: [RequestPattern] = []
  package var credential: Credential?
  /// True allows AWS calls that answer with new keys, for a rule with an AWS credential.
  package var allowsKeyIssuing = false
  package var content = ContentPolicy()
  package var tls = UpstreamTLS()

  package init() {}

  package enum Verdict: Sendable {
    /// Carries the path to forward in place of the client's spelling. Nil: the client's own, as no path was judged.
    case allow(RequestPath?)
    /// Carries a detail for the client and the log, if the reason alone does not explain.
    case refuse(Reason, String?)
  }

  /// One entry of `requests`. An empty list means any.
  package struct RequestPattern: Hashable, Sendable {
    package var methods: [[UInt8]]
    package var paths: [PathPattern]

    package init(methods: [[UInt8]], paths: [PathPattern]) { (self.methods, self.paths) = (methods, paths) }

    fileprivate func allows(_ method: [UInt8]) -> Bool { methods.isEmpty || methods.contains(method) }
  }

  /// All allowed combinations: a request must match one of them.
  package var patterns: [RequestPattern] {
    requests.isEmpty ? [RequestPattern(methods: methods, paths: paths)] : requests
  }

  /// `target` is the path and query of the request (origin form). `overrides` come from fields; those of the query
  /// are found here. Every method that a server may execute must be allowed.
  package func judge(
    method: Span<UInt8>, target: Span<UInt8>, overrides: MethodOverrides = MethodOverrides()
  ) -> Verdict {
    let patterns = patterns
    // A rule without methods and paths compares nothing.
    if patterns.allSatisfy({ $0.methods.isEmpty && $0.paths.isEmpty }) { return .allow(nil) }
    var own: [UInt8] = []
    own.append(method)
    let asked = overrides.methods + MethodOverrides(query: target).methods
    let byMethod = ([own] + asked).map { method in patterns.filter { $0.allows(method) } }
    if let index = byMethod.firstIndex(where: \.isEmpty) {
      return .refuse(.methodRefused, index == 0 ? nil : MethodOverrides.detail(asked[index - 1]))
    }
    if byMethod.allSatisfy({ $0.contains { $0.paths.isEmpty } }) { return .allow(nil) }
    do throws(PathProblem) {
      let path = try RequestPath(target: target)
      for (index, patterns) in byMethod.enumerated() where !patterns.contains(where: \.paths.isEmpty) {
        guard PathPattern.allow(path, patterns.flatMap(\.paths)) else {
          let isAmbiguous = path.readings.count > 1
          let detail = isAmbiguous ? Self.ambiguous : index == 0 ? nil : MethodOverrides.detail(asked[index - 1])
          return .refuse(.pathRefused, detail)
        }
      }
      return .allow(path)
    } catch {
      return .refuse(.pathRefused, "\(error)")
    }
  }

  private static let ambiguous =
    "servers read this path in more than one way (%2F, //, \\, ;), and the rule does not allow every one of them"
}

/// A request that a person approved in addition to those of the rule.
package struct ApprovedRequest: Sendable {
  package let line: SourceLine
  package let target: Target
  package let pattern: Inspection.RequestPattern
  /// Unix seconds.
  package let expiresAt: Int64?
  package let approval: Approval
}

/// TLS settings for the upstream of an inspected rule.
package struct UpstreamTLS: Hashable, Sendable {
  /// A file that the policy names, with its content when the policy was read.
  package struct PEM: Hashable, Sendable {
    package let path: String
    package let bytes: [UInt8]

    package init(path: String, bytes: [UInt8]) { (self.path, self.bytes) = (path, bytes) }
  }

  /// A certificate and its key, which one side of a connection presents.
  package struct Identity: Hashable, Sendable {
    package let certificate: PEM
    package let key: PEM

    package init(certificate: PEM, key: PEM) { (self.certificate, self.key) = (certificate, key) }
  }

  /// Replaces the system's roots.
  package var roots: PEM?
  package var clientCertificate: Identity?

  package init() {}
}

/// Checks of requests and answers of inspected targets. Nil or false means no such check.
package struct ContentPolicy: Hashable, Sendable {
  package enum OnTooLarge: String, CaseIterable, Sendable { case cut, truncate }
  package enum OnInstructions: String, CaseIterable, Sendable { case log, annotate, block, review }
  package enum OnSecrets: String, CaseIterable, Sendable { case log, block, review }
  package enum OnUnchecked: String, CaseIterable, Sendable { case pass, refuse }

  package var maxResponseBytes: Int?
  package var onTooLarge = OnTooLarge.cut
  package var stripsHTML = false
  package var flagInstructions: OnInstructions?
  /// Patterns in addition to the built-in ones.
  package var patterns: UpstreamTLS.PEM?
  /// Disabled patterns.
  package var muted: Set<String> = []
  package var secrets: OnSecrets?
  /// A text is flagged if the sum of its weights reaches this value.
  package var threshold = 8
  /// The action for bodies that a check cannot read.
  package var onUnchecked = OnUnchecked.pass

  package init() {}

  /// True if a person decides about findings.
  package var asksPeople: Bool { flagInstructions == .review || secrets == .review }
  /// True if requests with secrets are blocked, or wait for a review.
  package var stopsSecrets: Bool { secrets == .block || secrets == .review }

  package var checksNothing: Bool {
    maxResponseBytes == nil && !stripsHTML && flagInstructions == nil && secrets == nil
  }
}

extension AllowRule {
  /// The reason to refuse a request inside an allowed target. Nil if the request is allowed, or if the rule does not
  /// inspect.
  package func refusal(method: String, path: String) -> (reason: Reason, detail: String?)? {
    guard let inspection else { return nil }
    let (method, path) = (Array(method.utf8), Array(path.utf8))
    switch inspection.judge(method: method.span, target: path.span) {
    case .allow: return nil
    case .refuse(let reason, let detail): return (reason, detail)
    }
  }
}
