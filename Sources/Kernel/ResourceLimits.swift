// Limits of the process, raised at start.
// It relies on setrlimit(2); a limit that cannot be raised stays as it is.
import CLinux

package enum ResourceLimits {
  /// Two sockets a tunnel: the soft limit of old times is raised to the hard one.
  package static func raiseOpenFiles() { clinux_raise_open_files() }
}
