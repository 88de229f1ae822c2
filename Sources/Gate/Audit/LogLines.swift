// JSON Lines in memory: the fields of the log, written straight into one buffer that is used again each turn.
// It relies on Wire.JSONText, so that no byte from outside can break a line; names and words of ours need no escape.
import Flow
import Policy
import Wire

/// A field is named by all that stands before its value, `,"port":`, so that it costs one append.
struct LogLines {
  /// Methods are words of a few letters; a longer one is a client's own text.
  private static let methodBytesMax = 32

  private var bytes: [UInt8] = []
  /// The common start of all lines of one millisecond.
  private var opening: [UInt8] = []
  private var openingMs = Int64.min
  /// The gate's name, as a field.
  private let gate: [UInt8]

  init(gate: [UInt8]) { self.gate = gate }

  var byteCount: Int { bytes.count }

  /// Lends the buffer; whoever writes it out empties it.
  mutating func withBytes(_ body: (inout [UInt8]) -> Void) { body(&bytes) }

  mutating func take() -> [UInt8] {
    defer { bytes = [] }
    return bytes
  }

  /// One whole line: what every line has, then its own fields.
  mutating func append(
    _ event: LogEvent, _ sequence: UInt64, _ wallMs: Int64, _ fields: (inout LogLines) -> Void
  ) {
    if wallMs != openingMs {
      openingMs = wallMs
      opening.removeAll(keepingCapacity: true)
      opening.append(#"{"v":1,"time":""#)
      Timestamp.append(unixMilliseconds: wallMs, to: &opening)
      opening.append(#"","seq":"#)
    }
    bytes += opening
    JSONText.appendDecimal(sequence, to: &bytes)
    bytes += gate
    bytes.append(event.field)
    fields(&self)
    bytes.append("}\n")
  }

  /// The fields alone, for a line that is written later.
  mutating func fields(_ write: (inout LogLines) -> Void) -> [UInt8] {
    let start = bytes.count
    write(&self)
    defer { bytes.removeSubrange(start...) }
    return Array(bytes[start...])
  }

  // MARK: - Fields

  mutating func number(_ key: StaticString, _ value: UInt64) {
    bytes.append(key)
    JSONText.appendDecimal(value, to: &bytes)
  }

  /// A whole field, with its value.
  mutating func field(_ field: StaticString) { bytes.append(field) }

  /// The same, made once for a client, a rule or a policy.
  mutating func field(_ field: [UInt8]) { bytes += field }

  /// For text of ours that needs no escape; the key ends with the opening quote.
  mutating func word(_ key: StaticString, _ text: String) {
    bytes.append(key)
    bytes += text.utf8
    bytes.append(UInt8(ascii: "\""))
  }

  mutating func text(_ key: StaticString, _ text: String) {
    bytes.append(key)
    JSONText.appendString(text, to: &bytes)
  }

  mutating func text(_ key: StaticString, _ text: [UInt8]) {
    bytes.append(key)
    JSONText.appendString(text, to: &bytes)
  }

  mutating func address(_ address: IPAddress) {
    bytes.append(#","address":""#)
    address.append(to: &bytes)
    bytes.append(UInt8(ascii: "\""))
  }

  /// The number of the flow, and of the request on its connection.
  mutating func flowNumber(_ id: UInt64, _ ordinal: UInt32) {
    bytes.append(#","id":""#)
    JSONText.appendHex(id, to: &bytes)
    if ordinal > 0 {
      bytes.append(UInt8(ascii: "-"))
      JSONText.appendDecimal(UInt64(ordinal), to: &bytes)
    }
    bytes.append(UInt8(ascii: "\""))
  }

  mutating func target(_ target: Target, _ via: Via) {
    bytes.append(via.fieldToHost)
    target.host.append(to: &bytes)
    number(#"","port":"#, UInt64(target.port))
  }

  /// The name of a DNS query, if it is a host name: any other bytes are left out.
  mutating func name(_ host: HostName?) {
    bytes.append(#","via":"dns""#)
    guard let host else { return }
    bytes.append(#","host":""#)
    bytes += host.bytes
    bytes.append(UInt8(ascii: "\""))
  }

  /// Bytes and time. Bytes and `inspected` stand where something went to an upstream: a refusal has neither.
  mutating func account(_ event: LogEvent, _ facts: AuditFacts, isInspected: Bool) {
    let hasEnded = event == .closed || event == .revoked
    if hasEnded || facts.hasBytes {
      number(#","bytes_up":"#, facts.bytesUp)
      number(#","bytes_down":"#, facts.bytesDown)
    }
    number(#","duration_ms":"#, facts.durationMs)
    if isInspected { field(#","inspected":true"#) } else if hasEnded { field(#","inspected":false"#) }
  }

  mutating func request(_ request: LoggedRequest, _ paths: Settings.LoggedPaths) {
    let method = request.method
    if method.isEmpty { return }
    text(#","method":"#, Array(method.prefix(Self.methodBytesMax)))
    if let status = request.status { number(#","status":"#, UInt64(clamping: status)) }
    if let path = LoggedPath.text(request.path, paths) { text(#","path":"#, path) }
  }

  mutating func bucket(_ level: BucketLevel) {
    number(#","tokens":"#, UInt64(max(0, level.tokens)))
    number(#","capacity":"#, UInt64(max(0, level.capacity)))
    number(#","per_minute":"#, UInt64(max(0, level.perMinute)))
  }
}

extension LogEvent {
  fileprivate var field: StaticString {
    switch self {
    case .denied: #","event":"denied""#
    case .limited: #","event":"limited""#
    case .closed: #","event":"closed""#
    case .failed: #","event":"failed""#
    case .revoked: #","event":"revoked""#
    case .policy: #","event":"policy""#
    case .credential: #","event":"credential""#
    case .flagged: #","event":"flagged""#
    case .approval: #","event":"approval""#
    case .limits: #","event":"limits""#
    }
  }
}

extension Via {
  /// As far as the host that it named.
  fileprivate var fieldToHost: StaticString {
    switch self {
    case .connect: #","via":"connect","host":""#
    case .http: #","via":"http","host":""#
    case .tls: #","via":"tls","host":""#
    case .address: #","via":"address","host":""#
    }
  }
}
