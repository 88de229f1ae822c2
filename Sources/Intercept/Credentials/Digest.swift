// SHA-256 of bytes that are there whole, the HMAC made of it (RFC 2104), and SHA-1 where a protocol wants that.
// It relies on OpenSSL.
import COpenSSL
import Wire

package enum Digest {
  package static func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    // SAFETY: SHA-256 has 32 bytes; the arrays live through the call.
    _ = unsafe SHA256(bytes, bytes.count, &digest)
    return digest
  }

  package static func hmac(_ key: [UInt8], _ text: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    var count: UInt32 = 0
    // SAFETY: HMAC-SHA-256 has 32 bytes; the arrays live through the call.
    _ = unsafe HMAC(EVP_sha256(), key, CInt(clamping: key.count), text, text.count, &digest, &count)
    return digest
  }

  package static func hexadecimal(_ bytes: [UInt8]) -> [UInt8] {
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count * 2)
    for byte in bytes {
      text.append(Percent.digit(byte >> 4) | 0x20)
      text.append(Percent.digit(byte & 0xf) | 0x20)
    }
    return text
  }

  /// As Redis names scripts: it protects nothing.
  package static func sha1(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 20)
    // SAFETY: SHA-1 has 20 bytes; the arrays live through the call.
    _ = unsafe SHA1(bytes, bytes.count, &digest)
    return digest
  }
}
