// One line of the log as a value: the fields that views ask for, by name, and what else stood in it, kept aside.
// It relies on LineParser, which fills it; one value is used for all lines, so that a line costs no allocation.
package import Wire

/// The fields of docs/log.md, in the order in which the gate writes them.
package enum LogField: Int, CaseIterable, Sendable {
  case version, time, seq, gate, event, id, client, via, host, port, sni, rule, policy, reason, detail, address,
    wouldDeny
  case bytesUp, bytesDown, durationMs, inspected, tokens, capacity, perMinute, repeated, probe

  package var name: String {
    switch self {
    case .version: "v"
    case .time: "time"
    case .seq: "seq"
    case .gate: "gate"
    case .event: "event"
    case .id: "id"
    case .client: "client"
    case .via: "via"
    case .host: "host"
    case .port: "port"
    case .sni: "sni"
    case .rule: "rule"
    case .policy: "policy"
    case .reason: "reason"
    case .detail: "detail"
    case .address: "address"
    case .wouldDeny: "would_deny"
    case .bytesUp: "bytes_up"
    case .bytesDown: "bytes_down"
    case .durationMs: "duration_ms"
    case .inspected: "inspected"
    case .tokens: "tokens"
    case .capacity: "capacity"
    case .perMinute: "per_minute"
    case .repeated: "repeated"
    case .probe: "probe"
    }
  }

  static let names = allCases.map { Array($0.name.utf8) }
}

/// A field that views ask for by name: looked up once, as a log has millions of lines.
struct NamedField: Sendable {
  let bytes: [UInt8]
  let field: LogField?

  init(_ name: String) {
    bytes = Array(name.utf8)
    field = LogField.allCases.first { $0.name == name }
  }

  static let method = NamedField("method")
  static let path = NamedField("path")
  static let credential = NamedField("credential")
}

package struct LogLine: Sendable {
  enum Value: Equatable, Sendable {
    case absent
    /// Where its text stands in `texts`, without escapes.
    case text(Range<Int>)
    case number(UInt64)
    case flag(Bool)
  }

  /// A field that this version does not know: its name, and its value as JSON that was checked.
  package struct Other: Equatable, Sendable {
    package let name: [UInt8]
    package let json: [UInt8]
  }

  /// More of them, or longer ones, are dropped.
  static let othersMax = 32
  static let otherBytesMax = 4096

  var texts: [UInt8] = []
  var values = [Value](repeating: .absent, count: LogField.allCases.count)
  package internal(set) var others: [Other] = []
  /// Unix milliseconds; nil when the line has no time.
  package internal(set) var timeMs: Int64?
  /// Of the last second that was seen: most lines share theirs with the one before.
  private var secondText: [UInt8] = []
  private var secondMs: Int64 = 0

  package init() {}

  /// False when it is no line of a log: broken, torn, nested too deep, or without an event.
  package mutating func read(_ line: Span<UInt8>) -> Bool {
    texts.removeAll(keepingCapacity: true)
    for index in values.indices { values[index] = .absent }
    if !others.isEmpty { others.removeAll() }
    timeMs = nil
    var parser = LineParser(at: 0)
    guard parser.read(line, into: &self), bytes(.event) != nil else { return false }
    readTime()
    return true
  }

  // MARK: - Fields

  package func has(_ field: LogField) -> Bool { values[field.rawValue] != .absent }

  package func bytes(_ field: LogField) -> ArraySlice<UInt8>? {
    guard case .text(let range) = values[field.rawValue] else { return nil }
    return texts[range]
  }

  /// Invalid UTF-8 is U+FFFD in it.
  package func text(_ field: LogField) -> String? {
    guard case .text(let range) = values[field.rawValue] else { return nil }
    return String(decoding: texts[range], as: UTF8.self)
  }

  package func number(_ field: LogField) -> UInt64? {
    guard case .number(let number) = values[field.rawValue] else { return nil }
    return number
  }

  /// A text by its name, whether or not this version has a field for it; nil where it is no text.
  func text(_ name: NamedField) -> String? {
    if let field = name.field { return text(field) }
    guard !others.isEmpty, let other = others.first(where: { $0.name == name.bytes }) else { return nil }
    // Half surrogates are no text.
    do throws(JSONProblem) { return try JSONValue.parse(other.json).asText } catch { return nil }
  }

  /// Bytes that tell one value of the field from another: a text, or JSON where this version has no such field.
  func bytes(_ name: NamedField) -> ArraySlice<UInt8>? {
    if let field = name.field { return bytes(field) }
    return others.first { $0.name == name.bytes }.map { $0.json[...] }
  }

  package func flag(_ field: LogField) -> Bool { values[field.rawValue] == .flag(true) }

  package func equals(_ field: LogField, _ text: StaticString) -> Bool {
    bytes(field).map { $0.elementsEqual("\(text)".utf8) } ?? false
  }

  package var event: LogEventKind { LogEventKind(bytes(.event) ?? []) }

  /// True if something was not let out. What is flagged with a reason was; without one it went on, marked.
  package var isRefusal: Bool {
    let event = event
    return event == .denied || event == .limited || event == .flagged && has(.reason)
  }

  /// A line of somebody else's may say any number; a second of a gate has far fewer.
  private static let repeatedMax: UInt64 = 1 << 31

  /// How many of the same the line stands for: refusals that repeat within a second share one.
  package var count: Int { 1 + Int(clamping: min(number(.repeated) ?? 0, Self.repeatedMax)) }

  /// The self-check of a sandbox asked, and not what runs in it.
  package var isProbe: Bool { flag(.probe) }

  package var port: UInt16? { number(.port).flatMap { UInt16(exactly: $0) } }

  /// The host as the gate writes it: nil when there is none, or it is nothing that a gate would have written.
  package var host: Host? {
    guard let bytes = bytes(.host), let first = bytes.first, bytes.count <= 255 else { return nil }
    if first == UInt8(ascii: "["), bytes.last == UInt8(ascii: "]") {
      return IPAddress(parsing: Array(bytes.dropFirst().dropLast()).span).map { .address($0) }
    }
    do throws(HostNameProblem) { return try Host(parsing: Array(bytes).span) } catch { return nil }
  }

  /// A hundred years: a line of somebody else's may say any number.
  private static let durationMsMax: UInt64 = 3_155_760_000_000

  /// When what the line is about began.
  package var startMs: Int64? {
    timeMs.map { $0 &- Int64(clamping: min(number(.durationMs) ?? 0, Self.durationMsMax)) }
  }

  private mutating func readTime() {
    guard case .text(let range) = values[LogField.time.rawValue] else { return }
    let text = texts[range]
    // The gate's own form, 2026-01-02T03:04:05.678Z; any other RFC 3339 time is read to its second.
    guard text.count == 24, text[text.startIndex + 19] == UInt8(ascii: "."), text.last == UInt8(ascii: "Z") else {
      timeMs = Timestamp.parse(String(decoding: text, as: UTF8.self)).map { $0 * 1000 }
      return
    }
    if !text.prefix(19).elementsEqual(secondText) {
      guard let seconds = Timestamp.parse(String(decoding: text, as: UTF8.self)) else { return }
      secondText = Array(text.prefix(19))
      secondMs = seconds * 1000
    }
    var fraction: Int64 = 0
    for byte in text[(text.startIndex + 20)..<(text.startIndex + 23)] {
      guard byte.isDigit else { return }
      fraction = fraction * 10 + Int64(byte & 0x0f)
    }
    timeMs = secondMs + fraction
  }
}

/// The log's `event`; a line of a later version may have another.
package enum LogEventKind: String, CaseIterable, Sendable {
  case denied, limited, closed, failed, revoked, policy, credential, flagged, approval, limits, other

  /// Place among all cases.
  var place: Int {
    switch self {
    case .denied: 0
    case .limited: 1
    case .closed: 2
    case .failed: 3
    case .revoked: 4
    case .policy: 5
    case .credential: 6
    case .flagged: 7
    case .approval: 8
    case .limits: 9
    case .other: 10
    }
  }

  init(_ text: ArraySlice<UInt8>) {
    self =
      switch text.count {
      case 6 where text.elementsEqual("denied".utf8): .denied
      case 6 where text.elementsEqual("closed".utf8): .closed
      case 6 where text.elementsEqual("failed".utf8): .failed
      case 6 where text.elementsEqual("policy".utf8): .policy
      case 6 where text.elementsEqual("limits".utf8): .limits
      case 7 where text.elementsEqual("limited".utf8): .limited
      case 7 where text.elementsEqual("revoked".utf8): .revoked
      case 7 where text.elementsEqual("flagged".utf8): .flagged
      case 8 where text.elementsEqual("approval".utf8): .approval
      case 10 where text.elementsEqual("credential".utf8): .credential
      default: .other
      }
  }
}
