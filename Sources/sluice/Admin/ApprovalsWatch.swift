// `sluice approvals --watch` on a terminal: entries as they come, and keys that decide the chosen one.
// It relies on the choice being an id: a new entry never moves it, and takes no key in its first second.
import ArgumentParser
import Gate
import Kernel
import LogView
import Wire

struct ApprovalsWatch {
  private static let waitMs = 200
  private static let settleMs: UInt64 = 1_000

  let options: AdminOptions
  private var items: [ApprovalItem] = []
  private var shownSinceMs: [String: UInt64] = [:]
  private var chosen: String?
  private var said = ""

  init(options: AdminOptions) { self.options = options }

  func run() throws {
    let terminal = try Terminal()
    var view = self
    while true {
      try view.read()
      try view.draw(terminal.size)
      guard let keys = terminal.keys(timeoutMs: Self.waitMs) else { return }
      for key in keys {
        switch key {
        case UInt8(ascii: "q"), 3, 4: return
        case 26: try terminal.suspend()
        default: try view.press(key)
        }
      }
    }
  }

  /// Entries keep their order: who is asked first stands first.
  private mutating func read() throws {
    items = try options.gates().flatMap { try ApprovalItem.all(at: $0) }.filter(\.isOpen)
    let nowMs = Clock.monotonicMs()
    let ids = Set(items.map(\.id))
    shownSinceMs = shownSinceMs.filter { ids.contains($0.key) }
    for id in ids where shownSinceMs[id] == nil { shownSinceMs[id] = nowMs }
    if let chosen, !ids.contains(chosen) { self.chosen = nil }
  }

  private mutating func press(_ key: UInt8) throws {
    switch key {
    case UInt8(ascii: "j"): move(1)
    case UInt8(ascii: "k"): move(-1)
    case UInt8(ascii: "o"): try decide("approve", [JSONMember("for", .text("once"))])
    case UInt8(ascii: "h"): try decide("approve", [JSONMember("for", .text("1h"))])
    case UInt8(ascii: "s"): try decide("approve", [JSONMember("for", .text("session"))])
    case UInt8(ascii: "r"): try decide("refuse", [])
    default: break
    }
  }

  private mutating func move(_ step: Int) {
    let place = items.firstIndex { $0.id == chosen }
    let next = place.map { $0 + step } ?? (step > 0 ? 0 : items.count - 1)
    if items.indices.contains(next) { chosen = items[next].id }
  }

  private mutating func decide(_ command: String, _ members: [JSONMember]) throws {
    guard let item = items.first(where: { $0.id == chosen }) else {
      said = "choose an entry first, with j and k"
      return
    }
    guard let sinceMs = shownSinceMs[item.id], Clock.monotonicMs() >= sinceMs + Self.settleMs else {
      said = "\(item.id) was added just now; read it first"
      return
    }
    do throws(AdminFailure) {
      var client = try AdminClient(item.gate)
      let answer = try client.ask(.command(command, [JSONMember("id", .text(item.id))] + members))
      let isDone = answer["ok"]?.asBool == true
      said =
        isDone
        ? "\(item.id): \(command == "approve" ? "approved" : "refused")" : Text.plain(AdminClient.error(in: answer))
    } catch {
      said = Text.plain("\(error)")
    }
  }

  private func draw(_ size: (rows: Int, columns: Int)) throws(SystemError) {
    var lines = ["j k choose   o once   h one hour   s session   r refuse   q quit", ""]
    let table = Text.table([ApprovalItem.headings] + items.map(\.row)).split(separator: "\n").map(String.init)
    lines.append("  \(table[0])")
    for (item, row) in zip(items, table.dropFirst()) {
      lines.append((item.id == chosen ? "> " : "  ") + row)
      lines += item.warnings.map { "      ! \($0)" }
    }
    if items.isEmpty { lines.append("  nothing waits") }
    lines += ["", said]
    var out = Array("\u{1b}[H".utf8)
    for line in lines.prefix(size.rows) { out += "\(TerminalText.column(line, size.columns))\u{1b}[K\r\n".utf8 }
    out += "\u{1b}[J".utf8
    try StandardOutput.write(&out)
  }
}
