// Authorities that programs in a sandbox are to trust: the system's, the caller's, the gate's where it speaks TLS.
// Relies on Intercept for the forms in which programs read them; of the caller's files certificates alone are taken.
import Gate
import Intercept
import Kernel
import Policy

struct GateTrust {
  /// nil where the system's own are all there is to trust.
  let bundle: TrustBundle?
  /// True if the gate itself answers in TLS.
  let explainsDenials: Bool

  /// The CA of a gate that runs already is its own, and not known here.
  init(_ policy: Policy, isOwn: Bool) throws(ServerError) {
    let own = try CallersAuthorities(policy.settings.trustedFiles).pem
    let authority = isOwn ? try Self.authority(policy) : nil
    explainsDenials = authority != nil
    bundle = authority == nil && own.isEmpty ? nil : TrustBundle(authority, own: own)
  }

  /// Where a rule is inspected, and by default for the refusals of all others.
  private static func authority(_ policy: Policy) throws(ServerError) -> CertificateAuthority? {
    let isNeeded = !policy.inspectedTLS.isEmpty || policy.settings.explainsDenials == true
    guard isNeeded || InspectionSetup.explainsDenials(policy, byDefault: true) else { return nil }
    do throws(TLSProblem) { return try InspectionSetup.folder(policy).loadOrMake() } catch {
      guard !isNeeded else { throw .cannotInspect("\(error)") }
      Messages.warn("clients of refused TLS targets do not see the reason: \(error)")
      return nil
    }
  }
}

/// Certificates that the caller's own programs trust beside the system's: the variables that name them are the gate's
/// inside.
private struct CallersAuthorities {
  private static let bytesMax = 4 << 20
  private static let variables = [
    "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "DENO_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
    "PIP_CERT", "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO", "NIX_SSL_CERT_FILE",
  ]

  let pem: [UInt8]

  /// `files` are those of the policy, which must be there.
  init(_ files: [String]) throws(ServerError) {
    var known: Set<[UInt8]> = []
    var blocks: [[UInt8]] = []
    let named = Set(Self.variables.compactMap { Environment.value($0) }).subtracting(SystemRoots.places)
    var texts: [[UInt8]] = []
    for file in files {
      guard let bytes = FileBytes.read(file, bytesMax: Self.bytesMax), !CertificateBlocks.of(bytes).isEmpty else {
        throw .cannotInspect("tls.trust: \(file) cannot be read, or holds no certificate in PEM form")
      }
      texts.append(bytes)
    }
    for path in named.sorted() {
      // The variable of a program that is not started here may name nothing.
      if let bytes = FileBytes.read(path, bytesMax: Self.bytesMax) { texts.append(bytes) }
    }
    if !texts.isEmpty { known = Set(CertificateBlocks.of(SystemRoots.readSystem()?.pem ?? [])) }
    for block in texts.flatMap(CertificateBlocks.of) where known.insert(block).inserted { blocks.append(block) }
    pem = Array(blocks.joined())
  }
}
