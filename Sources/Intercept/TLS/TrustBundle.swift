// What programs in a sandbox have to trust: the system's roots and the gate's CA, in the forms that they read.
// It relies on SystemRoots; without roots of the system the gate's CA is all there is.
import COpenSSL

package struct TrustBundle: Sendable {
  /// The gate's CA and the caller's own, in PEM form.
  package let certificate: [UInt8]
  /// With the system's roots.
  package let bundle: [UInt8]
  /// The same as a Java key store (JKS), which the JDK reads without a password.
  package let javaStore: [UInt8]
  /// The certificates of `certificate` with the numbers by which OpenSSL finds each in a folder.
  package let hashed: [(hash: UInt, pem: [UInt8])]

  /// `own` are certificates that the caller trusts beside the system's, in PEM form. Without an authority they are all
  /// there is beside those.
  package init(_ authority: CertificateAuthority?, own: [UInt8] = []) {
    certificate = (authority?.certificatePEM ?? []) + own
    hashed = CertificateBlocks.of(certificate).compactMap { pem in
      guard let bytes = DER.certificates(pem: pem).first else { return nil }
      // SAFETY: the array lives through the call.
      let hash = unsafe copenssl_subject_hash(bytes, bytes.count)
      return hash == 0 ? nil : (hash, pem)
    }
    var all = (SystemRoots.readSystem() ?? SystemRoots.read())?.pem ?? []
    if let last = all.last, last != UInt8(ascii: "\n") { all.append(UInt8(ascii: "\n")) }
    all += certificate
    bundle = all
    javaStore = JavaStore.write(DER.certificates(pem: all))
  }
}

/// The certificates of a PEM text, each as it stands there.
package enum CertificateBlocks {
  private static let begin = Array("-----BEGIN CERTIFICATE-----".utf8)
  private static let end = Array("-----END CERTIFICATE-----".utf8)

  /// Each with its first and last line; keys and other text are left out.
  package static func of(_ bytes: [UInt8]) -> [[UInt8]] {
    var found: [[UInt8]] = []
    var start: Int?
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      if line.elementsEqual(begin) { start = line.startIndex }
      guard line.elementsEqual(end), let first = start else { continue }
      found.append(bytes[first..<line.endIndex].filter { $0 != UInt8(ascii: "\r") } + [UInt8(ascii: "\n")])
      start = nil
    }
    return found
  }
}

private enum DER {
  static func certificates(pem: [UInt8]) -> [[UInt8]] {
    var found: [[UInt8]] = []
    _ = unsafe PEM.read(pem) { memory in
      var count = 0
      // Not read as certificates: that takes 25 ms for a system's roots, and nothing here looks into them.
      while let bytes = unsafe copenssl_next_certificate(memory, &count) {
        // SAFETY: OpenSSL's own memory of that many bytes, copied, and then freed.
        unsafe found.append(Array(UnsafeBufferPointer(start: bytes, count: count)))
        unsafe copenssl_free(bytes)
      }
      return nil
    }
    ERR_clear_error()
    return found
  }
}

/// The format of sun.security.provider.JavaKeyStore, version 2: entries that are trusted certificates, then a SHA-1
/// over the password, a phrase and all of it.
private enum JavaStore {
  private static let password = "changeit"

  static func write(_ certificates: [[UInt8]]) -> [UInt8] {
    var out: [UInt8] = []
    append(0xfeed_feed, to: &out)
    append(2, to: &out)
    append(UInt32(certificates.count), to: &out)
    for (index, certificate) in certificates.enumerated() {
      append(2, to: &out)
      append(text: "root\(index)", to: &out)
      // Milliseconds since 1970, which nobody looks at.
      append(0, to: &out)
      append(0, to: &out)
      append(text: "X.509", to: &out)
      append(UInt32(certificate.count), to: &out)
      out += certificate
    }
    let salted = password.utf8.flatMap { [0, $0] } + Array("Mighty Aphrodite".utf8) + out
    var digest = [UInt8](repeating: 0, count: 20)
    // SAFETY: SHA-1 has 20 bytes; both arrays live through the call.
    _ = unsafe SHA1(salted, salted.count, &digest)
    return out + digest
  }

  private static func append(_ value: UInt32, to out: inout [UInt8]) {
    out += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  private static func append(text: String, to out: inout [UInt8]) {
    out += [UInt8(text.utf8.count >> 8), UInt8(text.utf8.count & 0xff)] + text.utf8
  }
}
