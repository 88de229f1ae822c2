// One HTTP/2 connection by nghttp2: bytes of the TLS below in and out, events to the bridge above.
// It relies on nghttp2 calling back only inside `feed` and `pump`, on this thread.
import CNGHTTP2
import Wire

/// What a session tells. Streams are named by this session's numbers.
protocol HTTP2Events: AnyObject {
  /// A head is whole, and in `session.block`.
  func headCame(_ session: HTTP2Session, _ id: Int32, isRequest: Bool, endsStream: Bool)
  func dataCame(_ session: HTTP2Session, _ id: Int32, _ bytes: UnsafeBufferPointer<UInt8>)
  func bodyEnded(_ session: HTTP2Session, _ id: Int32)
  func streamClosed(_ session: HTTP2Session, _ id: Int32, code: UInt32)
  /// What the peer wants has changed.
  func settingsCame(_ session: HTTP2Session)
  /// The peer takes no further streams.
  func peerLeaves(_ session: HTTP2Session)
  /// The peer broke the protocol, or a bound.
  func peerMisbehaved(_ session: HTTP2Session)
  /// Fills `buffer` with bytes of the stream's body, for the peer.
  func bodyWanted(_ session: HTTP2Session, _ id: Int32, _ buffer: UnsafeMutablePointer<UInt8>, room: Int) -> BodyPiece
}

enum BodyPiece {
  case bytes(Int, isLast: Bool, trailers: FieldBlock?)
  /// `HTTP2Session.resume` when there are some.
  case later
  case broken
}

/// SAFETY: nghttp2's object is owned here and freed in deinit. Its user data is this object, unretained: it lives at
/// least as long, and callbacks come inside its own calls alone.
@safe final class HTTP2Session {
  static let windowBytes: Int32 = 256 * 1024
  /// Both directions of a session hold no more than this, whatever its streams do.
  static let connectionWindowBytes: Int32 = 1 << 20
  static let streamsMax: UInt32 = 100

  let tls: any PlainStream
  let isServer: Bool
  let headBytesMax: Int
  weak var events: (any HTTP2Events)?
  var block = FieldBlock()
  /// The peer's flood or fault, in words for the log.
  private(set) var fault: String?
  private var bounds = HTTP2Bounds()
  private var nowMs: UInt64 = 0
  /// Streams that are open, and whether a part of a final answer has gone out on them.
  private var isAnswered: [Int32: Bool] = [:]
  /// Streams that get a final answer next.
  private var answering: Set<Int32> = []
  /// Streams that are reset for reasons of ours or of the other side's, by no fault of this peer.
  private var blameless: Set<Int32> = []
  private let raw: OpaquePointer
  private var out: [UInt8] = []

  /// `takesProtocols`: of a server, whether CONNECT may name a protocol (RFC 8441).
  init?(
    _ tls: any PlainStream, isServer: Bool, headBytesMax: Int, takesProtocols: Bool = false, _ library: HTTP2Library
  ) {
    self.tls = tls
    self.isServer = isServer
    self.headBytesMax = headBytesMax
    guard let raw = unsafe library.session(isServer: isServer) else { return nil }
    unsafe self.raw = unsafe raw
    unsafe nghttp2_session_set_user_data(raw, Unmanaged.passUnretained(self).toOpaque())
    guard sendSettings(takesProtocols: takesProtocols) else { return nil }
  }

  deinit { unsafe nghttp2_session_del(raw) }

  private func sendSettings(takesProtocols: Bool) -> Bool {
    var settings = [
      Self.entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, UInt32(Self.windowBytes)),
      Self.entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(clamping: headBytesMax)),
    ]
    settings.append(
      isServer
        ? Self.entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, Self.streamsMax)
        : Self.entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
    if takesProtocols { settings.append(Self.entry(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1)) }
    // SAFETY: the array lives through the call, which copies it.
    return unsafe nghttp2_submit_settings(raw, 0, settings, settings.count) == 0
      && nghttp2_session_set_local_window_size(raw, 0, 0, Self.connectionWindowBytes) == 0
  }

  private static func entry(_ id: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
    nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: value)
  }

  // MARK: - Bytes

  /// Bytes of the peer. False: the session is beyond use.
  func feed(_ bytes: Span<UInt8>, nowMs: UInt64) -> Bool {
    self.nowMs = nowMs
    return unsafe bytes.withUnsafeBufferPointer { unsafe nghttp2_session_mem_recv(raw, $0.baseAddress, $0.count) >= 0 }
  }

  enum Pumped { case nothing, some, broke }

  /// Frames that wait, as far as the TLS below takes them.
  func pump() -> Pumped {
    var hasSent = false
    while !tls.isFull {
      var start: UnsafePointer<UInt8>?
      let count = unsafe nghttp2_session_mem_send(raw, &start)
      if count < 0 { return .broke }
      guard count > 0, let start = unsafe start else { break }
      hasSent = true
      // Small frames go together: each TLS record costs a system call.
      unsafe out.append(contentsOf: UnsafeBufferPointer(start: start, count: count))
      if out.count >= ReadBuffer.byteCount, !flush() { return .broke }
    }
    if !flush() { return .broke }
    return hasSent ? .some : .nothing
  }

  private func flush() -> Bool {
    if out.isEmpty { return true }
    defer { out.removeAll(keepingCapacity: true) }
    return tls.write(out)
  }

  /// Neither side has anything left to say.
  var isDone: Bool {
    unsafe nghttp2_session_want_read(raw) == 0 && nghttp2_session_want_write(raw) == 0
  }

  // MARK: - What the bridge asks for

  /// The number of the new stream, or nil when there can be none.
  func request(_ block: FieldBlock, hasBody: Bool) -> Int32? {
    var provider = unsafe HTTP2Library.provider
    let id = unsafe block.withFields { fields, count in
      unsafe withUnsafePointer(to: &provider) {
        unsafe nghttp2_submit_request(raw, nil, fields, count, hasBody ? $0 : nil, nil)
      }
    }
    if id > 0 { isAnswered[id] = false }
    return id > 0 ? id : nil
  }

  func respond(_ id: Int32, _ block: FieldBlock, hasBody: Bool) -> Bool {
    var provider = unsafe HTTP2Library.provider
    answering.insert(id)
    return unsafe block.withFields { fields, count in
      unsafe withUnsafePointer(to: &provider) {
        unsafe nghttp2_submit_response(raw, id, fields, count, hasBody ? $0 : nil) == 0
      }
    }
  }

  func interim(_ id: Int32, _ block: FieldBlock) -> Bool {
    unsafe block.withFields { fields, count in
      unsafe nghttp2_submit_headers(raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, nil, fields, count, nil) == 0
    }
  }

  fileprivate func trail(_ id: Int32, _ block: FieldBlock) -> Bool {
    unsafe block.withFields { fields, count in unsafe nghttp2_submit_trailer(raw, id, fields, count) == 0 }
  }

  func resume(_ id: Int32) { _ = unsafe nghttp2_session_resume_data(raw, id) }

  /// `isPeersFault`: it counts as a reset of the peer's own, or a flood of such streams would have no bound.
  func reset(_ id: Int32, code: UInt32, isPeersFault: Bool = false) {
    if !isPeersFault, isAnswered[id] != nil { blameless.insert(id) }
    _ = unsafe nghttp2_submit_rst_stream(raw, 0, id, code)
  }

  /// True if all that we say on the stream has gone out.
  func hasEndedOurs(_ id: Int32) -> Bool { unsafe nghttp2_session_get_stream_local_close(raw, id) == 1 }

  /// The peer may send that many more bytes.
  func giveBack(_ count: Int, _ id: Int32) {
    if count > 0 { _ = unsafe nghttp2_session_consume(raw, id, count) }
  }

  /// True if the peer takes CONNECT with a protocol (RFC 8441 section 3).
  var peerTakesProtocols: Bool {
    unsafe nghttp2_session_get_remote_settings(raw, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
  }

  /// Takes it too, from now on.
  func takeProtocols() {
    var settings = [Self.entry(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1)]
    // SAFETY: the array lives through the call, which copies it.
    _ = unsafe nghttp2_submit_settings(raw, 0, &settings, settings.count)
  }

  /// No further streams; those under way go on.
  func leave() {
    let last = unsafe nghttp2_session_get_last_proc_stream_id(raw)
    _ = unsafe nghttp2_submit_goaway(raw, 0, last, UInt32(NGHTTP2_NO_ERROR.rawValue), nil, 0)
  }

  func terminate(_ code: nghttp2_error_code) { _ = unsafe nghttp2_session_terminate_session(raw, code.rawValue) }
}

// MARK: - What nghttp2 calls

extension HTTP2Session {
  fileprivate func began() { block.reset() }

  fileprivate func received(_ header: nghttp2_frame_hd, headers category: nghttp2_headers_category?, code: UInt32)
    -> Int32
  {
    let ends = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    let isReset = UInt32(header.type) == NGHTTP2_RST_STREAM.rawValue
    guard isReset ? allowReset(header.stream_id) : bounds.allow(header, nowMs: nowMs) else {
      endFlood(header.type)
      return 0
    }
    switch UInt32(header.type) {
    case NGHTTP2_HEADERS.rawValue:
      if category == NGHTTP2_HCAT_REQUEST { isAnswered[header.stream_id] = false }
      events?.headCame(self, header.stream_id, isRequest: category == NGHTTP2_HCAT_REQUEST, endsStream: ends)
    case NGHTTP2_DATA.rawValue: if ends { events?.bodyEnded(self, header.stream_id) }
    case NGHTTP2_SETTINGS.rawValue: events?.settingsCame(self)
    case NGHTTP2_GOAWAY.rawValue: events?.peerLeaves(self)
    default: break
    }
    return 0
  }

  /// What an upstream resets was asked of it: that has its bound already.
  private func allowReset(_ id: Int32) -> Bool {
    guard let isAnswered = isAnswered[id] else { return bounds.allowReset(isAnswered: true, nowMs: nowMs) }
    return !isServer || bounds.allowReset(isAnswered: isAnswered, nowMs: nowMs)
  }

  private func endFlood(_ type: UInt8) {
    if fault == nil { fault = "It sends too many \(HTTP2Bounds.name(of: type)) frames" }
    terminate(NGHTTP2_ENHANCE_YOUR_CALM)
    events?.peerMisbehaved(self)
  }

  fileprivate func sent(_ header: nghttp2_frame_hd) {
    let id = header.stream_id
    switch UInt32(header.type) {
    case NGHTTP2_DATA.rawValue: bounds.sent(dataBytes: header.length)
    case NGHTTP2_HEADERS.rawValue:
      if answering.remove(id) != nil, isAnswered[id] != nil { isAnswered[id] = true }
    case NGHTTP2_RST_STREAM.rawValue:
      guard blameless.remove(id) == nil, isServer else { return }
      if !bounds.allowReset(isAnswered: isAnswered[id] ?? false, nowMs: nowMs) { endFlood(header.type) }
    default: break
    }
  }

  fileprivate func closed(_ id: Int32, code: UInt32) {
    isAnswered[id] = nil
    answering.remove(id)
    events?.streamClosed(self, id, code: code)
    blameless.remove(id)
  }

  fileprivate func fill(
    _ id: Int32, _ buffer: UnsafeMutablePointer<UInt8>, _ room: Int, _ flags: UnsafeMutablePointer<UInt32>
  ) -> Int {
    guard let events else { return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue) }
    switch unsafe events.bodyWanted(self, id, buffer, room: room) {
    case .later: return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    case .broken:
      blameless.insert(id)
      return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
    case .bytes(let count, let isLast, let trailers):
      if isLast { unsafe flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue }
      if isLast, let trailers {
        unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
        if !trail(id, trailers) { return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue) }
      }
      return count
    }
  }
}

/// nghttp2's callbacks and options, made once a loop.
/// SAFETY: owned here and freed in deinit; sessions copy what they need of them.
@safe final class HTTP2Library {
  private let callbacks: OpaquePointer
  private let options: OpaquePointer

  init?() {
    var callbacks: OpaquePointer?
    var options: OpaquePointer?
    guard unsafe nghttp2_session_callbacks_new(&callbacks) == 0, unsafe nghttp2_option_new(&options) == 0,
      let callbacks = unsafe callbacks, let options = unsafe options
    else { return nil }
    unsafe self.callbacks = unsafe callbacks
    unsafe self.options = unsafe options
    setOptions()
    setCallbacks()
  }

  deinit {
    unsafe nghttp2_session_callbacks_del(callbacks)
    unsafe nghttp2_option_del(options)
  }

  func session(isServer: Bool) -> OpaquePointer? {
    var raw: OpaquePointer?
    let result =
      unsafe isServer
      ? nghttp2_session_server_new2(&raw, callbacks, nil, options)
      : nghttp2_session_client_new2(&raw, callbacks, nil, options)
    return unsafe result == 0 ? raw : nil
  }

  private func setOptions() {
    // A slow reader on one side must be felt on the other: windows open when bytes have gone on.
    unsafe nghttp2_option_set_no_auto_window_update(options, 1)
    // RFC 9113 section 6.5: an entry more is an attack. Acknowledgements that the peer does not read likewise.
    unsafe nghttp2_option_set_max_settings(options, 32)
    unsafe nghttp2_option_set_max_outbound_ack(options, 1_000)
    unsafe nghttp2_option_set_max_continuations(options, 8)
    // HTTP2Bounds knows which resets are harmless; nghttp2 counts those too that follow a whole answer, as curl sends
    // them.
    unsafe nghttp2_option_set_stream_reset_rate_limit(options, 10_000, 10_000)
    unsafe nghttp2_option_set_max_send_header_block_length(options, 256 * 1024)
  }

  static let provider = unsafe nghttp2_data_provider(
    source: nghttp2_data_source(),
    read_callback: { _, id, buffer, room, flags, _, owner in
      guard let owner = unsafe owner, let buffer = unsafe buffer, let flags = unsafe flags else {
        return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
      }
      return unsafe session(owner).fill(id, buffer, room, flags)
    })

  /// SAFETY: see HTTP2Session.
  private static func session(_ owner: UnsafeMutableRawPointer) -> HTTP2Session {
    unsafe Unmanaged<HTTP2Session>.fromOpaque(owner).takeUnretainedValue()
  }

  private func setCallbacks() {
    unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, _, owner in
      if let owner = unsafe owner { unsafe HTTP2Library.session(owner).began() }
      return 0
    }
    unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks) {
      _, _, name, nameCount, value, valueCount, flags, owner in
      guard let owner = unsafe owner else { return 0 }
      let session = unsafe HTTP2Library.session(owner)
      unsafe session.block.append(
        UnsafeBufferPointer(start: name, count: nameCount), UnsafeBufferPointer(start: value, count: valueCount),
        flags: flags, bytesMax: session.headBytesMax)
      return 0
    }
    // A field that is none: the stream is reset. To pass the rest on would be to choose a reading.
    unsafe nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks) { _, _, _, _, _, _, _, _ in
      NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
    }
    unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, owner in
      guard let owner = unsafe owner, let frame = unsafe frame?.pointee else { return 0 }
      let header = unsafe frame.hd
      let isHead = UInt32(header.type) == NGHTTP2_HEADERS.rawValue
      return unsafe HTTP2Library.session(owner).received(
        header, headers: isHead ? frame.headers.cat : nil, code: 0)
    }
    unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { _, _, id, bytes, count, owner in
      guard let owner = unsafe owner else { return 0 }
      let session = unsafe HTTP2Library.session(owner)
      unsafe session.events?.dataCame(session, id, UnsafeBufferPointer(start: bytes, count: count))
      return 0
    }
    unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, id, code, owner in
      guard let owner = unsafe owner else { return 0 }
      let session = unsafe HTTP2Library.session(owner)
      session.closed(id, code: code)
      return 0
    }
    // What makes nghttp2 end a session is what the peer did.
    unsafe nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, owner in
      guard let owner = unsafe owner, let frame = unsafe frame?.pointee else { return 0 }
      let session = unsafe HTTP2Library.session(owner)
      unsafe session.sent(frame.hd)
      if unsafe UInt32(frame.hd.type) == NGHTTP2_GOAWAY.rawValue, unsafe frame.goaway.error_code != 0 {
        session.events?.peerMisbehaved(session)
      }
      return 0
    }
  }
}
