// The certificates that the system trusts, as one file.
// It relies on the places where distributions keep them.
import Kernel

package enum SystemRoots {
  private static let bytesMax = 8 << 20
  /// Debian and Alpine, Fedora and RHEL, openSUSE, the BSDs.
  package static let places = [
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
  ]

  /// SSL_CERT_FILE names another file, as it does for other programs.
  private static var candidates: [String] { (Environment.value("SSL_CERT_FILE").map { [$0] } ?? []) + places }

  /// Where they are.
  package static var path: String? { candidates.first { FileStamp(path: $0) != nil } }

  package static func read() -> (path: String, pem: [UInt8])? { first(of: candidates) }

  /// Without what a variable names.
  package static func readSystem() -> (path: String, pem: [UInt8])? { first(of: places) }

  private static func first(of candidates: [String]) -> (path: String, pem: [UInt8])? {
    for path in candidates {
      if let pem = FileBytes.read(path, bytesMax: bytesMax), !pem.isEmpty { return (path, pem) }
    }
    return nil
  }
}
