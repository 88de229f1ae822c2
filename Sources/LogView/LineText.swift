// A line of the log in columns, for a reader: when, what, who, where to, why; then what is particular to it.
// It relies on TerminalText for every byte that came from the log.
import Wire

package struct LineText: Sendable {
  private let isColoured: Bool

  package init(isColoured: Bool) { self.isColoured = isColoured }

  package func append(_ line: borrowing LogLine, to out: inout [UInt8]) {
    let event = shown(.event, line)
    out += TerminalText.column(time(line), 23).utf8
    out += "  \(colour(line))\(TerminalText.column(event, 8))\(isColoured ? "\u{1b}[0m" : "")".utf8
    out += "  \(TerminalText.column(shown(.client, line), 10))".utf8
    out += "  \(TerminalText.column(shown(.via, line), 7))".utf8
    out += "  \(TerminalText.column(target(line), 36, cutsFront: true))".utf8
    var reason = shown(.reason, line)
    if line.flag(.wouldDeny) { reason = "would deny: \(reason)" }
    out += "  \(TerminalText.column(reason, 15))".utf8
    appendDetails(line, to: &out)
    while out.last == UInt8(ascii: " ") { out.removeLast() }
    out.append(UInt8(ascii: "\n"))
  }

  private func shown(_ field: LogField, _ line: borrowing LogLine) -> String {
    line.bytes(field).map { TerminalText.safe($0) } ?? ""
  }

  private func time(_ line: borrowing LogLine) -> String {
    guard let timeMs = line.timeMs else { return "-" }
    var text: [UInt8] = []
    Timestamp.append(unixMilliseconds: timeMs, to: &text)
    text[10] = UInt8(ascii: " ")
    return String(decoding: text.dropLast(), as: UTF8.self)
  }

  private func target(_ line: borrowing LogLine) -> String {
    let host = shown(.host, line)
    return line.port.map { "\(host):\($0)" } ?? host
  }

  private func colour(_ line: borrowing LogLine) -> String {
    guard isColoured else { return "" }
    if line.flag(.wouldDeny) { return "\u{1b}[36m" }
    return switch line.event {
    case .denied: "\u{1b}[31m"
    case .limited, .revoked: "\u{1b}[33m"
    case .failed: "\u{1b}[35m"
    case .closed: "\u{1b}[32m"
    case .policy: "\u{1b}[34m"
    case .other: "\u{1b}[1m"
    }
  }

  private func appendDetails(_ line: borrowing LogLine, to out: inout [UInt8]) {
    var details: [String] = []
    if let up = line.number(.bytesUp), let down = line.number(.bytesDown) {
      details.append("up=\(Amount.bytes(up)) down=\(Amount.bytes(down))")
    }
    if let ms = line.number(.durationMs) { details.append("took=\(Amount.milliseconds(ms))") }
    if let tokens = line.number(.tokens), let capacity = line.number(.capacity) {
      details.append("tokens=\(tokens)/\(capacity) per_minute=\(line.number(.perMinute) ?? 0)")
    }
    for field in [LogField.address, .sni, .rule, .id] where line.has(field) {
      details.append("\(field.name)=\(shown(field, line))")
    }
    if line.event == .policy { details.append("policy=\(shown(.policy, line))") }
    for other in line.others.prefix(8) {
      details.append("\(TerminalText.safe(other.name))=\(TerminalText.safe(other.json.prefix(200)))")
    }
    out += "  \(details.joined(separator: " "))".utf8
  }
}

/// Numbers as a reader wants them.
package enum Amount {
  package static func bytes(_ count: UInt64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var unit = 0
    while unit + 1 < units.count, count >> (UInt64(unit + 1) * 10) > 0 { unit += 1 }
    if unit == 0 { return "\(count)B" }
    let tenths = (count >> (UInt64(unit) * 10 - 10)) * 10 / 1024
    return tenths < 100 ? "\(tenths / 10).\(tenths % 10)\(units[unit])" : "\(tenths / 10)\(units[unit])"
  }

  package static func milliseconds(_ ms: UInt64) -> String {
    if ms < 1000 { return "\(ms)ms" }
    if ms < 60_000 { return "\(ms / 1000).\(ms % 1000 / 100)s" }
    if ms < 3_600_000 { return "\(ms / 60_000)m\(ms / 1000 % 60)s" }
    return "\(ms / 3_600_000)h\(ms / 60_000 % 60)m"
  }

  /// `1 time`, `3 times`.
  package static func times(_ count: Int) -> String { count == 1 ? "1 time" : "\(count) times" }
}
