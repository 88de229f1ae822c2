// `sluice serve`: the gate in the foreground.
// It relies on Gate.Server for all but the flags and the policy file.
import ArgumentParser
import Gate
import Kernel
import Policy
import PolicyFile
import Sandbox

struct Serve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run the gate in the foreground.",
    discussion: """
      Lets out what the policy names, refuses and logs everything else. Point clients at it with
      HTTPS_PROXY=http://127.0.0.1:3128 (and HTTP_PROXY). SIGHUP reloads the policy and reopens the log,
      SIGTERM drains and ends. Without --policy everything is denied.

      Once it listens, the gate gives up what it does not need: capabilities, files
      beyond the folders of its policy and log, and system calls (docs/sandbox.md).
      """)

  @Option(help: "The policy file (YAML).") var policy: String?
  @Option(help: "Event loops, one thread each. Default: one a core.") var workers: Int?
  @Option(
    name: .customLong("listen-connect"),
    help: "ADDRESS:PORT to accept CONNECT and plain HTTP on, in place of the file's `listen.connect`. May repeat.")
  var listenConnect: [String] = []
  @Option(
    name: .customLong("listen-transparent"),
    help: "ADDRESS:PORT to accept redirected connections on, in place of `listen.transparent`. May repeat.")
  var listenTransparent: [String] = []
  @Option(
    name: .customLong("listen-dns"),
    help: "ADDRESS:PORT to answer DNS on, UDP and TCP, in place of `listen.dns`. May repeat.")
  var listenDNS: [String] = []
  @Option(
    name: .customLong("listen-admin"),
    help: "Path of the unix socket for `sluice status` and the like, in place of `listen.admin`.")
  var listenAdmin: String?
  @Option(
    name: .customLong("listen-metrics"),
    help: "ADDRESS:PORT that Prometheus asks for /metrics, in place of `listen.metrics`.")
  var listenMetrics: String?
  @Flag(
    name: .customLong("no-self-sandbox"),
    help: "The gate keeps every right of its user: for debuggers, or where its own files must move about.")
  var noSelfSandbox = false

  func validate() throws {
    if let listenAdmin, !(1...LocalSocket.pathBytesMax).contains(listenAdmin.utf8.count) {
      throw ValidationError("--listen-admin takes a path of at most \(LocalSocket.pathBytesMax) bytes.")
    }
    if let workers, !(1...1024).contains(workers) { throw ValidationError("--workers takes a number from 1 to 1024.") }
  }

  func run() throws {
    var listen: [Door: [ListenAddress]] = [:]
    for (door, texts) in [(Door.connect, listenConnect), (.transparent, listenTransparent), (.dns, listenDNS)] {
      for text in texts { listen[door, default: []].append(try Self.address(text, door.rawValue)) }
    }
    let metrics = try listenMetrics.map { try Self.address($0, "metrics") }
    let source = FilePolicySource(path: policy)
    do {
      let server = try Server(
        source, ServeOptions(workers: workers, listen: listen, adminPath: listenAdmin, metrics: metrics))
      let status = try server.run { () throws(ServerError) in
        if noSelfSandbox { return SelfConfinement.sayOff() }
        try server.keepPrograms()
        try source.confine(log: server.logFile, adminSocket: server.adminPath)
      }
      if status != 0 { throw ExitCode(status) }
    } catch let error as ServerError {
      Messages.say("\(error)")
      throw ExitCode(2)
    }
  }

  private static func address(_ text: String, _ what: String) throws -> ListenAddress {
    guard let address = ListenAddress(text) else {
      throw ValidationError("--listen-\(what) takes ADDRESS:PORT, such as 127.0.0.1:3128 or [::1]:3128; got \(text).")
    }
    return address
  }
}
