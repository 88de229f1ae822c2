// A scope of the user's own systemd, for this process: the cgroup below it is then this user's to divide. The manager
// is asked by busctl, which comes with it, for what `systemd-run --user --scope -p Delegate=yes` asks for.
import Kernel

package enum UserScope {
  private static let program = "/usr/bin/busctl"
  private static let askMsMax: UInt64 = 3_000
  private static let moveMsMax: UInt64 = 1_000

  /// True once this process is in a scope of its own. `label` is what `systemctl --user` shows.
  package static func enter(label: String) -> Bool {
    guard SessionBus.isThere, HostFile.kind(program) == .file else { return false }
    let unit = "sluice-\(Machine.processID).scope"
    let request = [
      program, "--user", "--quiet", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
      "org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", "4", "Description",
      "s", label, "PIDs", "au", "1", "\(Machine.processID)", "Delegate", "b", "true", "CollectMode", "s",
      "inactive-or-failed", "0",
    ]
    do throws(SystemError) {
      guard case .output = try ChildProcess.output(of: request, hiding: [], timeoutMs: askMsMax) else { return false }
    } catch {
      return false
    }
    // The answer comes when the job is queued.
    return Clock.wait(until: Clock.monotonicMs() + moveMsMax) {
      TextFile.read("/proc/self/cgroup").contains("/\(unit)\n")
    }
  }
}

/// The caller's own D-Bus, by which a desktop and the user's systemd are reached.
package enum SessionBus {
  package static var isThere: Bool {
    if Environment.value("DBUS_SESSION_BUS_ADDRESS") != nil { return true }
    return Environment.value("XDG_RUNTIME_DIR").map { HostFile.kind("\($0)/bus") != .missing } ?? false
  }
}
