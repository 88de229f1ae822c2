// A line of the log in the form that a log store knows: ECS, OCSF, or the data model of OpenTelemetry.
// It relies on docs/log-export.md for the tables, which a test holds to what is written here: no field is left out.
import Wire

package enum ExportFormat: String, CaseIterable, Sendable {
  case ecs, ocsf
  case otlp = "otlp-json"
}

/// Lines in one form, each an object on a line of its own.
package struct LineExport: Sendable {
  private let format: ExportFormat

  package init(_ format: ExportFormat) { self.format = format }

  /// With the end of the line.
  package func append(_ line: borrowing LogLine, to out: inout [UInt8]) {
    var writer = JSONWriter()
    switch format {
    case .ecs: ECSFormat.write(line, to: &writer)
    case .ocsf: OCSFFormat.write(line, to: &writer)
    case .otlp:
      var record = JSONWriter()
      OTLPFormat.writeRecord(line, to: &record)
      OTLPFormat.writeRequest([(gate: line.gateName, records: [record.bytes])], to: &writer)
    }
    out += writer.bytes
    out.append(UInt8(ascii: "\n"))
  }
}

/// Facts of a line that all formats use beside its fields.
extension LogLine {
  var gateName: [UInt8] { bytes(.gate).map { Array($0) } ?? [] }

  /// A line that is sent twice has the same id both times. `seq` alone begins anew with each process.
  var recordID: String {
    "\(String(decoding: gateName, as: UTF8.self))/\(text(.time) ?? "-")/\(number(.seq).map { "\($0)" } ?? "-")"
  }

  /// One sentence for a reader.
  var summary: String {
    var words = [text(.event) ?? "-"]
    if flag(.wouldDeny) { words.append("(let out in report mode)") }
    if let client = text(.client) { words.append(client) }
    if let host = text(.host) { words.append(port.map { "to \(host):\($0)" } ?? "to \(host)") }
    if let reason = text(.reason) { words.append(reason) }
    if let detail = text(.detail) { words.append("(\(detail))") }
    return words.joined(separator: " ")
  }

  /// The host where it is a name, or an address without brackets.
  var hostText: (name: ArraySlice<UInt8>?, address: ArraySlice<UInt8>?) {
    guard let host = bytes(.host) else { return (nil, nil) }
    if host.first == UInt8(ascii: "["), host.last == UInt8(ascii: "]") { return (nil, host.dropFirst().dropLast()) }
    return IPAddress(parsing: Array(host).span) == nil ? (host, nil) : (nil, host)
  }

  func other(_ name: StaticString) -> [UInt8]? {
    others.first { $0.name.elementsEqual("\(name)".utf8) }?.json
  }

  /// Writes the known fields under their own names, and all others but those that have a place elsewhere.
  func writeRest(_ fields: [LogField], except placed: [StaticString], to out: inout JSONWriter) {
    for field in fields {
      let name = Array(field.name.utf8)
      switch values[field.rawValue] {
      case .absent: continue
      case .text(let range):
        var json: [UInt8] = []
        JSONText.appendString(texts[range].span, to: &json)
        out.value(name, json: json)
      case .number(let number): out.value(name, json: "\(number)".utf8)
      case .flag(let flag): out.value(name, json: (flag ? "true" : "false").utf8)
      }
    }
    for other in others where !placed.contains(where: { "\($0)".utf8.elementsEqual(other.name) }) {
      out.value(other.name, json: other.json)
    }
  }

  /// The outcome of a request, as far as the formats tell outcomes apart.
  var verdict: LineVerdict {
    if flag(.wouldDeny) { return .noted }
    return switch event {
    case .denied, .limited: .refused
    case .flagged: has(.reason) ? .refused : .noted
    case .revoked: .cut
    case .failed: .failed
    case .closed: .ended
    case .policy, .credential, .approval, .limits, .other: .told
    }
  }
}

enum LineVerdict {
  case ended, refused, cut, failed
  /// The request went on; enforce mode or a stricter setting would have refused it.
  case noted
  /// A line about no request.
  case told
}
