// `sluice top` as lines of text: what fits a window, or all of it for a file; and what its keys do.
// It relies on Tally, whose texts are printable ASCII alone; nothing here talks to a terminal.
import Wire

package enum TopSort: String, CaseIterable, Sendable {
  case requests, refused, up, down, host

  var next: TopSort {
    let all = Self.allCases
    return all[((all.firstIndex(of: self) ?? 0) + 1) % all.count]
  }
}

package struct TopState: Sendable {
  package enum Answer: Equatable, Sendable { case goOn, quit, suspend }

  package var sort = TopSort.requests
  package var filter = ""
  package private(set) var isTyping = false
  package private(set) var isPaused = false
  package private(set) var scroll = 0
  private static let filterMax = 60

  package init() {}

  package mutating func press(_ keys: [UInt8]) -> Answer {
    // Arrows come as an escape and two letters.
    if keys.count >= 3, keys[0] == 0x1b, keys[1] == UInt8(ascii: "[") || keys[1] == UInt8(ascii: "O") {
      if keys[2] == UInt8(ascii: "A") { move(-1) }
      if keys[2] == UInt8(ascii: "B") { move(1) }
      return .goOn
    }
    for key in keys {
      let answer = isTyping ? type(key) : command(key)
      if answer != .goOn { return answer }
    }
    return .goOn
  }

  private mutating func type(_ key: UInt8) -> Answer {
    switch key {
    case 0x03: return .quit
    case 0x0d, 0x0a: isTyping = false
    case 0x1b: (isTyping, filter) = (false, "")
    case 0x7f, 0x08: if !filter.isEmpty { filter.removeLast() }
    case 0x15: filter = ""
    case 0x20..<0x7f where filter.utf8.count < Self.filterMax: filter.unicodeScalars.append(Unicode.Scalar(key))
    default: break
    }
    scroll = 0
    return .goOn
  }

  private mutating func command(_ key: UInt8) -> Answer {
    switch key {
    case 0x03, UInt8(ascii: "q"), UInt8(ascii: "Q"): return .quit
    case 0x1a: return .suspend
    case UInt8(ascii: "s"): (sort, scroll) = (sort.next, 0)
    case UInt8(ascii: "/"), UInt8(ascii: "f"): isTyping = true
    case UInt8(ascii: "p"), 0x20: isPaused.toggle()
    case UInt8(ascii: "j"): move(1)
    case UInt8(ascii: "k"): move(-1)
    case 0x1b: filter = ""
    default: break
    }
    return .goOn
  }

  private mutating func move(_ rows: Int) { scroll = min(max(0, scroll + rows), Tally.rowsMax) }
}

package struct TopScreen {
  private let tally: Tally
  private let state: TopState
  private let nowMs: Int64

  private static let latestShown = 5
  private static let hint = "Tunnels and requests show when they end: the log has no line for a beginning."
  private static let keys = "q quit  s sort  / filter  p pause  j k scroll"

  package init(_ tally: Tally, _ state: TopState, nowMs: Int64) {
    self.tally = tally
    self.state = state
    self.nowMs = nowMs
  }

  /// Exactly `rows` lines of at most `columns`; the second value is the one that is a heading.
  package func lines(rows: Int, columns: Int, source: String) -> (lines: [String], heading: Int) {
    let found = sorted()
    let below = 4 + Self.latestShown
    let room = max(1, rows - 4 - below)
    let layout = Layout(columns: columns, hasGates: hasGates)
    let first = min(state.scroll, max(0, found.count - room))
    var out = [status(source), Self.hint, "", layout.heading]
    out += found[first...].prefix(room).map { layout.line(of: $0, tally, nowMs) }
    while out.count < 4 + room { out.append("") }
    out += ["", reasons()]
    out.append("Latest refusals:")
    out += tally.latest.suffix(Self.latestShown).reversed().map(line(of:))
    while out.count < rows - 1 { out.append("") }
    out = Array(out.prefix(max(0, rows - 1)))
    out.append(state.isTyping ? "filter: \(state.filter)_  (Enter keeps it, Esc clears it)" : Self.keys)
    return (out.map { String($0.prefix(max(1, columns))) }, 3)
  }

  /// All there is, for a file or a pipe.
  package func text(source: String) -> String {
    let layout = Layout(columns: 160, hasGates: hasGates)
    var out = [status(source), Self.hint, "", layout.heading]
    out += sorted().map { layout.line(of: $0, tally, nowMs) }
    out += ["", reasons(), "Latest refusals:"] + tally.latest.reversed().map(line(of:))
    return out.map { line in
      var line = line[...]
      while line.last == " " { line = line.dropLast() }
      return line + "\n"
    }.joined()
  }

  private func status(_ source: String) -> String {
    var parts = ["sluice top", "\(Self.time(nowMs)) UTC", "\(tally.lines) lines"]
    if tally.broken > 0 { parts.append("\(tally.broken) broken") }
    parts.append("sort: \(state.sort.rawValue)")
    if !state.filter.isEmpty { parts.append("filter: \(state.filter)") }
    if state.isPaused { parts.append("PAUSED") }
    if !tally.unshared.isEmpty {
      parts.append("SHARED LIMITS OUT OF REACH: \(tally.unshared.sorted().prefix(3).joined(separator: ", "))")
    }
    parts.append(TerminalText.safe(source.utf8))
    return parts.joined(separator: "  ")
  }

  private func sorted() -> [Tally.Row] {
    let found = tally.rows.filter { row in
      state.filter.isEmpty || row.key.client.contains(state.filter) || row.key.host.contains(state.filter)
        || tally.gates[row.key.gate].contains(state.filter)
    }
    return found.sorted { one, other in
      let (left, right) = (rank(one), rank(other))
      if left != right { return left > right }
      return (one.key.client, one.key.host, one.key.gate) < (other.key.client, other.key.host, other.key.gate)
    }
  }

  private func rank(_ row: Tally.Row) -> UInt64 {
    switch state.sort {
    case .requests: UInt64(row.requests + row.wouldDeny)
    case .refused: UInt64(row.refused + row.wouldDeny)
    case .up: row.bytesUp
    case .down: row.bytesDown
    case .host: 0
    }
  }

  private func reasons() -> String {
    let sorted = tally.reasons.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    return "Refusals by reason: "
      + (sorted.isEmpty ? "none" : sorted.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
  }

  private var hasGates: Bool { tally.gates.count > 1 }

  private func line(of refusal: Tally.Refusal) -> String {
    let reason = refusal.isOnlyNoted ? "would deny: \(refusal.reason)" : refusal.reason
    let gate = hasGates ? "\(TerminalText.column(tally.gates[refusal.gate], 12))  " : ""
    return "  \(Self.time(refusal.timeMs))  \(gate)\(TerminalText.column(refusal.client, 12))  "
      + "\(TerminalText.column(refusal.target, 40, cutsFront: true))  \(reason)"
  }

  private static func time(_ ms: Int64) -> String {
    var text: [UInt8] = []
    Timestamp.append(unixMilliseconds: ms, to: &text)
    text[10] = UInt8(ascii: " ")
    return String(decoding: text.prefix(19), as: UTF8.self)
  }
}

/// Columns that fit the window.
private struct Layout {
  private enum Column: CaseIterable {
    case tokens, rate, ended, refused, would, failed, up, down, reason

    var title: String {
      switch self {
      case .tokens: "TOKENS"
      case .rate: "REQ/MIN"
      case .ended: "ENDED"
      case .refused: "REFUSED"
      case .would: "WOULD"
      case .failed: "FAILED"
      case .up: "UP"
      case .down: "DOWN"
      case .reason: "LAST REFUSAL"
      }
    }

    var width: Int {
      switch self {
      case .tokens: 22
      case .rate: 11
      case .ended, .refused: 7
      case .would, .failed: 6
      case .up, .down: 7
      case .reason: 16
      }
    }

    var isText: Bool { self == .tokens || self == .reason }
  }

  private static let clientWidth = 10
  private static let hostWidthMin = 16
  /// Columns that a narrow window does without come last.
  private static let byWorth: [Column] = [.rate, .refused, .up, .down, .tokens, .ended, .reason, .failed, .would]

  private let shown: [Column]
  private let hostWidth: Int
  /// One gate alone needs no column.
  private let hasGates: Bool
  private static let gateWidth = 12

  init(columns: Int, hasGates: Bool) {
    self.hasGates = hasGates
    var left = columns - (hasGates ? Self.gateWidth + 2 : 0) - Self.clientWidth - 2 - Self.hostWidthMin
    var fitting: Set<Column> = []
    for column in Self.byWorth {
      guard column.width + 2 <= left else { break }
      left -= column.width + 2
      fitting.insert(column)
    }
    shown = Column.allCases.filter(fitting.contains)
    hostWidth = Self.hostWidthMin + min(max(0, left), 40)
  }

  var heading: String {
    join("GATE", "CLIENT", "HOST") { $0.title }
  }

  func line(of row: Tally.Row, _ tally: Tally, _ nowMs: Int64) -> String {
    let bucket = tally.bucket(row, nowMs: nowMs)
    return join(tally.gates[row.key.gate], row.key.client, row.key.host) { column in
      switch column {
      case .tokens: bucket.map { Self.bar($0.tokens, $0.capacity) } ?? "-"
      case .rate: "\(tally.perMinute(row, nowMs: nowMs))" + (bucket.map { "/\($0.perMinute)" } ?? "")
      case .ended: "\(row.ended)"
      case .refused: "\(row.refused)"
      case .would: "\(row.wouldDeny)"
      case .failed: "\(row.failed)"
      case .up: Amount.bytes(row.bytesUp)
      case .down: Amount.bytes(row.bytesDown)
      case .reason: row.lastReason
      }
    }
  }

  private func join(_ gate: String, _ client: String, _ host: String, _ text: (Column) -> String) -> String {
    var parts = hasGates ? [TerminalText.column(gate, Self.gateWidth)] : []
    parts += [
      TerminalText.column(client, Self.clientWidth), TerminalText.column(host, hostWidth, cutsFront: true),
    ]
    parts += shown.map { TerminalText.column(text($0), $0.width, alignsRight: !$0.isText) }
    return parts.joined(separator: "  ")
  }

  /// An estimate between two lines that told it.
  private static func bar(_ tokens: Int, _ capacity: Int) -> String {
    let width = 10
    let full = capacity > 0 ? min(width, (tokens * width + capacity - 1) / capacity) : 0
    return
      "[\(String(repeating: "#", count: full))\(String(repeating: ".", count: width - full))] ~\(tokens)/\(capacity)"
  }
}
