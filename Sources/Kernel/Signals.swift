// Signals of the process as values that the main thread reads.
// It relies on being created on the main thread before any other thread starts.
import CLinux
import Glibc

/// SIGTERM, SIGINT and SIGHUP as values that the main thread reads; no handler runs anywhere.
package struct Signals: ~Copyable {
  package enum Signal: Sendable { case reload, terminate }

  private let descriptor: Descriptor

  /// Threads that start later inherit the mask.
  package init() throws(SystemError) {
    let fd = clinux_signal_open()
    if fd < 0 { throw SystemError("signalfd", code: -fd) }
    descriptor = Descriptor(owning: fd)
  }

  /// Readable while a signal waits.
  package var fd: CInt { descriptor.raw }

  /// Nil if no signal waits.
  package func take() -> Signal? {
    switch clinux_signal_take(fd) {
    case SIGHUP: .reload
    case SIGTERM, SIGINT: .terminate
    default: nil
    }
  }
}
