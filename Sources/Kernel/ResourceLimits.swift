// Limits of the process, raised at start.
// It relies on setrlimit(2); a limit that cannot be raised stays as it is.
import CLinux

package enum ResourceLimits {
  /// Raises the soft limit of open files to the hard limit: each tunnel needs two sockets.
  package static func raiseOpenFiles() { clinux_raise_open_files() }
}
