// `sluice dashboard`: the log as a page in a browser, live, or once as a file to send.
// It relies on Dashboard for the page and its server; nothing but the log file, and a policy for its limits, is read.
// With a gate's admin socket there is a page of approvals, too.
import ArgumentParser
import Dashboard
import Gate
import Intercept
import Kernel
import LogView
import Policy
import Wire

struct DashboardCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dashboard",
    abstract: "Show the log as a page in a browser.",
    discussion: """
      Shows limits and their use, refusals and the rules that would allow them,
      credentials and findings, over time, for one client or all. Reads only the log
      files, follows rotation, and waits for a file that does not exist yet. Several
      logs, or a folder of them, are shown together and per gate. Levels of buckets
      are estimates between the lines that tell them; with --policy limits are known
      from the start. The page has no password: keep it on loopback, and reach it
      from elsewhere with ssh -L 9797:127.0.0.1:9797.

        sluice dashboard --policy agent.yaml
        sluice dashboard --log run.jsonl --once --output report.html
        sluice dashboard --admin /run/sluice/admin.sock

      With --admin, waiting requests are decided at /approvals; the printed address
      opens one browser session.
      """)

  @OptionGroup var choice: LogChoice
  @Option(
    help: ArgumentHelp("The policy file, for its limits and its `log.file`.", valueName: "file"), completion: .policy)
  var policy: String?
  @Option(
    help: ArgumentHelp("The admin socket of a running gate, to decide approvals in the browser.", valueName: "path"),
    completion: .file())
  var admin: String?
  @Option(help: ArgumentHelp("Where to serve the page; port 0 takes a free one.", valueName: "address:port"))
  var listen = "127.0.0.1:9797"
  @Flag(
    name: .customLong("dangerously-listen-beyond-loopback"),
    help: "Allow --listen on an address that other machines reach: the page has no password and no TLS.")
  var isPublic = false
  @Flag(help: "Read the log once, write a report, and exit.") var once = false
  @Option(
    help: ArgumentHelp("The file of the report. Default: standard output.", valueName: "file"), completion: .file())
  var output: String?
  @Flag(help: "With --once: the figures as JSON in place of a page.") var json = false
  @Option(help: ArgumentHelp("With --once: only this gate's figures.", valueName: "name")) var gate: String?
  @Option(help: ArgumentHelp("With --once: only this client's figures.", valueName: "name")) var client: String?

  func validate() throws {
    if once, admin != nil { throw ValidationError("--admin goes with a live page, not with --once.") }
    if !once, output != nil || json || client != nil || gate != nil {
      throw ValidationError("--output, --json, --gate and --client go with --once; the live page has its own filter.")
    }
  }

  func run() throws {
    let loaded = try policy.map { path in
      guard let policy = PolicyOnDisk.load(path) else { throw ExitCode(2) }
      return policy
    }
    let paths = try logPaths(loaded)
    let path = LogFeed.name(paths)
    let feed = LogFeed(paths: paths, policy: loaded)
    if once { try report(feed, path) } else { try serve(feed, path, loaded) }
  }

  /// The log of the gate that is asked, where no option names one.
  private func logPaths(_ policy: Policy?) throws -> [String] {
    guard let admin, choice.log.isEmpty, policy?.settings.log.file == nil else { return try choice.paths(policy) }
    let answer = Self.ask(admin, .command("status"))
    if let problem = answer.problem { try fail(problem) }
    guard let file = answer.members?["log"]?["file"]?.asText else {
      try fail("the gate writes its log to standard output; give --log FILE")
    }
    return [file]
  }

  // MARK: - A report

  private func report(_ unread: LogFeed, _ path: String) throws {
    var feed = unread
    do { try feed.open() } catch { try fail("\(error); give --log FILE that can be read") }
    if feed.isEmpty {
      try fail(
        "\(path) holds no log: give a folder with files that end in \(LogFiles.endings.joined(separator: " or "))")
    }
    while feed.advance() {}
    feed.finish()
    if let problem = feed.problemText { try fail("\(path): \(problem)") }
    if feed.broken > 0 { Messages.warn("\(feed.broken) broken line\(feed.broken == 1 ? "" : "s") skipped") }
    let members = feed.members(
      gate: gate.map { TerminalText.safe($0.utf8) }, client: client.map { TerminalText.safe($0.utf8) }, span: .whole,
      nowMs: feed.figures.all.lastMs)
    var bytes =
      json
      ? JSONValue.object(members).line
      : Report.html(members, madeMs: Clock.wallMs(), sha256: Digest.sha256)
    do {
      if let output, output != "-" {
        try NewFile.replace(output, bytes, mode: 0o644)
      } else {
        try StandardOutput.write(&bytes)
      }
    } catch { try fail("\(error)") }
  }

  // MARK: - A page

  private func serve(_ unread: LogFeed, _ path: String, _ policy: Policy?) throws {
    guard let address = ListenAddress(listen) else {
      try fail("--listen takes ADDRESS:PORT, such as 127.0.0.1:9797 or [::1]:9797; got \(listen)")
    }
    var feed = unread
    // A log that is not there yet is waited for; a pipe would keep the browsers waiting.
    do { try feed.open() } catch { Messages.warn("\(error); the page waits for it") }
    guard feed.canGrow else { try fail("a pipe cannot be followed; give --once, or --log FILE") }
    if address.address.kind != .loopback {
      guard isPublic else {
        try fail(
          "\(address) can be reached from other machines, and the page asks for no password; listen on 127.0.0.1 and use "
            + "ssh -L, or give --dangerously-listen-beyond-loopback")
      }
      Messages.warn(
        "whoever reaches \(address) sees what the log holds: no password, no TLS"
          + (admin == nil ? "" : "; whoever reads the network can decide in the place of a browser"))
    }
    let server: PageServer
    var desk: ApprovalDesk?
    do {
      let socket = try Socket.listen(
        on: SocketAddress(address.address, port: address.port), reusePort: false, backlog: 64)
      let port = Socket.localAddress(socket.raw)?.port ?? address.port
      let rules = PageRules(address: address.address, port: port, hasApprovals: admin != nil)
      if let admin {
        desk = try ApprovalDesk(
          url: rules.url, trusted: Self.allowedNames(policy), ask: { Self.ask(admin, $0) }, say: { Messages.say($0) })
      }
      server = try PageServer(socket, rules, feed, approvals: desk)
    } catch {
      try fail("\(address): \(error); give --listen another address or port")
    }
    Messages.say("the dashboard of \(path) is at \(server.url)")
    desk?.announce()
    server.run()
  }

  // MARK: - Approvals

  /// Blocks: it is called on a thread of its own.
  private static func ask(_ path: String, _ request: JSONValue) -> GateAnswer {
    var answer = GateAnswer()
    do throws(AdminFailure) {
      var client = try AdminClient(path)
      var lines: [JSONValue] = []
      let last = try client.ask(request) { lines.append($0) }
      (answer.lines, answer.members) = (lines, last)
      if last["ok"]?.asBool != true { answer.problem = AdminClient.error(in: last) }
    } catch {
      answer.problem = "\(error)"
    }
    return answer
  }

  /// Hosts that others may imitate.
  private static func allowedNames(_ policy: Policy?) -> [HostName] {
    guard let policy else { return [] }
    return (policy.clients + [policy.fallback]).flatMap(\.network.allow).compactMap { rule in
      guard case .exact(.name(let name)) = rule.pattern else { return nil }
      return name
    }
  }
}
