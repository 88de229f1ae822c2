// OpenSSL's start, and what it says of a failure.
// It relies on COpenSSL; its error queue is a thread's own, so it is read right behind the call that failed.
import CNGHTTP2
import COpenSSL

/// What could not be done with a key, a certificate or a context.
package struct TLSProblem: Error, Equatable, Sendable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }

  /// With OpenSSL's own words behind.
  init(_ what: String, openSSL: String?) {
    description = openSSL.map { "\(what): \($0)" } ?? what
  }
}

package enum OpenSSL {
  /// True if the library is there; the first use starts it, once per process.
  static let isReady = copenssl_start() == 1

  /// A process with threads calls this before it has any: then no table of OpenSSL is freed while one still runs.
  package static func keepUntilExit() { _ = copenssl_keep_until_exit() }

  /// The first thing in the error queue, which is emptied.
  static func takeError() -> String? {
    let code = ERR_get_error()
    ERR_clear_error()
    // SAFETY: a reason is a string literal of the library, or nil.
    guard code != 0, let text = unsafe ERR_reason_error_string(code) else { return nil }
    return unsafe String(cString: text)
  }

  /// For what asks for it by name, and is no secret.
  static func sha1(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 20)
    // SAFETY: SHA-1 has 20 bytes; the arrays live through the call.
    _ = unsafe SHA1(bytes, bytes.count, &digest)
    return digest
  }

  static func verifyText(_ code: Int) -> String {
    // SAFETY: as above.
    guard let text = unsafe X509_verify_cert_error_string(code) else { return "error \(code)" }
    return unsafe String(cString: text)
  }
}

/// Versions of the libraries that this module links.
package enum InterceptLibraries {
  package static var versions: [(name: String, version: String)] {
    // SAFETY: both libraries return constants of theirs.
    let openSSL = unsafe OpenSSL_version(OPENSSL_VERSION_STRING).map { unsafe String(cString: $0) } ?? ""
    let nghttp2 = unsafe nghttp2_version(0).map { unsafe String(cString: $0.pointee.version_str) } ?? ""
    return [("openssl", openSSL), ("nghttp2", nghttp2)]
  }
}
