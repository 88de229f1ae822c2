// A rule's keys for the requests to its target: methods, paths, a credential, checks of content, the upstream's TLS.
// Relies on PathPattern for paths and on MethodOverrides for methods; a rule that says one of these is inspected.
package import Wire

package struct Inspection: Sendable {
  /// Empty: any. Compared with case, as RFC 9110 section 9.1 has it.
  package var methods: [[UInt8]] = []
  /// Empty: any.
  package var paths: [PathPattern] = []
  /// Methods and paths as pairs, in place of `methods` and `paths`.
  package var requests: [RequestPattern] = []
  package var credential: Credential?
  /// With a credential of AWS: calls that answer with other keys may be made.
  package var allowsKeyIssuing = false
  package var content = ContentPolicy()
  package var tls = UpstreamTLS()

  package init() {}

  package enum Verdict: Sendable {
    /// With the path that is sent on in place of the client's spelling; nil: the client's own, as no path was judged.
    case allow(RequestPath?)
    /// With a detail for the client and the log, where there is more to say than the reason.
    case refuse(Reason, String?)
  }

  /// One entry of `requests`; empty: any.
  package struct RequestPattern: Hashable, Sendable {
    package var methods: [[UInt8]]
    package var paths: [PathPattern]

    package init(methods: [[UInt8]], paths: [PathPattern]) { (self.methods, self.paths) = (methods, paths) }

    fileprivate func allows(_ method: [UInt8]) -> Bool { methods.isEmpty || methods.contains(method) }
  }

  /// All that a request may be: one of these.
  package var patterns: [RequestPattern] {
    requests.isEmpty ? [RequestPattern(methods: methods, paths: paths)] : requests
  }

  /// `target` is the path and query of the request (origin form). `overrides` are the fields that ask for another
  /// method; those of the query are found here. A request must be allowed with each method that a server may take it
  /// for.
  package func judge(
    method: Span<UInt8>, target: Span<UInt8>, overrides: MethodOverrides = MethodOverrides()
  ) -> Verdict {
    let patterns = patterns
    // Without a word on methods and paths, nothing is compared.
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

/// A request that a person approved beside those that the rule of its target allows.
package struct ApprovedRequest: Sendable {
  package let line: SourceLine
  package let target: Target
  package let pattern: Inspection.RequestPattern
  /// Unix seconds.
  package let expiresAt: Int64?
  package let approval: Approval
}

/// How the upstream of an inspected rule is spoken to.
package struct UpstreamTLS: Hashable, Sendable {
  /// A file of the policy's with what stood in it when the policy was read.
  package struct PEM: Hashable, Sendable {
    package let path: String
    package let bytes: [UInt8]

    package init(path: String, bytes: [UInt8]) { (self.path, self.bytes) = (path, bytes) }
  }

  /// A certificate and its key, as one side of a connection shows them.
  package struct Identity: Hashable, Sendable {
    package let certificate: PEM
    package let key: PEM

    package init(certificate: PEM, key: PEM) { (self.certificate, self.key) = (certificate, key) }
  }

  /// In place of the system's roots.
  package var roots: PEM?
  package var clientCertificate: Identity?

  package init() {}
}

/// Checks of requests and answers of inspected targets; nil or false: no such check.
package struct ContentPolicy: Hashable, Sendable {
  package enum OnTooLarge: String, CaseIterable, Sendable { case cut, truncate }
  package enum OnInstructions: String, CaseIterable, Sendable { case log, annotate, block, review }
  package enum OnSecrets: String, CaseIterable, Sendable { case log, block, review }
  package enum OnUnchecked: String, CaseIterable, Sendable { case pass, refuse }

  package var maxResponseBytes: Int?
  package var onTooLarge = OnTooLarge.cut
  package var stripsHTML = false
  package var flagInstructions: OnInstructions?
  /// Beside the patterns that come with the gate.
  package var patterns: UpstreamTLS.PEM?
  /// Patterns that do not count.
  package var muted: Set<String> = []
  package var secrets: OnSecrets?
  /// From which sum of weights on a text is flagged.
  package var threshold = 8
  /// Bodies that a check cannot look into, and that no check has to refuse.
  package var onUnchecked = OnUnchecked.pass

  package init() {}

  /// A person is asked about what is found.
  package var asksPeople: Bool { flagInstructions == .review || secrets == .review }
  /// Requests with secrets do not leave, at least not unasked.
  package var stopsSecrets: Bool { secrets == .block || secrets == .review }

  package var checksNothing: Bool {
    maxResponseBytes == nil && !stripsHTML && flagInstructions == nil && secrets == nil
  }
}

extension AllowRule {
  /// Why a request is refused inside a target that the rule allows; nil: it is allowed, or the rule does not look
  /// inside.
  package func refusal(method: String, path: String) -> (reason: Reason, detail: String?)? {
    guard let inspection else { return nil }
    let (method, path) = (Array(method.utf8), Array(path.utf8))
    switch inspection.judge(method: method.span, target: path.span) {
    case .allow: return nil
    case .refuse(let reason, let detail): return (reason, detail)
    }
  }
}
