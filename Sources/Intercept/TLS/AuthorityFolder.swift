// Where the CA lives: `ca.key` holds key and certificate and is for its owner alone; `ca.pem` is what others may read.
// It relies on Kernel.NewFile, so that two gates that start at once end up with the same CA.
import Kernel
package import Wire

package struct AuthorityFolder: Sendable {
  package let path: String
  private static let bytesMax = 64 << 10

  package init(_ path: String) { self.path = path }

  /// The folder of who runs the gate; nil where there is no home to put it in.
  package static func own() -> AuthorityFolder? {
    Environment.baseFolder("XDG_CONFIG_HOME", belowHome: ".config").map { AuthorityFolder("\($0)/sluice/ca") }
  }

  package var keyFile: String { "\(path)/ca.key" }
  package var certificateFile: String { "\(path)/ca.pem" }

  package var exists: Bool { NewFile.mode(keyFile) != nil }

  package func load() throws(TLSProblem) -> CertificateAuthority {
    guard let mode = NewFile.mode(keyFile), let bytes = FileBytes.read(keyFile, bytesMax: Self.bytesMax) else {
      throw TLSProblem("\(keyFile) cannot be read; make one with `sluice ca init`, or name its folder in tls: {ca: …}")
    }
    guard mode & 0o077 == 0 else {
      throw TLSProblem(
        "\(keyFile) can be read by others than its owner, who could pretend to be any host; chmod 600 it, or make a new CA"
      )
    }
    do throws(TLSProblem) { return try CertificateAuthority(pem: bytes) } catch {
      throw TLSProblem("\(keyFile): \(error)")
    }
  }

  /// The one that is there, or a new one.
  package func loadOrMake() throws(TLSProblem) -> CertificateAuthority {
    if !exists { _ = try make() }
    return try load()
  }

  /// False when there is one already.
  package func make(permitted: [HostName] = [], replacing: Bool = false) throws(TLSProblem) -> Bool {
    let authority = try CertificateAuthority(label: "Sluice CA \(Self.mark())", permitted: permitted)
    do throws(SystemError) {
      try NewFile.makeFolders(path)
      if replacing {
        try NewFile.replace(keyFile, authority.pem, mode: 0o600)
      } else if try !NewFile.make(keyFile, authority.pem, mode: 0o600) {
        return false
      }
      try NewFile.replace(certificateFile, authority.certificatePEM, mode: 0o644)
    } catch {
      throw TLSProblem("the CA cannot be written: \(error)")
    }
    return true
  }

  /// Tells two CAs apart in a list of them.
  private static func mark() -> String {
    String(UInt32.random(in: 0x1000_0000 ... .max), radix: 16)
  }
}
