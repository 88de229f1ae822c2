// The CA that programs in the sandbox are to trust: its files, and the variables by which each tool finds them.
// It relies on the caller for the bytes; what a tool reads beside them is its own business.

package struct SandboxTrust: Equatable, Sendable {
  static let folder = "/etc/sluice"
  private static let certificatePath = "\(folder)/ca.pem"
  private static let bundlePath = "\(folder)/ca-bundle.pem"
  private static let javaPath = "\(folder)/ca.jks"
  private static let wgetPath = "\(folder)/wgetrc"
  /// Chromium and Chrome read neither the system's certificates nor a variable: an administrator's policy adds some.
  private static let browserPaths = [
    "/etc/chromium/policies/managed/sluice.json", "/etc/opt/chrome/policies/managed/sluice.json",
  ]

  /// The gate's CA alone; with the system's roots; the same for Java.
  private let certificate: [UInt8]
  private let bundle: [UInt8]
  private let javaStore: [UInt8]
  /// Each certificate that the system has not, as a folder of certificates has it.
  private let hashed: [LayerFile]

  /// `hashed`: certificates with OpenSSL's number of their subject.
  package init(
    certificate: [UInt8], bundle: [UInt8], javaStore: [UInt8], hashed: [(hash: UInt, pem: [UInt8])] = []
  ) {
    (self.certificate, self.bundle, self.javaStore) = (certificate, bundle, javaStore)
    self.hashed = hashed.map { one in
      let digits = String(one.hash & 0xffff_ffff, radix: 16)
      return LayerFile(
        String(repeating: "0", count: 8 - digits.count) + digits, String(decoding: one.pem, as: UTF8.self))
    }
  }

  /// `systemBundles` are files that exist inside, whose place the whole bundle takes: programs that know no variable
  /// read them.
  /// So do programs that look for a certificate in the system's folder, by its number.
  func steps(systemBundles: [String], folder: HostFacts.TrustFolder?) -> [Step] {
    let text = String(decoding: bundle, as: UTF8.self)
    var steps: [Step] = []
    if let folder {
      let bundles = systemBundles.filter { $0.parentFolder == folder.path }.map { LayerFile($0.lastPart, text) }
      var taken = folder.names
      var files = bundles
      for one in hashed {
        var index = 0
        while !taken.insert("\(one.name).\(index)").inserted { index += 1 }
        files.append(LayerFile("\(one.name).\(index)", one.text))
      }
      steps.append(.layer(folder.path, files))
    }
    let others = systemBundles.filter { $0.parentFolder != folder?.path }
    return steps + others.map { .cover($0, .file(text)) } + [
      .data(Self.certificatePath, certificate), .data(Self.bundlePath, bundle), .data(Self.javaPath, javaStore),
      .file(Self.wgetPath, "ca_certificate = \(Self.bundlePath)\n"),
    ] + browserFiles
  }

  private var browserFiles: [Step] {
    let policy = browserPolicy
    return Self.browserPaths.map { .file($0, policy) }
  }

  /// The policy takes certificates as the Base64 between the first and the last line of a PEM block.
  private var browserPolicy: String {
    var blocks: [String] = []
    for line in String(decoding: certificate, as: UTF8.self).split(whereSeparator: \.isNewline) {
      if line.hasPrefix("-----BEGIN") {
        blocks.append("")
      } else if !line.hasPrefix("-----"), !blocks.isEmpty {
        blocks[blocks.count - 1] += line
      }
    }
    return "{\"CACertificates\": [" + blocks.map { "\"\($0)\"" }.joined(separator: ", ") + "]}\n"
  }

  /// In place of the system's roots, but for those that only add to them.
  package static var variables: [String: String] {
    var all = ["NODE_EXTRA_CA_CERTS": certificatePath, "DENO_CERT": certificatePath, "WGETRC": wgetPath]
    for name in [
      "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT", "AWS_CA_BUNDLE",
      "CARGO_HTTP_CAINFO", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NIX_SSL_CERT_FILE", "BUNDLE_SSL_CA_CERT",
      "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    ] {
      all[name] = bundlePath
    }
    // uv has its own roots built in otherwise, and SSL_CERT_FILE is for those of the system.
    all["UV_NATIVE_TLS"] = "true"
    all["JAVA_TOOL_OPTIONS"] =
      "-Djavax.net.ssl.trustStore=\(javaPath) -Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStorePassword=changeit"
    return all
  }
}
