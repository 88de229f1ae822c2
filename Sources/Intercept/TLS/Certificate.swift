// Keys and certificates of the gate's own making, as OpenSSL has them.
// It relies on each object being owned by one class that frees it, and on nobody changing it once it is made.
import COpenSSL

/// SAFETY of `@unchecked Sendable`: the object is never changed behind `init`, and OpenSSL counts its references
/// atomically.
@safe final class PrivateKey: @unchecked Sendable {
  let raw: OpaquePointer

  /// ECDSA over P-256: a signature costs 20 us, where one of RSA costs a millisecond.
  init() throws(TLSProblem) {
    guard OpenSSL.isReady, let key = unsafe copenssl_new_key() else {
      throw TLSProblem("cannot make a key", openSSL: OpenSSL.takeError())
    }
    unsafe raw = key
  }

  init(pem: [UInt8]) throws(TLSProblem) {
    let key = OpenSSL.isReady ? unsafe PEM.read(pem, { unsafe PEM_read_bio_PrivateKey($0, nil, nil, nil) }) : nil
    guard let key = unsafe key else {
      throw TLSProblem("no private key without a passphrase in PEM form", openSSL: OpenSSL.takeError())
    }
    unsafe raw = key
  }

  deinit { unsafe EVP_PKEY_free(raw) }

  var pem: [UInt8] { unsafe PEM.write { unsafe PEM_write_bio_PrivateKey($0, raw, nil, nil, 0, nil, nil) } }
}

/// SAFETY of `@unchecked Sendable`: as above.
@safe final class Certificate: @unchecked Sendable {
  let raw: OpaquePointer

  init(owning raw: OpaquePointer) { unsafe self.raw = unsafe raw }

  /// The first one of the text.
  init(pem: [UInt8]) throws(TLSProblem) {
    let read = OpenSSL.isReady ? unsafe PEM.read(pem, { unsafe PEM_read_bio_X509($0, nil, nil, nil) }) : nil
    guard let certificate = unsafe read else {
      throw TLSProblem("no certificate in PEM form", openSSL: OpenSSL.takeError())
    }
    unsafe raw = certificate
  }

  deinit { unsafe X509_free(raw) }

  var pem: [UInt8] { unsafe PEM.write { unsafe PEM_write_bio_X509($0, raw) } }

  /// What `openssl x509 -text` prints.
  package var text: String {
    let bytes = unsafe PEM.write { unsafe X509_print($0, raw) }
    return String(decoding: bytes, as: UTF8.self)
  }

  func isFor(_ key: PrivateKey) -> Bool { unsafe X509_check_private_key(raw, key.raw) == 1 }

  /// SHA-256 of its DER form, in hexadecimal.
  var fingerprint: String {
    var digest = [UInt8](repeating: 0, count: 32)
    var count: UInt32 = 0
    // SAFETY: SHA-256 has 32 bytes.
    guard unsafe X509_digest(raw, EVP_sha256(), &digest, &count) == 1 else { return "" }
    return digest.map { byte in
      let digits = String(byte, radix: 16, uppercase: true)
      return digits.count == 1 ? "0\(digits)" : digits
    }.joined(separator: ":")
  }
}

enum PEM {
  /// SAFETY: the memory BIO reads the array in place, within the closure that lends it.
  static func read(_ text: [UInt8], _ parse: (OpaquePointer) -> OpaquePointer?) -> OpaquePointer? {
    let read = unsafe withMemory(text, parse)
    return unsafe read ?? nil
  }

  /// nil without memory for it.
  static func withMemory<Result>(_ text: [UInt8], _ parse: (OpaquePointer) -> Result) -> Result? {
    unsafe text.withUnsafeBytes { bytes in
      guard let memory = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(clamping: bytes.count)) else { return nil }
      defer { unsafe BIO_free(memory) }
      return unsafe parse(memory)
    }
  }

  static func write(_ print: (OpaquePointer) -> Int32) -> [UInt8] {
    guard let memory = unsafe BIO_new(BIO_s_mem()) else { return [] }
    defer { unsafe BIO_free(memory) }
    guard unsafe print(memory) == 1 else { return [] }
    var start: UnsafeMutablePointer<CChar>?
    let count = unsafe copenssl_memory_bytes(memory, &start)
    // SAFETY: what a memory BIO holds lives until the BIO is freed, and is copied before.
    guard let start = unsafe start, count > 0 else { return [] }
    return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
  }
}
