// What a rule says of the requests to its target: methods, paths, a credential, checks of content, the upstream's TLS.
// It relies on Wire for paths in their one spelling; a rule that has one of these is inspected.
package import Wire

package struct Inspection: Sendable {
  /// Empty: any. Compared with case, as RFC 9110 section 9.1 has it.
  package var methods: [[UInt8]] = []
  /// Empty: any.
  package var paths: [PathPattern] = []
  package var credential: Credential?
  package var content = ContentPolicy()
  package var tls = UpstreamTLS()

  package init() {}

  package enum Verdict: Sendable {
    /// With the path that is sent on in place of the client's spelling; nil: the client's own, as no path was judged.
    case allow(RequestPath?)
    case refuse(Reason, PathProblem?)
  }

  /// `target` is the path and query of the request (origin form).
  package func judge(method: Span<UInt8>, target: Span<UInt8>) -> Verdict {
    if !methods.isEmpty, !methods.contains(where: { Self.same($0.span, method) }) {
      return .refuse(.methodRefused, nil)
    }
    if paths.isEmpty { return .allow(nil) }
    do throws(PathProblem) {
      let path = try RequestPath(target: target)
      return paths.contains { $0.matches(path) } ? .allow(path) : .refuse(.pathRefused, nil)
    } catch {
      return .refuse(.pathRefused, error)
    }
  }

  private static func same(_ one: Span<UInt8>, _ other: Span<UInt8>) -> Bool {
    guard one.count == other.count else { return false }
    for index in 0..<one.count where one[index] != other[index] { return false }
    return true
  }
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

/// What is looked for in requests and answers of inspected targets; nil or false: not looked for.
package struct ContentPolicy: Hashable, Sendable {
  package enum OnTooLarge: String, CaseIterable, Sendable { case cut, truncate }
  package enum OnInstructions: String, CaseIterable, Sendable { case log, annotate, block }
  package enum OnSecrets: String, CaseIterable, Sendable { case log, block }

  package var maxResponseBytes: Int?
  package var onTooLarge = OnTooLarge.cut
  package var stripsHTML = false
  package var flagInstructions: OnInstructions?
  /// Beside the patterns that come with the gate.
  package var patterns: UpstreamTLS.PEM?
  package var secrets: OnSecrets?

  package init() {}

  package var checksNothing: Bool {
    maxResponseBytes == nil && !stripsHTML && flagInstructions == nil && secrets == nil
  }
}
