// A line as a log record of OpenTelemetry, and records as a request of OTLP/HTTP in JSON (protobuf's JSON form: 64-bit
// numbers are texts). It relies on the semantic conventions for names that they have; others begin with `sluice.`.

enum OTLPFormat {
  /// Attributes, by the field that they come from; those that stand elsewhere in a record are nil.
  static func attribute(_ field: LogField) -> StaticString? {
    switch field {
    case .time, .gate, .event: nil
    case .version: "sluice.v"
    case .seq: "sluice.seq"
    case .id: "sluice.id"
    case .client: "sluice.client"
    case .via: "sluice.via"
    case .host: "server.address"
    case .port: "server.port"
    case .sni: "tls.client.server_name"
    case .rule: "sluice.rule"
    case .policy: "sluice.policy"
    case .reason: "sluice.reason"
    case .detail: "sluice.detail"
    case .address: "network.peer.address"
    case .wouldDeny: "sluice.would_deny"
    case .bytesUp: "sluice.bytes_up"
    case .bytesDown: "sluice.bytes_down"
    case .durationMs: "sluice.duration_ms"
    case .inspected: "sluice.inspected"
    case .tokens: "sluice.tokens"
    case .capacity: "sluice.capacity"
    case .perMinute: "sluice.per_minute"
    case .repeated: "sluice.repeated"
    case .probe: "sluice.probe"
    }
  }

  private static func attribute(other name: [UInt8]) -> [UInt8] {
    switch String(decoding: name, as: UTF8.self) {
    case "method": Array("http.request.method".utf8)
    case "status": Array("http.response.status_code".utf8)
    case "path": Array("url.path".utf8)
    default: Array("sluice.".utf8) + name
    }
  }

  // MARK: - A record

  static func writeRecord(_ line: borrowing LogLine, to out: inout JSONWriter) {
    let (number, name) = severity(line)
    out.begin()
    if let timeMs = line.timeMs {
      let time = "\(timeMs)000000"
      out.text("timeUnixNano", time)
      out.text("observedTimeUnixNano", time)
    }
    out.number("severityNumber", number)
    out.text("severityText", name)
    if let event = line.text(.event) { out.text("eventName", "sluice.\(event)") }
    out.begin("body")
    out.text("stringValue", line.summary)
    out.end()
    out.beginList("attributes")
    writeText("log.record.uid", Array(line.recordID.utf8)[...], &out)
    for field in LogField.allCases {
      guard let key = attribute(field) else { continue }
      switch line.values[field.rawValue] {
      case .absent: continue
      case .text(let range): writeText(key, line.texts[range], &out)
      case .number(let number): write(key, &out) { $0.text("intValue", "\(number)") }
      case .flag(let flag): write(key, &out) { $0.flag("boolValue", flag) }
      }
    }
    for other in line.others { write(other, &out) }
    out.endList()
    out.end()
  }

  /// OpenTelemetry's numbers: 9 INFO, 13 WARN, 17 ERROR.
  private static func severity(_ line: borrowing LogLine) -> (UInt64, String) {
    switch line.event {
    case .denied, .limited, .revoked, .flagged: (13, "WARN")
    case .failed: (17, "ERROR")
    case .closed, .policy, .credential, .approval, .limits, .other: (9, "INFO")
    }
  }

  private static func writeText(_ key: StaticString, _ text: ArraySlice<UInt8>, _ out: inout JSONWriter) {
    write(key, &out) { $0.text("stringValue", text) }
  }

  private static func write(_ key: StaticString, _ out: inout JSONWriter, _ value: (inout JSONWriter) -> Void) {
    out.begin()
    out.text("key", "\(key)")
    out.begin("value")
    value(&out)
    out.end()
    out.end()
  }

  /// A text, a whole number or a truth value keeps its kind; any other value is its JSON as text.
  private static func write(_ other: LogLine.Other, _ out: inout JSONWriter) {
    out.begin()
    out.text("key", attribute(other: other.name)[...])
    out.begin("value")
    let json = other.json
    if json.first == UInt8(ascii: "\"") {
      out.value("stringValue", json: json)
    } else if json.elementsEqual("true".utf8) || json.elementsEqual("false".utf8) {
      out.value("boolValue", json: json)
    } else if let number = Int.init(String(decoding: json, as: UTF8.self)) {
      out.text("intValue", "\(number)")
    } else {
      out.text("stringValue", json[...])
    }
    out.end()
    out.end()
  }

  // MARK: - A request

  /// Records of one gate share a resource.
  static func writeRequest(_ groups: [(gate: [UInt8], records: [[UInt8]])], to out: inout JSONWriter) {
    out.begin()
    out.beginList("resourceLogs")
    for group in groups {
      out.begin()
      out.begin("resource")
      out.beginList("attributes")
      writeText("service.name", Array("sluice".utf8)[...], &out)
      if !group.gate.isEmpty { writeText("service.instance.id", group.gate[...], &out) }
      out.endList()
      out.end()
      out.beginList("scopeLogs")
      out.begin()
      out.begin("scope")
      out.text("name", "sluice.log")
      out.end()
      out.beginList("logRecords")
      for record in group.records { out.element(json: record) }
      out.endList()
      out.end()
      out.endList()
      out.end()
    }
    out.endList()
    out.end()
  }
}

/// Records on their way to a collector: a request's worth of them.
package struct OTLPBatch {
  package static let recordsMax = 1000
  package static let bytesMax = 1 << 20

  private var groups: [(gate: [UInt8], records: [[UInt8]])] = []
  package private(set) var count = 0
  private var byteCount = 0

  package init() {}

  package var isFull: Bool { count >= Self.recordsMax || byteCount >= Self.bytesMax }

  package mutating func add(_ line: borrowing LogLine) {
    var record = JSONWriter()
    OTLPFormat.writeRecord(line, to: &record)
    let gate = line.gateName
    count += 1
    byteCount += record.bytes.count
    if let index = groups.firstIndex(where: { $0.gate == gate }) {
      groups[index].records.append(record.bytes)
    } else {
      groups.append((gate, [record.bytes]))
    }
  }

  package var request: [UInt8] {
    var writer = JSONWriter()
    OTLPFormat.writeRequest(groups, to: &writer)
    return writer.bytes
  }
}
