// `sluice serve`: the gate in the foreground.
// It relies on Gate.Server for all but the flags and the policy file.
import ArgumentParser
import Gate
import Kernel
import Policy
import PolicyFile
import Sandbox

extension GateName: ExpressibleByArgument {
  public init?(argument: String) { self.init(argument) }
  public var defaultValueDescription: String { "the host's name" }
}

struct Serve: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Run the gate in the foreground.",
    discussion: """
      Allows what the policy names; refuses and logs everything else. Point clients
      at it:

        export HTTPS_PROXY=http://127.0.0.1:3128 HTTP_PROXY=http://127.0.0.1:3128

      Without --policy everything is denied. SIGHUP reloads the policy and reopens
      the log. SIGTERM drains: new connections are refused, open ones have
      `timeouts.drain` to finish. A second SIGTERM ends the wait.

      Once the gate listens, it gives up what it does not need: capabilities, system
      calls, and access to files outside the folders of its policy and log.

      Sockets of a service manager (LISTEN_FDS, sd_listen_fds(3)) are used in place
      of binding an address of `listen`; each is named after its key there. The
      manager is told when the gate is ready (NOTIFY_SOCKET, sd_notify(3)).

      Exit status: 0 after SIGTERM, 1 when log lines were lost at the end, 2 when it
      could not start.
      """)

  @Option(help: ArgumentHelp("The policy file (YAML).", valueName: "file"), completion: .policy) var policy: String?
  @Option(help: ArgumentHelp("Event loops, one thread each. Default: one per core.", valueName: "number")) var workers:
    Int?
  @Option(
    name: .customLong("listen-connect"),
    help: ArgumentHelp(
      "Accept CONNECT, plain HTTP and SOCKS 5 here, in place of the file's `listen.connect`. May repeat.",
      valueName: "address:port"))
  var listenConnect: [String] = []
  @Option(
    name: .customLong("listen-transparent"),
    help: ArgumentHelp(
      "Accept redirected connections here, in place of `listen.transparent`. May repeat.", valueName: "address:port"))
  var listenTransparent: [String] = []
  @Option(
    name: .customLong("listen-dns"),
    help: ArgumentHelp(
      "Answer DNS here, UDP and TCP, in place of `listen.dns`. May repeat.", valueName: "address:port"))
  var listenDNS: [String] = []
  @Option(
    name: .customLong("listen-admin"),
    help: ArgumentHelp(
      "The unix socket for `sluice status` and the like, in place of `listen.admin`.", valueName: "path"),
    completion: .file())
  var listenAdmin: String?
  @Option(
    name: .customLong("listen-metrics"),
    help: "ADDRESS:PORT that Prometheus asks for /metrics, in place of `listen.metrics`.")
  var listenMetrics: String?
  @Option(
    name: .customLong("gate-name"), help: "This gate's name on each line of its log.")
  var gateName: GateName = .ofHost
  @Option(
    name: .customLong("client-name"),
    help: ArgumentHelp(
      "Treat every connection as this client: one of `clients`, or a name for the log. For a gate with one agent.",
      valueName: "name"))
  var clientName: String?
  @Flag(help: "Reload the policy when its file, or a file that it names, changes.")
  var watch = false
  @Flag(
    name: .customLong("no-self-sandbox"),
    help: "Do not confine the gate to the files and system calls that it needs. For debuggers, or where its files move."
  )
  var noSelfSandbox = false

  func validate() throws {
    if let listenAdmin, !(1...LocalSocket.pathBytesMax).contains(listenAdmin.utf8.count) {
      throw ValidationError("--listen-admin takes a path of at most \(LocalSocket.pathBytesMax) bytes.")
    }
    if let clientName, !Client.mayBeCalled(clientName) {
      throw ValidationError(
        "--client-name takes 1 to 64 letters, digits and . _ -, and not default; got \(clientName).")
    }
    if let workers, !(1...1024).contains(workers) { throw ValidationError("--workers takes a number from 1 to 1024.") }
  }

  func run() throws {
    var listen: [ListenerKind: [ListenAddress]] = [:]
    for (door, texts) in [(ListenerKind.connect, listenConnect), (.transparent, listenTransparent), (.dns, listenDNS)] {
      for text in texts { listen[door, default: []].append(try Self.address(text, door.rawValue)) }
    }
    let metrics = try listenMetrics.map { try Self.address($0, "metrics") }
    let source = FilePolicySource(path: policy, sandbox: clientName)
    do {
      let handed = try Self.handedSockets()
      var options = ServeOptions(
        workers: workers, listen: listen, adminPath: listenAdmin, metrics: metrics, handed: handed, gateName: gateName)
      (options.clientName, options.watchesPolicy) = (clientName, watch)
      let server = try Server(source, options)
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

  private static func handedSockets() throws(ServerError) -> [HandedSocket] {
    do throws(HandedProblem) { return try HandedSockets.take() } catch { throw .handed("\(error)") }
  }

  private static func address(_ text: String, _ what: String) throws -> ListenAddress {
    guard let address = ListenAddress(text) else {
      throw ValidationError("--listen-\(what) takes ADDRESS:PORT, such as 127.0.0.1:3128 or [::1]:3128; got \(text).")
    }
    return address
  }
}
