// Reasons why a gate does not start or does not take a policy, each with what to do about it.
// It relies on Server to throw them; whoever started the gate prints the text.
package import Kernel
package import Policy

package enum ServerError: Error, CustomStringConvertible {
  case noPolicy
  case cannotListen(ListenerKind, ListenAddress, SystemError)
  case cannotListenForAdmin(LocalSocketProblem)
  case cannotListenForMetrics(ListenAddress, SystemError)
  case handed(String)
  case cannotOpenLog(String, SystemError)
  case cannotInspect(String)
  case cannotServeTLS(ListenAddress, String)
  case cannotShareLimits(String)
  case cannotKeepState(String, SystemError)
  case cannotStart(SystemError)
  case cannotConfine(SystemError)

  package var description: String {
    switch self {
    case .noPolicy: "the policy did not load; nothing was started"
    case .cannotListen(let door, let address, let error):
      "cannot listen on \(address): \(error). Choose another address with --listen-\(door) or `listen: {\(door): …}`"
    case .cannotListenForAdmin(let problem):
      "cannot open the admin socket \(problem). Name a path in a folder of this user's with --listen-admin or `listen: {admin: …}`"
    case .cannotListenForMetrics(let address, let error):
      "cannot listen on \(address): \(error). Choose another address with --listen-metrics or `listen: {metrics: …}`"
    case .handed(let why): "a socket that was handed in cannot be used: \(why)"
    case .cannotOpenLog(let path, let error):
      "cannot open the log \(path): \(error). Name a file that this user may write in `log: {file: …}`"
    case .cannotServeTLS(let address, let why): "cannot speak TLS on \(address): \(why)"
    case .cannotInspect(let why): "cannot inspect what the policy wants inspected: \(why)"
    case .cannotShareLimits(let why):
      "cannot share limits: \(why). Name the CA of the Redis in `shared_limits: {ca: …}`"
    case .cannotKeepState(let folder, let error):
      "cannot keep state in \(folder): \(error). Name a folder that this user may write in `state: {folder: …}`"
    case .cannotStart(let error): "cannot start: \(error)"
    case .cannotConfine(let error):
      "cannot give up what the gate does not need: \(error). Start it with --no-self-sandbox if that must be"
    }
  }
}
