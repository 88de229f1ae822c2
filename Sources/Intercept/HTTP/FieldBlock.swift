// The fields of one HTTP/2 head in one piece of memory: collected as nghttp2 decodes them, handed on as it wants them.
// It relies on nghttp2 for the grammar of names and values, and for the order of pseudo fields.
import CNGHTTP2
import Wire

struct FieldBlock {
  enum Kind: UInt8 {
    case other, method, scheme, authority, path, status, connectProtocol, host, contentLength
    /// For this hop, or not for the other side to say.
    case dropped
  }

  private struct Field {
    var name: Range<Int>
    var value: Range<Int>
    var flags: UInt8
    var kind: Kind
  }

  private var bytes: [UInt8] = []
  private var fields: [Field] = []
  /// As SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113 section 6.5.2).
  private(set) var listBytes = 0
  private(set) var isTooLarge = false

  mutating func reset() {
    bytes.removeAll(keepingCapacity: true)
    fields.removeAll(keepingCapacity: true)
    listBytes = 0
    isTooLarge = false
  }

  /// What is over the limit is counted and not kept.
  mutating func append(
    _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>, flags: UInt8, bytesMax: Int
  ) {
    listBytes += name.count + value.count + 32
    if listBytes > bytesMax {
      isTooLarge = true
      return
    }
    let start = bytes.count
    unsafe bytes.append(contentsOf: name)
    let middle = bytes.count
    unsafe bytes.append(contentsOf: value)
    let kind = Self.kind(bytes.span.extracting(start..<middle))
    if kind == .path { encodeRawBytes(from: middle) }
    fields.append(Field(name: start..<middle, value: middle..<bytes.count, flags: flags, kind: kind))
  }

  mutating func append(_ name: StaticString, _ value: [UInt8], isFirst: Bool = false) {
    let start = bytes.count
    bytes.append(name)
    append(nameFrom: start, value, flags: 0, isFirst: isFirst)
  }

  mutating func append(_ name: [UInt8], _ value: [UInt8], isSensitive: Bool) {
    let start = bytes.count
    bytes += name
    append(nameFrom: start, value, flags: isSensitive ? UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) : 0, isFirst: false)
  }

  private mutating func append(nameFrom start: Int, _ value: [UInt8], flags: UInt8, isFirst: Bool) {
    let middle = bytes.count
    bytes += value
    let kind = Self.kind(bytes.span.extracting(start..<middle))
    if kind == .path { encodeRawBytes(from: middle) }
    let field = Field(name: start..<middle, value: middle..<bytes.count, flags: flags, kind: kind)
    if isFirst { fields.insert(field, at: 0) } else { fields.append(field) }
  }

  /// A path beyond ASCII is judged, and goes out, percent-encoded, as in HTTP/1.1.
  private mutating func encodeRawBytes(from start: Int) {
    guard bytes[start...].contains(where: { $0 >= 0x80 }) else { return }
    let raw = Array(bytes[start...])
    bytes.removeSubrange(start...)
    Percent.appendASCII(raw.span, to: &bytes)
  }

  private static func kind(_ name: Span<UInt8>) -> Kind {
    guard name.count > 0 else { return .dropped }
    if name[0] == UInt8(ascii: ":") {
      if name.isText(":method") { return .method }
      if name.isText(":path") { return .path }
      if name.isText(":authority") { return .authority }
      if name.isText(":scheme") { return .scheme }
      if name.isText(":protocol") { return .connectProtocol }
      return name.isText(":status") ? .status : .dropped
    }
    switch name.count {
    case 4 where name.isText("host"): return .host
    case 14 where name.isText("content-length"): return .contentLength
    case 16 where name.isText("proxy-connection"), 19 where name.isText("proxy-authorization"): return .dropped
    default: return .other
    }
  }

  // MARK: - Looking

  func value(_ kind: Kind) -> [UInt8]? { fields.first { $0.kind == kind }.map { Array(bytes[$0.value]) } }

  func count(_ kind: Kind) -> Int { fields.reduce(0) { $0 + ($1.kind == kind ? 1 : 0) } }

  /// All but the pseudo fields, also those that go no further.
  func forEachField(_ body: (_ name: Span<UInt8>, _ value: Span<UInt8>, _ kind: Kind) -> Void) {
    let bytes = bytes.span
    for field in fields where bytes[field.name.lowerBound] != UInt8(ascii: ":") {
      body(bytes.extracting(field.name), bytes.extracting(field.value), field.kind)
    }
  }

  var status: Int { value(.status)?.reduce(0) { $0 * 10 + Int($1 & 0x0f) } ?? 0 }

  func withValue<R>(_ kind: Kind, _ body: (Span<UInt8>) -> R) -> R {
    let range = fields.first { $0.kind == kind }?.value ?? 0..<0
    return body(bytes.span.extracting(range))
  }

  // MARK: - Changing

  mutating func set(_ kind: Kind, _ value: [UInt8]) {
    guard let index = fields.firstIndex(where: { $0.kind == kind }) else { return }
    let start = bytes.count
    bytes += value
    fields[index].value = start..<bytes.count
  }

  mutating func drop(_ kind: Kind) { fields.removeAll { $0.kind == kind } }

  /// X-Sluice-* is how a client tells the gate's refusals from an upstream's answers: no upstream may forge it.
  mutating func dropOurs() {
    fields.removeAll { field in
      field.name.count > 9 && bytes[field.name].starts(with: "x-sluice-".utf8)
    }
  }

  // MARK: - Handing on

  /// Lends the fields in nghttp2's form; it copies what it needs.
  func withFields<R>(_ body: (UnsafePointer<nghttp2_nv>?, Int) -> R) -> R {
    // SAFETY: nghttp2 takes pointers to mutable bytes and changes none; they live through the closure.
    unsafe bytes.withUnsafeBufferPointer { buffer in
      let base = unsafe UnsafeMutablePointer(mutating: buffer.baseAddress)
      let list = unsafe fields.lazy.filter { $0.kind != .dropped }.map { field in
        unsafe nghttp2_nv(
          name: base.map { unsafe $0 + field.name.lowerBound }, value: base.map { unsafe $0 + field.value.lowerBound },
          namelen: field.name.count, valuelen: field.value.count, flags: field.flags)
      }
      let whole = unsafe Array(list)
      return unsafe whole.withUnsafeBufferPointer { unsafe body($0.baseAddress, $0.count) }
    }
  }

  // MARK: - For filters

  var head: MessageHead {
    var head = MessageHead()
    head.mayCollect = false
    head.method = value(.method) ?? []
    head.path = value(.path) ?? []
    head.status = status
    for field in fields where field.kind == .other || field.kind == .contentLength {
      head.fields.append(
        MessageHead.Field(
          name: Array(bytes[field.name]), value: Array(bytes[field.value]),
          isSensitive: field.flags & UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) != 0))
    }
    return head
  }

  /// Takes over what a filter made of it; false when that is no head.
  mutating func take(_ head: MessageHead) -> Bool {
    guard head.isWellFormed else { return false }
    if !head.method.isEmpty { set(.method, head.method) }
    if !head.path.isEmpty { set(.path, head.path) }
    fields.removeAll { $0.kind == .other || $0.kind == .contentLength }
    for field in head.fields {
      append(field.name.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 }, field.value, isSensitive: field.isSensitive)
    }
    return true
  }
}
