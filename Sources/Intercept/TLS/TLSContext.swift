// The settings of a kind of TLS connection: whom upstreams must prove to be, and how clients are served.
// It relies on OpenSSL's contexts being shared by threads once they are set up.
import COpenSSL
import Kernel
import Policy

/// SAFETY of `@unchecked Sendable`: it is set up in `init` alone; OpenSSL locks what connections change in it.
@safe final class TLSContext: @unchecked Sendable {
  let raw: OpaquePointer

  /// The protocols are in ALPN's form, `"\u{2}h2"`.
  static func server(protocols: StaticString?) throws(TLSProblem) -> TLSContext {
    let context = unsafe try TLSContext(TLS_server_method())
    unsafe copenssl_serve_sessions(context.raw)
    if let protocols {
      // SAFETY: a literal lives as long as the process, and ends with NUL.
      unsafe protocols.utf8Start.withMemoryRebound(to: CChar.self, capacity: protocols.utf8CodeUnitCount) {
        unsafe copenssl_serve_protocols(context.raw, $0)
      }
    }
    return context
  }

  /// Shows the certificate and those behind it in its text to whoever connects.
  static func listener(_ identity: UpstreamTLS.Identity) throws(TLSProblem) -> TLSContext {
    let context = try server(protocols: "\u{2}h2\u{8}http/1.1")
    let certificate = try named(identity.certificate, Certificate.init(pem:))
    let key = try named(identity.key, PrivateKey.init(pem:))
    guard certificate.isFor(key) else {
      throw TLSProblem("\(identity.key.path) is not the key of the first certificate in \(identity.certificate.path)")
    }
    let isShown = unsafe PEM.withMemory(identity.certificate.bytes) { unsafe copenssl_show_chain(context.raw, $0) == 1 }
    guard isShown == true, unsafe SSL_CTX_use_PrivateKey(context.raw, key.raw) == 1 else {
      throw TLSProblem("\(identity.certificate.path) cannot be used", openSSL: OpenSSL.takeError())
    }
    return context
  }

  /// What is wrong with a file says which one.
  private static func named<Read>(
    _ file: UpstreamTLS.PEM, _ read: ([UInt8]) throws(TLSProblem) -> Read
  ) throws(TLSProblem) -> Read {
    do throws(TLSProblem) { return try read(file.bytes) } catch { throw TLSProblem("\(file.path): \(error)") }
  }

  /// Takes upstreams that one of the roots vouches for, and no others.
  static func upstream(roots: [UInt8], rootsName: String, identity: ClientIdentity?) throws(TLSProblem) -> TLSContext {
    let context = unsafe try TLSContext(TLS_client_method())
    unsafe SSL_CTX_set_verify(context.raw, SSL_VERIFY_PEER, nil)
    guard let store = unsafe SSL_CTX_get_cert_store(context.raw) else { throw TLSProblem("no store for the roots") }
    let count = unsafe addRoots(roots, to: store)
    guard count > 0 else {
      throw TLSProblem("\(rootsName): no certificate in PEM form")
    }
    unsafe copenssl_hear_news(context.raw)
    if let identity { try context.show(identity) }
    return context
  }

  private init(_ method: OpaquePointer?) throws(TLSProblem) {
    guard OpenSSL.isReady, let raw = unsafe SSL_CTX_new(method) else {
      throw TLSProblem("cannot set up TLS", openSSL: OpenSSL.takeError())
    }
    unsafe self.raw = unsafe raw
    guard unsafe copenssl_context_defaults(raw) == 1 else {
      throw TLSProblem("cannot set up TLS 1.2 and later", openSSL: OpenSSL.takeError())
    }
  }

  deinit { unsafe SSL_CTX_free(raw) }

  private static func addRoots(_ pem: [UInt8], to store: OpaquePointer) -> Int {
    var count = 0
    _ = unsafe PEM.read(pem) { memory in
      while let certificate = unsafe PEM_read_bio_X509(memory, nil, nil, nil) {
        if unsafe X509_STORE_add_cert(store, certificate) == 1 { count += 1 }
        unsafe X509_free(certificate)
      }
      return nil
    }
    ERR_clear_error()
    return count
  }

  private func show(_ identity: ClientIdentity) throws(TLSProblem) {
    let key = try PrivateKey(pem: identity.key)
    let certificate = try Certificate(pem: identity.certificate)
    guard certificate.isFor(key) else { throw TLSProblem("the client certificate is not that of its key") }
    let isShown = unsafe PEM.withMemory(identity.certificate) { unsafe copenssl_show_chain(raw, $0) == 1 }
    guard isShown == true, unsafe SSL_CTX_use_PrivateKey(raw, key.raw) == 1 else {
      throw TLSProblem("the client certificate cannot be used", openSSL: OpenSSL.takeError())
    }
  }
}

/// What the gate shows an upstream that wants to know who asks, in PEM form.
struct ClientIdentity: Hashable, Sendable {
  let certificate: [UInt8]
  let key: [UInt8]
}
