// A line as an event of the Open Cybersecurity Schema Framework, with what has no place in it under `unmapped`.
// It relies on OCSF 1.3: Network Activity (4001), DNS Activity (4003) for `via: dns`, and the base event for lines that
// are about no request; profiles `host` and `security_control`.

enum OCSFFormat {
  private static let version = "1.3.0"
  private static let rest: [LogField] = [
    .version, .via, .sni, .detail, .tokens, .capacity, .perMinute, .probe, .wouldDeny, .inspected, .id,
  ]

  private enum Class: UInt64 {
    case base = 0
    case network = 4001
    case dns = 4003

    var category: UInt64 { self == .base ? 0 : 4 }
  }

  static func write(_ line: borrowing LogLine, to out: inout JSONWriter) {
    let kind: Class = line.equals(.via, "dns") ? .dns : line.has(.host) ? .network : .base
    let activity = activity(line, kind)
    out.begin()
    out.number("class_uid", kind.rawValue)
    out.number("category_uid", kind.category)
    out.number("activity_id", activity.id)
    out.text("activity_name", activity.name)
    out.number("type_uid", kind.rawValue * 100 + activity.id)
    out.number("severity_id", severity(line))
    if let timeMs = line.timeMs {
      out.number("time", Int(clamping: timeMs))
      if let ms = line.number(.durationMs), let startMs = line.startMs {
        out.number("start_time", Int(clamping: startMs))
        out.number("end_time", Int(clamping: timeMs))
        out.number("duration", ms)
      }
    }
    if let count = line.number(.repeated) { out.number("count", count &+ 1) }
    out.text("message", line.summary)
    writeStatus(line, &out)
    if let disposition = disposition(line) {
      out.number("action_id", disposition.action)
      out.number("disposition_id", disposition.id)
    }
    writeMetadata(line, &out)
    if let gate = line.bytes(.gate) {
      out.begin("device")
      out.text("hostname", gate)
      out.number("type_id", 9)
      out.end()
    }
    writeEnds(line, kind, &out)
    if let rule = line.bytes(.rule) {
      out.begin("firewall_rule")
      out.text("uid", rule)
      out.end()
    }
    if let policy = line.bytes(.policy) {
      out.begin("policy")
      out.text("uid", policy)
      out.end()
    }
    out.begin("unmapped")
    line.writeRest(rest, except: [], to: &out)
    out.end()
    out.end()
  }

  private static func activity(_ line: borrowing LogLine, _ kind: Class) -> (id: UInt64, name: String) {
    if kind == .base { return (99, line.text(.event) ?? "other") }
    if kind == .dns { return (1, "Query") }
    return switch line.verdict {
    case .ended: (2, "Close")
    case .cut: (3, "Reset")
    case .failed: (4, "Fail")
    case .refused: (5, "Refuse")
    case .noted: (6, "Traffic")
    case .told: (99, line.text(.event) ?? "other")
    }
  }

  private static func severity(_ line: borrowing LogLine) -> UInt64 {
    switch line.event {
    case .flagged: 4
    case .denied, .revoked: line.flag(.wouldDeny) ? 2 : 3
    case .limited, .failed: 2
    case .closed, .policy, .credential, .approval, .limits, .other: 1
    }
  }

  /// 1 Allowed, 2 Denied; 1 Allowed, 2 Blocked, 15 Detected, 17 Logged, 24 Access Revoked, 26 Unauthorized, 27 Error.
  private static func disposition(_ line: borrowing LogLine) -> (action: UInt64, id: UInt64)? {
    switch line.verdict {
    case .ended: (1, 1)
    case .refused: (2, line.equals(.reason, "not_authenticated") ? 26 : 2)
    case .cut: (2, 24)
    case .failed: (1, 27)
    case .noted: (1, line.event == .flagged ? 15 : 17)
    case .told: nil
    }
  }

  private static func writeStatus(_ line: borrowing LogLine, _ out: inout JSONWriter) {
    switch line.verdict {
    case .ended, .noted: out.number("status_id", 1)
    case .refused, .cut, .failed: out.number("status_id", 2)
    case .told: break
    }
    if let reason = line.bytes(.reason) { out.text("status_code", reason) }
  }

  private static func writeMetadata(_ line: borrowing LogLine, _ out: inout JSONWriter) {
    out.begin("metadata")
    out.text("version", version)
    out.begin("product")
    out.text("name", "Sluice")
    out.text("vendor_name", "Sluice")
    out.end()
    out.beginList("profiles")
    out.element("host")
    out.element("security_control")
    out.endList()
    out.text("uid", line.recordID)
    if let event = line.bytes(.event) { out.text("event_code", event) }
    if let sequence = line.number(.seq) { out.number("sequence", sequence) }
    if let time = line.bytes(.time) { out.text("original_time", time) }
    out.end()
  }

  private static func writeEnds(_ line: borrowing LogLine, _ kind: Class, _ out: inout JSONWriter) {
    if let client = line.bytes(.client) {
      out.begin("src_endpoint")
      out.text("name", client)
      out.end()
    }
    if kind == .dns, let host = line.bytes(.host) {
      out.begin("query")
      out.text("hostname", host)
      out.end()
      if line.verdict == .refused { out.number("rcode_id", 3) }
    }
    if kind == .network {
      let (name, address) = line.hostText
      out.begin("dst_endpoint")
      if let name { out.text("hostname", name) }
      if let dialled = line.bytes(.address) ?? address { out.text("ip", dialled) }
      if let port = line.number(.port) { out.number("port", port) }
      out.end()
      out.begin("connection_info")
      out.number("direction_id", 2)
      out.number("protocol_num", 6)
      out.text("protocol_name", "tcp")
      out.end()
    }
    guard line.has(.bytesUp) || line.has(.bytesDown) else { return }
    out.begin("traffic")
    if let up = line.number(.bytesUp) { out.number("bytes_out", up) }
    if let down = line.number(.bytesDown) { out.number("bytes_in", down) }
    out.end()
  }
}
