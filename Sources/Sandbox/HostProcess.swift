// One process of this host, told from a later one that gets its number.
// It relies on /proc for when a process was started.
import CSandbox
package import Kernel

package struct HostProcess: Equatable, Sendable {
  package let pid: Int32
  /// Of the kernel's clock since boot, in its own unit.
  package let start: UInt64

  package init(pid: Int32, start: UInt64) { (self.pid, self.start) = (pid, start) }

  package static var current: HostProcess {
    HostProcess(pid: Machine.processID, start: csandbox_process_start(Machine.processID))
  }

  package var isAlive: Bool { start != 0 && csandbox_process_start(pid) == start }

  /// Sends a signal, or none, and waits. Whether the process has ended.
  package func end(_ number: Int32, waitMs: Int) throws(SystemError) -> Bool {
    let result = csandbox_end_process(pid, start, number, CInt(clamping: waitMs))
    if result < 0 { throw SystemError("pidfd_send_signal", code: -result) }
    return result == 1
  }
}
