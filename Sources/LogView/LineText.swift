// A line of the log in columns, for a reader: when, what, who, where to, why; then what is particular to it.
// It relies on TerminalText for every byte that came from the log.
import Wire

package struct LineText: Sendable {
  private let isColoured: Bool
  /// Width of the window; nil: a line is as long as its text.
  private let columns: Int?
  private let hasDate: Bool
  private let hasGate: Bool
  private let hostWidth: Int

  private static let hostWidthMax = 36
  /// Time of day, event, client, via and reason, each with its two blanks.
  private static let fixedWidth = 14 + 12 + 12 + 9 + 17
  private static let dateWidth = 11
  private static let gateWidth = 12
  private static let columnsMin = 40

  /// `hasGate`: lines of several gates are told apart by a column.
  package init(isColoured: Bool, columns: Int? = nil, hasGate: Bool = false) {
    (self.isColoured, self.hasGate) = (isColoured, hasGate)
    self.columns = columns.map { max($0, Self.columnsMin) }
    let room = columns.map { $0 - Self.fixedWidth - 2 - (hasGate ? Self.gateWidth + 2 : 0) } ?? Self.hostWidthMax
    hasDate = columns == nil || room >= Self.hostWidthMax + Self.dateWidth
    hostWidth = min(Self.hostWidthMax, max(16, room))
  }

  /// Written straight into the buffer: a String for each column was half the cost of a line.
  package func append(_ line: borrowing LogLine, to out: inout [UInt8]) {
    let start = out.count
    column(hasDate ? 23 : 12, &out) { appendTime(line, &$0) }
    let colours = out.count
    if isColoured { out += colour(line).utf8 }
    let event = out.count
    column(10, &out) { bytes in
      if line.flag(.wouldDeny) { bytes += "would deny".utf8 } else { append(.event, line, &bytes) }
    }
    var invisible = event - colours
    if isColoured {
      out += "\u{1b}[0m".utf8
      invisible += 4
    }
    if hasGate { column(Self.gateWidth, &out) { append(.gate, line, &$0) } }
    column(10, &out) { append(.client, line, &$0) }
    column(7, &out) { append(.via, line, &$0) }
    column(hostWidth, cutsFront: true, &out) { bytes in
      append(.host, line, &bytes)
      if let port = line.port { bytes += ":\(port)".utf8 }
    }
    column(15, &out) { append(.reason, line, &$0) }
    appendDetails(line, to: &out)
    while out.last == UInt8(ascii: " ") { out.removeLast() }
    if let columns { cut(&out, to: start + invisible + columns) }
    out.append(UInt8(ascii: "\n"))
  }

  /// The text of `body`, cut or padded to the width, and two blanks. Of a host the end counts, so its front is cut.
  private func column(_ width: Int, cutsFront: Bool = false, _ out: inout [UInt8], _ body: (inout [UInt8]) -> Void) {
    let start = out.count
    body(&out)
    let excess = out.count - start - width
    if excess > 0, cutsFront {
      out.removeSubrange(start..<(start + excess))
      out[start] = UInt8(ascii: "~")
    } else if excess > 0 {
      out.removeLast(excess)
      out[out.count - 1] = UInt8(ascii: "~")
    }
    while out.count < start + width + 2 { out.append(UInt8(ascii: " ")) }
  }

  /// Colours end before the fourth column, so the end of a line holds none.
  private func cut(_ out: inout [UInt8], to end: Int) {
    guard out.count > end else { return }
    out.removeLast(out.count - end)
    out[end - 1] = UInt8(ascii: "~")
  }

  private func append(_ field: LogField, _ line: borrowing LogLine, _ out: inout [UInt8]) {
    if let bytes = line.bytes(field) { TerminalText.append(bytes, to: &out) }
  }

  private func appendTime(_ line: borrowing LogLine, _ out: inout [UInt8]) {
    guard let timeMs = line.timeMs else { return out.append(UInt8(ascii: "-")) }
    let start = out.count
    Timestamp.append(unixMilliseconds: timeMs, to: &out)
    out[start + 10] = UInt8(ascii: " ")
    out.removeLast()
    if !hasDate { out.removeSubrange(start..<(start + Self.dateWidth)) }
  }

  private func colour(_ line: borrowing LogLine) -> String {
    if line.flag(.wouldDeny) { return "\u{1b}[36m" }
    return switch line.event {
    case .denied: "\u{1b}[31m"
    case .limited, .revoked: "\u{1b}[33m"
    case .failed: "\u{1b}[35m"
    case .closed: "\u{1b}[32m"
    case .policy: "\u{1b}[34m"
    case .flagged: "\u{1b}[35m"
    case .credential, .approval, .limits, .other: "\u{1b}[1m"
    }
  }

  private func appendDetails(_ line: borrowing LogLine, to out: inout [UInt8]) {
    if let up = line.number(.bytesUp), let down = line.number(.bytesDown) {
      out += "up=\(Amount.bytes(up)) down=\(Amount.bytes(down)) ".utf8
    }
    if let ms = line.number(.durationMs) { out += "took=\(Amount.milliseconds(ms)) ".utf8 }
    if let tokens = line.number(.tokens), let capacity = line.number(.capacity) {
      out += "tokens=\(tokens)/\(capacity) per_minute=\(line.number(.perMinute) ?? 0) ".utf8
    }
    for field in [LogField.detail, .address, .sni, .rule, .id] { appendDetail(field, line, &out) }
    if line.event == .policy { appendDetail(.policy, line, &out) }
    for other in line.others.prefix(8) {
      TerminalText.append(other.name.prefix(64), to: &out)
      out.append(UInt8(ascii: "="))
      TerminalText.append(other.json.prefix(200), to: &out)
      out.append(UInt8(ascii: " "))
    }
  }

  private func appendDetail(_ field: LogField, _ line: borrowing LogLine, _ out: inout [UInt8]) {
    guard let bytes = line.bytes(field) else { return }
    out += LogField.names[field.rawValue]
    out.append(UInt8(ascii: "="))
    TerminalText.append(bytes.prefix(300), to: &out)
    out.append(UInt8(ascii: " "))
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
