// `sluice top`: the log as a live table on a terminal, or once as plain text.
// It relies on LogView for what is shown and on Kernel.Terminal to give the terminal back on every way out.
import ArgumentParser
import Dashboard
import Gate
import Kernel
import LogView
import Policy

struct Top: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Watch the log: rates, refusals and bytes per client and host.",
    discussion: """
      Keys: q quits, s sorts by another column, / filters by gate, client or host, p
      pauses, j and k scroll. Reads only the log files, and follows rotation. With
      several gates, a column names the gate. Levels of buckets are estimates between
      the lines that tell them; with --policy limits are known from the start. Not on
      a terminal, or with --once, it prints the table once and ends.
      """)

  @OptionGroup var choice: LogChoice
  @Option(
    help: ArgumentHelp("The policy file, for its limits and its `log.file`.", valueName: "file"), completion: .policy)
  var policy: String?
  @Flag(help: "Print the table once, also on a terminal.") var once = false
  @Option(help: ArgumentHelp("The column to sort by.", valueName: "column")) var sort = TopSort.requests
  @Option(help: ArgumentHelp("Only rows whose gate, client or host holds this text.", valueName: "text")) var filter =
    ""

  func run() throws {
    let loaded = try policy.map { path in
      guard let policy = PolicyOnDisk.load(path) else { throw ExitCode(2) }
      return policy
    }
    let paths = try choice.paths(loaded)
    let name = LogFeed.name(paths)
    var state = TopState()
    state.sort = sort
    state.filter = filter
    var reader = TopReader(Tally(policy: loaded), try choice.open(paths, waits: !once && Terminal.isThere))
    do {
      if once || !Terminal.isThere {
        while try reader.read() {}
        reader.finish()
        var text = Array(TopScreen(reader.tally, state, nowMs: reader.tally.lastMs).text(source: name).utf8)
        try StandardOutput.write(&text)
      } else {
        try TopLoop(path: name, state: state).run(&reader)
      }
    } catch { try fail("\(error)") }
  }
}

extension TopSort: ExpressibleByArgument {}

private struct TopReader {
  private(set) var tally: Tally
  private var tail: LogFiles
  private var line = LogLine()
  private var broken = 0

  init(_ tally: Tally, _ tail: LogFiles) { (self.tally, self.tail) = (tally, tail) }

  /// One chunk; false when there is nothing more by now.
  mutating func read() throws(SystemError) -> Bool {
    let hasMore = try tail.read { bytes in
      if line.read(bytes) { tally.add(line) } else { broken += 1 }
      return true
    }
    tally.broken = broken + tail.torn
    return hasMore
  }

  mutating func finish() {
    tail.finish()
    tally.broken = broken + tail.torn
  }
}

private struct TopLoop {
  private static let waitMs = 100
  private static let drawEveryMs: UInt64 = 250

  let path: String
  var state: TopState
  private let isPlain = !(Environment.value("NO_COLOR") ?? "").isEmpty

  init(path: String, state: TopState) { (self.path, self.state) = (path, state) }

  func run(_ reader: inout TopReader) throws(SystemError) {
    let terminal = try Terminal()
    var state = state
    /// Figures of the moment when it was paused.
    var frozen: (tally: Tally, nowMs: Int64)?
    var drawnMs: UInt64 = 0
    while true {
      let hasMore = try reader.read()
      guard let keys = terminal.keys(timeoutMs: hasMore ? 0 : Self.waitMs) else { return }
      switch state.press(keys) {
      case .quit: return
      case .suspend: try terminal.suspend()
      case .goOn: break
      }
      let nowMs = Clock.wallMs()
      if !state.isPaused { frozen = nil } else if frozen == nil { frozen = (reader.tally, nowMs) }
      guard !keys.isEmpty || Clock.monotonicMs() - drawnMs >= Self.drawEveryMs else { continue }
      drawnMs = Clock.monotonicMs()
      let screen = TopScreen(frozen?.tally ?? reader.tally, state, nowMs: frozen?.nowMs ?? nowMs)
      try draw(screen, terminal.size)
    }
  }

  private func draw(_ screen: TopScreen, _ size: (rows: Int, columns: Int)) throws(SystemError) {
    let (lines, heading) = screen.lines(rows: size.rows, columns: size.columns, source: path)
    var out = Array("\u{1b}[H".utf8)
    for (index, line) in lines.enumerated() {
      let isHeading = index == heading && !isPlain
      out += "\(isHeading ? "\u{1b}[7m" : "")\(line)\(isHeading ? "\u{1b}[0m" : "")\u{1b}[K".utf8
      if index + 1 < lines.count { out += "\r\n".utf8 }
    }
    out += "\u{1b}[J".utf8
    try StandardOutput.write(&out)
  }
}
