// One TLS connection on a nonblocking socket: handshake, read, write, and what waits to be written.
// It relies on the loop for edges: a call that would block clears the flag, and the next edge sets it again.
import COpenSSL
import Glibc
import Kernel
import Wire

/// SAFETY: OpenSSL's object is owned here and freed in deinit; the socket is the caller's and outlives it; pointers are
/// lent for the time of one call.
@safe final class TLSStream: PlainStream {
  enum Progress: Equatable {
    case done
    /// Wait for an edge.
    case blocked
    case failed(TLSFailure)
  }

  private let ssl: OpaquePointer
  private let fd: CInt
  /// SAFETY: allocated by `ask`, which lends it to `ssl`; freed in deinit, behind it.
  private var news: UnsafeMutablePointer<copenssl_news>?
  /// The reason code of OpenSSL's error that ended the connection, and its words.
  private var lastWords: (reason: Int, text: String)?
  private var readsEarly: Bool
  private(set) var hasFailed = false
  /// What epoll told; true until a call says otherwise.
  var isReadable = true
  var isWritable = true
  /// The transport below has been shut down by the peer.
  var hasPeerEnded = false
  private var pending = Outbox()
  /// Payload that the peer's TLS took.
  private(set) var moved: UInt64 = 0
  var allowance = ByteAllowance()
  private var isEndUnsaid = false

  init?(_ context: TLSContext, fd: CInt, early: [UInt8] = []) {
    guard let ssl = unsafe SSL_new(context.raw) else { return nil }
    unsafe self.ssl = unsafe ssl
    self.fd = fd
    readsEarly = !early.isEmpty
    let isAttached = unsafe early.withUnsafeBytes { bytes in
      unsafe copenssl_attach(ssl, fd, bytes.baseAddress, Int32(clamping: bytes.count)) == 1
    }
    if !isAttached { return nil }
  }

  deinit {
    allowance.giveBack()
    // OpenSSL takes a session for a broken one, not to be resumed, where its connection ends without a close_notify.
    if unsafe news != nil { unsafe SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN) }
    unsafe SSL_free(ssl)
    guard let news = unsafe news else { return }
    unsafe SSL_SESSION_free(news.pointee.session)
    unsafe news.deallocate()
  }

  func note(isReadable: Bool, isWritable: Bool, hasPeerEnded: Bool) {
    if isReadable || hasPeerEnded { self.isReadable = true }
    if isWritable { self.isWritable = true }
    if hasPeerEnded { self.hasPeerEnded = true }
  }

  // MARK: - Handshake

  /// As a server that shows `certificate`.
  func serve(_ certificate: Certificate, key: PrivateKey) -> Bool {
    unsafe SSL_set_accept_state(ssl)
    return unsafe SSL_use_certificate(ssl, certificate.raw) == 1 && SSL_use_PrivateKey(ssl, key.raw) == 1
  }

  /// As a server that shows what its context has.
  func serve() { unsafe SSL_set_accept_state(ssl) }

  /// As a client that asks for `name`, and takes a certificate for that very name alone.
  func ask(_ name: HostName, protocols: [UInt8], resuming session: UpstreamSession? = nil) -> Bool {
    unsafe SSL_set_connect_state(ssl)
    let news = UnsafeMutablePointer<copenssl_news>.allocate(capacity: 1)
    unsafe news.initialize(to: copenssl_news())
    unsafe self.news = unsafe news
    guard unsafe copenssl_set_news(ssl, news) == 1 else { return false }
    // A session that OpenSSL does not take is no loss: the handshake is a whole one then.
    if let session { _ = unsafe SSL_set_session(ssl, session.raw) }
    let text = "\(name)"
    guard unsafe copenssl_set_server_name(ssl, text) == 1, unsafe copenssl_expect_host(ssl, text) == 1 else {
      return false
    }
    return unsafe protocols.isEmpty || SSL_set_alpn_protos(ssl, protocols, UInt32(protocols.count)) == 0
  }

  /// As a client of a server that is known by its address (RFC 9525 has no wildcard there).
  func ask(_ address: IPAddress) -> Bool {
    unsafe SSL_set_connect_state(ssl)
    return unsafe copenssl_expect_address(ssl, "\(address)") == 1
  }

  /// A session that the upstream offered since the last call.
  func takeSession() -> UpstreamSession? {
    guard let news = unsafe news, let session = unsafe news.pointee.session else { return nil }
    unsafe news.pointee.session = nil
    return unsafe UpstreamSession(owning: session)
  }

  var isResumed: Bool { unsafe SSL_session_reused(ssl) == 1 }

  /// What an upstream that asked for a certificate of ours says of it when it ends the connection; nil where that is
  /// not why. In TLS 1.3 it says so behind the handshake.
  var certificateProblem: String? {
    guard let news = unsafe news, unsafe news.pointee.wants_certificate == 1, let lastWords else { return nil }
    let alert = lastWords.reason - Int(SSL_AD_REASON_OFFSET)
    guard Self.certificateAlerts.contains(Int32(clamping: alert)) else { return nil }
    guard unsafe SSL_get_certificate(ssl) != nil else {
      return "It wants a client certificate, and the rule has none: write tls: {client_certificate: "
        + "{certificate: FILE, key: FILE}} at the rule (\(lastWords.text))"
    }
    return "It refuses the client certificate of the rule: \(lastWords.text)"
  }

  var problem: String? { certificateProblem }

  private static let certificateAlerts: Set<Int32> = [
    SSL_AD_HANDSHAKE_FAILURE, SSL_AD_BAD_CERTIFICATE, SSL_AD_UNSUPPORTED_CERTIFICATE, SSL_AD_CERTIFICATE_REVOKED,
    SSL_AD_CERTIFICATE_EXPIRED, SSL_AD_CERTIFICATE_UNKNOWN, SSL_AD_UNKNOWN_CA, SSL_AD_ACCESS_DENIED,
    SSL_AD_CERTIFICATE_REQUIRED,
  ]

  /// Hears an alert that has come, and reads nothing else.
  func hearAlert() {
    guard !hasFailed, isReadable else { return }
    var byte: UInt8 = 0
    var count = 0
    ERR_clear_error()
    // SAFETY: one byte of room is lent for the call.
    let result = unsafe SSL_peek_ex(ssl, &byte, 1, &count)
    if result != 1, unsafe SSL_get_error(ssl, result) == SSL_ERROR_SSL { noteLastWords() }
    ERR_clear_error()
  }

  private func noteLastWords() {
    let code = copenssl_last_error()
    lastWords = (Int(code & 0x7f_ffff), OpenSSL.takeError() ?? "no reason")
  }

  func handshake() -> Progress {
    while true {
      ERR_clear_error()
      let result = unsafe SSL_do_handshake(ssl)
      if result == 1 {
        // OpenSSL may have read past the handshake, in a turn for another socket: no edge tells of that again.
        isReadable = true
        return .done
      }
      switch unsafe SSL_get_error(ssl, result) {
      case SSL_ERROR_WANT_READ:
        if readOn() { continue }
        isReadable = false
        return .blocked
      case SSL_ERROR_WANT_WRITE:
        isWritable = false
        return .blocked
      default:
        hasFailed = true
        return .failed(failure())
      }
    }
  }

  private func failure() -> TLSFailure {
    let code = unsafe SSL_get_verify_result(ssl)
    if code != Int(X509_V_OK) {
      _ = OpenSSL.takeError()
      return .untrusted(OpenSSL.verifyText(code))
    }
    guard copenssl_last_error() != 0 else { return .broken("the connection ended inside the handshake") }
    noteLastWords()
    return .broken(certificateProblem ?? lastWords?.text ?? "")
  }

  /// The early bytes are used up: what follows comes from the socket.
  private func readOn() -> Bool {
    guard readsEarly else { return false }
    readsEarly = false
    return unsafe copenssl_read_socket(ssl, fd) == 1
  }

  /// What ALPN came to.
  var chosenProtocol: ApplicationProtocol? {
    var start: UnsafePointer<UInt8>?
    var count: UInt32 = 0
    unsafe SSL_get0_alpn_selected(ssl, &start, &count)
    guard let start = unsafe start else { return nil }
    return unsafe ApplicationProtocol(name: Array(UnsafeBufferPointer(start: start, count: Int(count))))
  }

  // MARK: - Read

  func read(into buffer: UnsafeMutableRawBufferPointer) -> Received {
    guard !hasFailed else { return .failed }
    while true {
      var count = 0
      ERR_clear_error()
      let result = unsafe SSL_read_ex(ssl, buffer.baseAddress, buffer.count, &count)
      if result == 1 { return .bytes(count) }
      switch unsafe SSL_get_error(ssl, result) {
      case SSL_ERROR_WANT_READ:
        if readOn() { continue }
        isReadable = false
        return .blocked
      case SSL_ERROR_WANT_WRITE:
        isWritable = false
        isReadable = false
        return .blocked
      case SSL_ERROR_ZERO_RETURN:
        isReadable = false
        return .ended
      default:
        hasFailed = true
        isReadable = false
        let isTruncated = isUnexpectedEnd()
        noteLastWords()
        return isTruncated ? .truncated : .failed
      }
    }
  }

  private func isUnexpectedEnd() -> Bool {
    let code = copenssl_last_error()
    return code & 0x7f_ffff == UInt(SSL_R_UNEXPECTED_EOF_WHILE_READING)
  }

  // MARK: - Write

  /// The end that is not said yet counts as a byte.
  var pendingCount: Int { pending.count + (isEndUnsaid ? 1 : 0) }

  /// How many bytes the peer's kernel took, with all that TLS adds to them.
  var taken: Int { Socket.taken(fd).bytes }

  /// Sends, and keeps what the socket does not take. False when the connection broke.
  func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard !hasFailed else { return false }
    var sent = 0
    if pending.isEmpty {
      while sent < bytes.count {
        guard let count = unsafe send(UnsafeRawBufferPointer(rebasing: bytes[sent...])) else { return false }
        if count == 0 { break }
        sent += count
      }
    }
    if sent < bytes.count { unsafe pending.append(contentsOf: bytes[sent...]) }
    return true
  }

  /// False when the connection broke.
  func flush() -> Bool {
    guard !hasFailed else { return false }
    let flushed = pending.flush { bytes in
      switch unsafe bytes.withUnsafeBytes({ unsafe send($0) }) {
      case nil: .end
      case 0?: .wouldBlock
      case let count?: .bytes(count)
      }
    }
    if flushed == .all && isEndUnsaid { sayEnd() }
    return flushed != .broke
  }

  func exempt(_ count: Int) { allowance.exempt(count) }

  /// How many were taken; nil when the connection broke.
  private func send(_ bytes: UnsafeRawBufferPointer) -> Int? {
    guard isWritable else { return 0 }
    let granted = allowance.grant(upTo: bytes.count)
    if granted == 0 { return 0 }
    var count = 0
    ERR_clear_error()
    let result = unsafe SSL_write_ex(ssl, bytes.baseAddress, granted, &count)
    if result == 1 {
      moved += UInt64(allowance.sent(count))
      return count
    }
    switch unsafe SSL_get_error(ssl, result) {
    case SSL_ERROR_WANT_WRITE, SSL_ERROR_WANT_READ:
      isWritable = false
      return 0
    default:
      _ = OpenSSL.takeError()
      // A socket that takes nothing more may still hold the peer's reason.
      isReadable = true
      hearAlert()
      hasFailed = true
      return nil
    }
  }

  /// Tells the peer that nothing follows.
  func end() {
    guard !hasFailed else { return }
    isEndUnsaid = true
    if pending.isEmpty { sayEnd() }
  }

  /// Behind all that was written. A full socket takes it later.
  private func sayEnd() {
    ERR_clear_error()
    let result = unsafe SSL_shutdown(ssl)
    if result < 0, unsafe SSL_get_error(ssl, result) == SSL_ERROR_WANT_WRITE {
      isWritable = false
    } else {
      isEndUnsaid = false
    }
    ERR_clear_error()
  }
}

/// Why a handshake came to nothing.
enum TLSFailure: Equatable {
  /// The peer's certificate did not verify.
  case untrusted(String)
  case broken(String)
}
