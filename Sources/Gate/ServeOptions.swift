// Options that override the policy: addresses, paths, names.
// It relies on Server to apply them; the policy decides whatever is not set here.
package import Kernel
package import Policy

package struct ServeOptions: Sendable {
  package var workers: Int?
  /// Overrides `listen` per kind of listener. The policy decides the kinds that are missing here.
  package var listen: [ListenerKind: [ListenAddress]]
  /// Overrides `log.file`.
  package var logFile: String?
  /// Overrides `listen.admin`.
  package var adminPath: String?
  /// False disables the admin socket, whatever the policy says.
  package var servesAdmin: Bool
  /// Overrides `listen.metrics`.
  package var metrics: ListenAddress?
  /// The default if the policy says nothing: true if clients trust the gate's CA, so that a refusal can be explained
  /// inside TLS.
  package var explainsDenials: Bool
  /// Sockets that a service manager has bound.
  package var handed: [HandedSocket]
  /// The gate's name in each log line.
  package var gateName: GateName

  /// The single client that all listeners serve, by its name in the policy or a new name.
  package var clientName: String?
  /// True reloads a changed policy file without a signal.
  package var watchesPolicy = false
  /// A command for desktop notices of approvals, in addition to the policy's notifiers.
  package var desktopNotice: [String]?

  package init(
    workers: Int? = nil, listen: [ListenerKind: [ListenAddress]] = [:], logFile: String? = nil,
    adminPath: String? = nil, servesAdmin: Bool = true,
    metrics: ListenAddress? = nil, explainsDenials: Bool = false, handed: [HandedSocket] = [],
    gateName: GateName = .ofHost
  ) {
    self.workers = workers
    self.listen = listen
    self.logFile = logFile
    self.adminPath = adminPath
    self.servesAdmin = servesAdmin
    self.metrics = metrics
    self.explainsDenials = explainsDenials
    self.handed = handed
    self.gateName = gateName
  }
}

extension ServeOptions {
  func adminPath(_ policy: Policy) -> String? {
    servesAdmin ? adminPath ?? policy.settings.listen.admin : nil
  }
}
