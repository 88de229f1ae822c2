// A line as a document of the Elastic Common Schema, nested, with what the schema has no field for under `sluice`.
// It relies on ECS 8.17: event categories and types are of its closed lists.

enum ECSFormat {
  private static let version = "8.17.0"
  private static let rest: [LogField] = [
    .version, .via, .tokens, .capacity, .perMinute, .repeated, .probe, .wouldDeny, .inspected, .id, .detail,
  ]

  static func write(_ line: borrowing LogLine, to out: inout JSONWriter) {
    out.begin()
    if let time = line.bytes(.time) { out.text("@timestamp", time) }
    out.text("message", line.summary)
    out.begin("ecs")
    out.text("version", version)
    out.end()
    writeEvent(line, &out)
    out.begin("observer")
    if let gate = line.bytes(.gate) { out.text("name", gate) }
    out.text("type", "proxy")
    out.text("vendor", "Sluice")
    out.text("product", "Sluice")
    out.end()
    writeEnds(line, &out)
    writeHTTP(line, &out)
    if let rule = line.bytes(.rule) {
      out.begin("rule")
      out.text("name", rule)
      if let policy = line.bytes(.policy) { out.text("ruleset", policy) }
      out.end()
    }
    out.begin("sluice")
    // Without a rule there is no set that it is of.
    line.writeRest(
      line.has(.rule) ? rest : rest + [.policy], except: ["method", "status", "path"], to: &out)
    out.end()
    out.end()
  }

  private static func writeEvent(_ line: borrowing LogLine, _ out: inout JSONWriter) {
    let kinds = kinds(line)
    out.begin("event")
    out.text("id", line.recordID)
    out.text("kind", line.event == .flagged ? "alert" : "event")
    out.beginList("category")
    out.element(kinds.category)
    out.endList()
    out.beginList("type")
    for type in kinds.types { out.element(type) }
    out.endList()
    if let event = line.bytes(.event) { out.text("action", event) }
    out.text("module", "sluice")
    out.text("dataset", "sluice.log")
    if let outcome = outcome(line) { out.text("outcome", outcome) }
    if let reason = line.bytes(.reason) { out.text("reason", reason) }
    if let sequence = line.number(.seq) { out.number("sequence", sequence) }
    if let ms = line.number(.durationMs) {
      out.number("duration", ms.multipliedReportingOverflow(by: 1_000_000).partialValue)
    }
    out.end()
  }

  private static func kinds(_ line: borrowing LogLine) -> (category: String, types: [String]) {
    if line.event == .policy { return ("configuration", ["change"]) }
    if line.event == .flagged { return ("intrusion_detection", [line.verdict == .refused ? "denied" : "info"]) }
    return switch line.verdict {
    case .ended: ("network", ["connection", "end", "allowed"])
    case .refused: ("network", ["connection", "denied"])
    case .cut: ("network", ["connection", "end", "denied"])
    case .failed: ("network", ["connection", "end"])
    case .noted: ("network", ["connection", "allowed"])
    case .told: ("network", ["info"])
    }
  }

  private static func outcome(_ line: borrowing LogLine) -> String? {
    switch line.verdict {
    case .ended, .noted: "success"
    case .refused, .cut, .failed: "failure"
    case .told: nil
    }
  }

  /// `client` asked, `destination` was asked for; bytes count as the two sent them.
  private static func writeEnds(_ line: borrowing LogLine, _ out: inout JSONWriter) {
    if let client = line.bytes(.client) {
      out.begin("client")
      out.begin("user")
      out.text("name", client)
      out.end()
      out.end()
    }
    if let up = line.number(.bytesUp) {
      out.begin("source")
      out.number("bytes", up)
      out.end()
    }
    let (name, address) = line.hostText
    guard name != nil || address != nil || line.has(.port) || line.has(.bytesDown) || line.has(.address) else { return }
    out.begin("destination")
    if let host = name ?? address { out.text("address", host) }
    if let name { out.text("domain", name) }
    if let dialled = line.bytes(.address) ?? address { out.text("ip", dialled) }
    if let port = line.number(.port) { out.number("port", port) }
    if let down = line.number(.bytesDown) { out.number("bytes", down) }
    out.end()
  }

  private static func writeHTTP(_ line: borrowing LogLine, _ out: inout JSONWriter) {
    if let sni = line.bytes(.sni) {
      out.begin("tls")
      out.begin("client")
      out.text("server_name", sni)
      out.end()
      out.end()
    }
    let (method, status) = (line.other("method"), line.other("status"))
    if method != nil || status != nil {
      out.begin("http")
      if let method {
        out.begin("request")
        out.value("method", json: method)
        out.end()
      }
      if let status {
        out.begin("response")
        out.value("status_code", json: status)
        out.end()
      }
      out.end()
    }
    if let path = line.other("path") {
      out.begin("url")
      out.value("path", json: path)
      out.end()
    }
  }
}
