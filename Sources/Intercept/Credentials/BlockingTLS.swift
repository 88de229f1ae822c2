// One TLS connection that blocks its thread, for what the gate itself asks: connect, verify, send, read to the end.
// It relies on a deadline for the whole; addresses are screened by the caller, and the certificate must name the host.
import COpenSSL
import Glibc
import Kernel
import Policy
import Wire

/// SAFETY: OpenSSL's object is owned here and freed in deinit, before the socket closes.
@safe final class BlockingTLS {
  private let name: HostName
  private let socket: Descriptor
  private let context: TLSContext
  private let ssl: OpaquePointer
  private let dueMs: UInt64

  init(name: HostName, addresses: [SocketAddress], tls: UpstreamTLS) throws(CredentialProblem) {
    self.name = name
    dueMs = Clock.monotonicMs() + BlockingSocket.timeoutMs
    do throws(TLSProblem) { context = try InterceptContexts.upstream(tls) } catch {
      throw CredentialProblem("\(name): \(error)")
    }
    socket = try BlockingSocket.connect("\(name)", addresses, dueMs)
    guard let ssl = unsafe SSL_new(context.raw) else { throw CredentialProblem("\(name): cannot begin TLS") }
    unsafe self.ssl = unsafe ssl
    unsafe copenssl_wipe_plaintext(ssl)
    let text = "\(name)"
    guard unsafe SSL_set_fd(ssl, socket.raw) == 1, unsafe copenssl_set_server_name(ssl, text) == 1,
      unsafe copenssl_expect_host(ssl, text) == 1
    else { throw CredentialProblem("\(name): cannot begin TLS") }
    let result = try until(SSL_ERROR_NONE) { unsafe SSL_connect(ssl) }
    guard result == SSL_ERROR_NONE else { throw CredentialProblem("\(name): \(failure())") }
  }

  deinit { unsafe SSL_free(ssl) }

  /// `isWhole`: true if all of an answer is there, of a server that keeps the connection open.
  func exchange(
    _ request: [UInt8], bytesMax: Int, isWhole: ([UInt8]) -> Bool = { _ in false }
  ) throws(CredentialProblem) -> [UInt8] {
    var sent = 0
    let result = try until(SSL_ERROR_NONE) {
      // SAFETY: the array's own bytes, for the time of the call.
      let result = unsafe request.withUnsafeBytes {
        unsafe SSL_write_ex(ssl, $0.baseAddress?.advanced(by: sent), $0.count - sent, &sent)
      }
      return result == 1 ? 1 : 0
    }
    guard result == SSL_ERROR_NONE else { throw CredentialProblem("\(name): \(failure())") }
    var answer: [UInt8] = []
    // What outgrows its memory leaves a copy behind.
    answer.reserveCapacity(bytesMax + 16 * 1024)
    var chunk = [UInt8](repeating: 0, count: 16 * 1024)
    defer { Secret.wipe(&chunk) }
    while answer.count <= bytesMax {
      var count = 0
      let result = try until(SSL_ERROR_NONE) {
        // SAFETY: as above.
        unsafe chunk.withUnsafeMutableBytes { unsafe SSL_read_ex(ssl, $0.baseAddress, $0.count, &count) }
      }
      // Where the answer says its length, an end without a close_notify cuts nothing off unseen.
      guard result == SSL_ERROR_NONE else { return answer }
      answer += chunk.prefix(count)
      if isWhole(answer) { return answer }
    }
    throw CredentialProblem("\(name) answered more than 64 KiB")
  }

  /// Repeats a call until it comes to something other than waiting for the socket.
  private func until(_ done: CInt, _ call: () -> CInt) throws(CredentialProblem) -> CInt {
    while true {
      ERR_clear_error()
      let result = call()
      let state = result > 0 ? done : unsafe SSL_get_error(ssl, result)
      guard state == SSL_ERROR_WANT_READ || state == SSL_ERROR_WANT_WRITE else { return state }
      let events = state == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT
      guard BlockingSocket.wait(socket.raw, events, dueMs) else {
        throw CredentialProblem("\(name) took longer than \(BlockingSocket.timeoutMs / 1000) seconds")
      }
    }
  }

  private func failure() -> String {
    let code = unsafe SSL_get_verify_result(ssl)
    if code != Int(X509_V_OK) {
      _ = OpenSSL.takeError()
      return "its certificate cannot be verified: \(OpenSSL.verifyText(code))"
    }
    return OpenSSL.takeError() ?? "the connection ended early"
  }
}
