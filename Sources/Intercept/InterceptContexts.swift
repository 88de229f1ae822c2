// All that inspected tunnels of a process share: the CA, one key for its leaves, and the TLS settings of both sides.
// It relies on being built on the main thread, when a policy is loaded: roots are megabytes to parse.
package import Policy

package final class InterceptContexts: Sendable {
  let authority: CertificateAuthority
  private let folder: String
  let leafKey: PrivateKey
  let serveHTTP1: TLSContext
  let serveHTTP2: TLSContext
  /// For those that are only told why they are refused.
  let serveRefused: TLSContext
  private let upstreams: [UpstreamTLS: TLSContext]

  /// What `old` has is kept: tickets that clients hold, contexts of rules that have not changed.
  package init(
    _ policy: Policy, folder: AuthorityFolder, keeping old: InterceptContexts? = nil
  ) throws(TLSProblem) {
    self.folder = folder.path
    // A reload reads no CA anew: the gate may have given up the right to, and leaves that loops have stay good.
    if let old, old.folder == folder.path { authority = old.authority } else { authority = try folder.loadOrMake() }
    if let old {
      leafKey = old.leafKey
      serveHTTP1 = old.serveHTTP1
      serveHTTP2 = old.serveHTTP2
      serveRefused = old.serveRefused
    } else {
      leafKey = try PrivateKey()
      serveHTTP1 = try TLSContext.server(protocols: "\u{8}http/1.1")
      serveHTTP2 = try TLSContext.server(protocols: "\u{2}h2")
      serveRefused = try TLSContext.server(protocols: "\u{8}http/1.1\u{2}h2")
    }
    var upstreams: [UpstreamTLS: TLSContext] = [:]
    for tls in policy.inspectedTLS {
      if let kept = old?.upstreams[tls] { upstreams[tls] = kept } else { upstreams[tls] = try Self.upstream(tls) }
    }
    self.upstreams = upstreams
  }

  func upstream(_ tls: UpstreamTLS) -> TLSContext? { upstreams[tls] }

  static func upstream(_ tls: UpstreamTLS) throws(TLSProblem) -> TLSContext {
    let identity = tls.clientCertificate.map { ClientIdentity(certificate: $0.certificate.bytes, key: $0.key.bytes) }
    if let roots = tls.roots {
      return try TLSContext.upstream(roots: roots.bytes, rootsName: roots.path, identity: identity)
    }
    guard let system = SystemRoots.read() else {
      throw TLSProblem(
        "no roots to verify upstreams with: install ca-certificates, set SSL_CERT_FILE, or write tls: {roots: FILE} at the rule"
      )
    }
    return try TLSContext.upstream(roots: system.pem, rootsName: system.path, identity: identity)
  }
}
