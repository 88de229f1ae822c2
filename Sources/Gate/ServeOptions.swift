// Options of whoever starts a gate, in place of what its policy says: addresses, paths, names.
// It relies on Server to take it; what is not said here, the policy says.
package import Kernel
package import Policy

package struct ServeOptions: Sendable {
  package var workers: Int?
  /// In place of what the file says; a door that is not here is the file's to open.
  package var listen: [ListenerKind: [ListenAddress]]
  /// In place of `log.file`.
  package var logFile: String?
  /// In place of `listen.admin`.
  package var adminPath: String?
  /// False: whatever the policy says of an admin socket, there is none.
  package var servesAdmin: Bool
  /// In place of `listen.metrics`.
  package var metrics: ListenAddress?
  /// Where the policy does not say: whether clients trust the gate's CA, and so can be told inside TLS why they are
  /// refused.
  package var explainsDenials: Bool
  /// Sockets that a service manager has bound.
  package var handed: [HandedSocket]
  /// As each line of the log has it.
  package var gateName: GateName

  /// The one client that all listeners serve, by its name in the policy, or a new one.
  package var clientName: String?
  /// A changed policy file is read again without a signal.
  package var watchesPolicy = false
  /// Told of approvals beside what the policy names.
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
