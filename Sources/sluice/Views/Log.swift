// `sluice log`: the lines of the log that are asked for, in columns for a reader, as they stand for a program.
// It relies on LogView for reading and for what may reach a terminal; nothing but the log file is read.
import ArgumentParser
import Flow
import Gate
import Intercept
import Kernel
import LogView
import Policy
import Wire

struct LogCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "log",
    abstract: "Show the log: filtered, followed, in columns on a terminal.",
    discussion: """
      Prints columns on a terminal, otherwise the unchanged JSON lines. Values of one
      option are alternatives; a line must match every option. --follow waits for new
      lines, also after a rotation. --format and --otlp write for log stores:
      docs/log-export.md.

      Exit status: 0 a line matched, 1 none did, 2 an error.

        sluice log --since 1h --event denied --event limited
        sluice log --follow --client sandbox --host '*.example.com'
        sluice log --follow --otlp http://127.0.0.1:4318 --cursor sent.json
      """)

  @OptionGroup var choice: LogChoice
  @Option(
    help: ArgumentHelp("A policy file, for the `log.file` that it names.", valueName: "file"), completion: .policy)
  var policy: String?
  @Flag(help: "Wait for new lines, and print them.") var follow = false
  @Option(
    help: ArgumentHelp("Only lines since this time: 90s, 30m, 1h, 2d ago, or an RFC 3339 time.", valueName: "time"))
  var since: String?
  @Option(help: ArgumentHelp("Only lines of this client. May repeat.", valueName: "name")) var client: [String] = []
  @Option(help: "Only lines about this host: NAME, *.NAME, an address, or one with :PORT. May repeat.")
  var host: [String] = []
  @Option(
    help: ArgumentHelp("Only lines with this reason, such as not_allowed. May repeat.", valueName: "reason"),
    completion: .list(Reason.allCases.map(\.rawValue)))
  var reason: [String] = []
  @Option(
    help: ArgumentHelp("Only lines of this event, such as denied. May repeat.", valueName: "event"),
    completion: .list(LogEvent.allCases.map(\.rawValue)))
  var event: [String] = []
  @Option(help: "Only lines of this connection (1f), or of one request on it (1f-2). May repeat.") var id: [String] = []
  @Option(help: ArgumentHelp("Only lines of this gate. May repeat.", valueName: "name")) var gate: [String] = []
  @Flag(help: "JSON lines, also on a terminal.") var json = false
  @Flag(help: "Columns, also to a file or a pipe.") var human = false
  @Option(help: ArgumentHelp("Print each line as an object of ECS, OCSF or OTLP.", valueName: "form"))
  var format: ExportFormat?
  @Option(
    help: ArgumentHelp(
      "Send the lines to an OpenTelemetry collector in place of printing them (OTLP/HTTP, JSON).",
      valueName: "http(s)://host:port"))
  var otlp: String?
  @Option(
    help: ArgumentHelp(
      "With --otlp: the file that records how far the log is sent; the next run continues there.", valueName: "file"),
    completion: .file())
  var cursor: String?
  @Option(
    name: .customLong("otlp-ca"),
    help: ArgumentHelp(
      "With --otlp: root certificates for the collector, in place of the system's.", valueName: "file"),
    completion: .file())
  var otlpCA: String?
  @Option(
    name: .customLong("otlp-headers"),
    help: ArgumentHelp("With --otlp: a file of header lines, such as Authorization: Bearer TOKEN.", valueName: "file"),
    completion: .file())
  var otlpHeaders: String?

  func run() throws {
    if [json, human, format != nil, otlp != nil].filter({ $0 }).count > 1 {
      try fail("--json, --human, --format and --otlp exclude each other; give one")
    }
    if otlp == nil, cursor != nil || otlpCA != nil || otlpHeaders != nil {
      try fail("--cursor, --otlp-ca and --otlp-headers go with --otlp URL")
    }
    let loaded = try policy.map { path in
      guard let policy = PolicyOnDisk.load(path) else { throw ExitCode(2) }
      return policy
    }
    let filter = try filter()
    if let otlp { return try send(otlp, filter, try choice.paths(loaded)) }
    let tail = try choice.open(try choice.paths(loaded), waits: follow)
    let isTerminal = StandardOutput.isTerminal
    let isHuman = human || (!json && isTerminal)
    let colours = isTerminal && (Environment.value("NO_COLOR") ?? "").isEmpty
    var printer = LogPrinter(
      filter: filter, export: format.map { LineExport($0) },
      text: isHuman
        ? LineText(
          isColoured: colours, columns: isTerminal ? Terminal.window?.columns : nil, hasGate: tail.areMany) : nil,
      isTerminal: isTerminal, tail: tail)
    do { try printer.run(follows: follow) } catch { try fail("\(error)") }
    if printer.matched == 0 { throw ExitCode(1) }
  }

  private func send(_ otlp: String, _ filter: LogFilter, _ paths: [String]) throws {
    let url: PostURL
    do { url = try PostURL(otlp, port: 4318, path: "/v1/logs") } catch { try fail("--otlp \(otlp): \(error)") }
    if let otlpCA, !url.isTLS { try fail("--otlp-ca \(otlpCA) works only with https; write --otlp https://…") }
    var roots: UpstreamTLS.PEM?
    if let otlpCA {
      guard let bytes = FileBytes.read(otlpCA, bytesMax: 8 << 20) else {
        try fail("\(otlpCA) cannot be read (it must exist, be readable, and be at most 8 MiB)")
      }
      roots = UpstreamTLS.PEM(path: otlpCA, bytes: bytes)
    }
    let fields = try otlpHeaders.map(OTLPSender.headers) ?? []
    let post = CollectorPost(url, type: "application/json", roots: roots, fields: fields)
    var sender = try OTLPSender(post: post, filter: filter, cursorPath: cursor)
    try sender.run(paths, follows: follow)
  }

  private func filter() throws -> LogFilter {
    var filter = LogFilter()
    filter.gates = Set(gate)
    filter.clients = Set(client)
    filter.reasons = Set(reason)
    filter.events = Set(event)
    filter.ids = Set(id)
    filter.hosts = try host.map { text in
      do { return try HostChoice.parse(text) } catch { try fail("--host \(text): \(error)") }
    }
    let known = Reason.allCases.map(\.rawValue)
    for word in reason where !known.contains(word) {
      Messages.warn("--reason \(word): this version has no such reason; known: \(known.joined(separator: ", "))")
    }
    let events = LogEvent.allCases.map(\.rawValue)
    for word in event where !events.contains(word) {
      Messages.warn("--event \(word): this version has no such event; known: \(events.joined(separator: ", "))")
    }
    if let since { filter.sinceMs = try Self.sinceMs(since) }
    return filter
  }

  static func sinceMs(_ text: String) throws -> Int64 {
    if let ms = Since.parse(text, nowMs: Clock.wallMs()) { return ms }
    try fail("--since \(text): write 90s, 30m, 1h, 2d, or an RFC 3339 time such as 2027-01-01T00:00:00Z")
  }
}

/// A host as `--host` takes it.
enum HostChoice {
  struct Problem: Error, CustomStringConvertible { let description: String }

  static func parse(_ text: String) throws -> (pattern: HostPattern, port: UInt16?) {
    let isWild = text.hasPrefix("*.")
    let bytes = Array((isWild ? text.dropFirst(2) : text[...]).utf8)
    // Port 0 is none: it is never a target's.
    let hasPort = text.hasSuffix("]") ? false : text.contains(":")
    do throws(AuthorityProblem) {
      let target = try Authority.parse(bytes.span, defaultPort: 1)
      let port = hasPort ? target.port : nil
      guard isWild else { return (.exact(target.host), port) }
      guard case .name(let parent) = target.host else { throw AuthorityProblem.emptyHost }
      return (.wildcard(parent), port)
    } catch {
      throw Problem(description: "\(error); write NAME, *.NAME, an address, or one of them with :PORT")
    }
  }
}

private struct LogPrinter {
  /// How long a followed file that is silent is left alone.
  private static let pauseMs: UInt32 = 50
  private static let bufferBytes = 64 << 10

  let filter: LogFilter
  /// nil: no other form of the line.
  let export: LineExport?
  /// nil: JSON.
  let text: LineText?
  let isTerminal: Bool
  var tail: LogFiles
  private(set) var matched = 0
  private var line = LogLine()
  private var broken = BrokenLines()
  private var out: [UInt8] = []

  init(filter: LogFilter, export: LineExport?, text: LineText?, isTerminal: Bool, tail: LogFiles) {
    (self.filter, self.export, self.text, self.isTerminal, self.tail) = (filter, export, text, isTerminal, tail)
  }

  mutating func run(follows: Bool) throws(SystemError) {
    var tail = tail
    while true {
      let hasMore = try tail.read { bytes in
        show(bytes)
        return true
      }
      if !hasMore || out.count >= Self.bufferBytes { try StandardOutput.write(&out) }
      if hasMore { continue }
      guard follows, tail.canGrow else { break }
      Clock.pause(ms: Self.pauseMs)
    }
    tail.finish()
    broken.say(tail)
  }

  private mutating func show(_ bytes: Span<UInt8>) {
    guard line.read(bytes) else {
      broken.count += 1
      return
    }
    guard filter.matches(line) else { return }
    matched += 1
    if let export { return write(export) }
    if let text {
      text.append(line, to: &out)
      return
    }
    if isTerminal { TerminalText.appendJSON(bytes, to: &out) } else { out.append(bytes) }
    out.append(UInt8(ascii: "\n"))
  }

  private mutating func write(_ export: LineExport) {
    guard isTerminal else { return export.append(line, to: &out) }
    var bytes: [UInt8] = []
    export.append(line, to: &bytes)
    TerminalText.appendJSON(bytes.span.extracting(0..<(bytes.count - 1)), to: &out)
    out.append(UInt8(ascii: "\n"))
  }
}

extension ExportFormat: ExpressibleByArgument {}
