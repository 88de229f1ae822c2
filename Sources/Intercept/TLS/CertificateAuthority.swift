// The gate's own CA: made once, kept in a folder, and the issuer of the certificates that inspected targets show.
// It relies on Certificate for the objects; a leaf is good for one name and one week.
import COpenSSL
package import Wire

package final class CertificateAuthority: Sendable {
  /// A sandbox that runs for years is made anew before its CA ends.
  private static let days = 3650
  private static let leafDays = 7
  /// Clocks inside may be behind.
  private static let earlySeconds = 3600

  let certificate: Certificate
  private let key: PrivateKey

  /// A new one. With `permitted` names it can vouch for these and the names below them alone (RFC 5280 section
  /// 4.2.1.10): who steals its key can pretend to be nobody else.
  package init(label: String, permitted: [HostName] = []) throws(TLSProblem) {
    key = try PrivateKey()
    var extensions: [(Int32, String)] = [
      (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"), (NID_key_usage, "critical,keyCertSign,cRLSign"),
      (NID_subject_key_identifier, "hash"),
    ]
    if !permitted.isEmpty {
      // Kinds of names that are not mentioned are not constrained. Addresses: none. For e-mail there is no form of
      // "all" that every library reads alike, so what is permitted is a domain that cannot exist (RFC 6761 section
      // 6.4).
      let others =
        "permitted;email:nobody.invalid,excluded;IP:0.0.0.0/0.0.0.0,excluded;IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0"
      let names = permitted.map { "permitted;DNS:\($0)" }.joined(separator: ",")
      extensions.append((NID_name_constraints, "critical,\(names),\(others)"))
    }
    let form = CertificateForm(
      commonName: label, organization: "Sluice egress gate", fromSeconds: -Self.earlySeconds,
      toSeconds: Self.days * 86_400, extensions: extensions)
    certificate = try form.sign(key: key, issuer: nil, with: key)
  }

  /// Out of the two in PEM form.
  package init(pem: [UInt8]) throws(TLSProblem) {
    key = try PrivateKey(pem: pem)
    certificate = try Certificate(pem: pem)
    guard certificate.isFor(key) else { throw TLSProblem("the certificate is not that of the key beside it") }
  }

  /// What clients are told to trust.
  package var certificatePEM: [UInt8] { certificate.pem }
  package var certificateText: String { certificate.text }
  package var fingerprint: String { certificate.fingerprint }
  /// All of it: for the file that nobody else may read.
  package var pem: [UInt8] { key.pem + certificate.pem }

  /// A certificate for the one host, of the key that all leaves share.
  func issue(_ host: Host, key leafKey: PrivateKey) throws(TLSProblem) -> Certificate {
    let alternative =
      switch host {
      case .name(let name): "DNS:\(name)"
      case .address(let address): "IP:\(address)"
      }
    let name = "\(host)"
    // A common name is at most 64 characters (RFC 5280 appendix A.1); what counts is the alternative name.
    let form = CertificateForm(
      commonName: name.utf8.count <= 64 ? name : "sluice", organization: nil, fromSeconds: -Self.earlySeconds,
      toSeconds: Self.leafDays * 86_400,
      extensions: [
        (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
        (NID_ext_key_usage, "serverAuth"), (NID_subject_alt_name, alternative),
        (NID_authority_key_identifier, "keyid"),
      ])
    return try form.sign(key: leafKey, issuer: certificate, with: key)
  }
}

/// A certificate before it is signed.
private struct CertificateForm {
  let commonName: String
  let organization: String?
  let fromSeconds: Int
  let toSeconds: Int
  let extensions: [(Int32, String)]

  /// Without an issuer it signs itself.
  func sign(key: PrivateKey, issuer: Certificate?, with issuerKey: PrivateKey) throws(TLSProblem) -> Certificate {
    guard let raw = unsafe X509_new() else { throw TLSProblem("no memory for a certificate") }
    let certificate = unsafe Certificate(owning: raw)
    guard fill(certificate, key, issuer), unsafe X509_sign(raw, issuerKey.raw, EVP_sha256()) > 0 else {
      throw TLSProblem("cannot make a certificate", openSSL: OpenSSL.takeError())
    }
    return certificate
  }

  private func fill(_ certificate: Certificate, _ key: PrivateKey, _ issuer: Certificate?) -> Bool {
    // SAFETY: all objects live through the calls; the names are inner pointers of theirs.
    let raw = unsafe certificate.raw
    guard unsafe X509_set_version(raw, 2) == 1, unsafe copenssl_random_serial(raw) == 1,
      unsafe X509_gmtime_adj(X509_getm_notBefore(raw), fromSeconds) != nil,
      unsafe X509_gmtime_adj(X509_getm_notAfter(raw), toSeconds) != nil,
      unsafe X509_set_pubkey(raw, key.raw) == 1, let subject = unsafe X509_get_subject_name(raw),
      unsafe add(commonName, "CN", to: subject),
      unsafe organization == nil || add(organization ?? "", "O", to: subject)
    else { return false }
    let issuerRaw = unsafe issuer?.raw ?? raw
    guard unsafe X509_set_issuer_name(raw, X509_get_subject_name(issuerRaw)) == 1 else { return false }
    return extensions.allSatisfy { kind, value in unsafe copenssl_add_extension(raw, issuerRaw, kind, value) == 1 }
  }

  private func add(_ text: String, _ field: String, to name: OpaquePointer) -> Bool {
    let bytes = Array(text.utf8)
    return unsafe copenssl_add_name(name, field, bytes, Int32(clamping: bytes.count)) == 1
  }
}
