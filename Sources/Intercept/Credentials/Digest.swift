// SHA-256 of bytes that are there whole.
// It relies on OpenSSL.
import COpenSSL

package enum Digest {
  package static func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    // SAFETY: SHA-256 has 32 bytes; the arrays live through the call.
    _ = unsafe SHA256(bytes, bytes.count, &digest)
    return digest
  }
}
