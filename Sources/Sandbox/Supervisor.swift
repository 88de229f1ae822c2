// What the parent does while the command runs: passes signals on, stops and goes on with it, hands the terminal about.
// It relies on its signals being blocked before the sandbox is launched, and on being called from the main thread.
import CSandbox
import Glibc
import Kernel

package struct Supervisor: ~Copyable {
  private static let graceMs: UInt64 = 5_000

  private let signals: Descriptor
  /// Whether the command gets the caller's terminal.
  package let isForeground: Bool
  private var commandGroup: CInt = 0

  /// Signals wait from now on.
  package init() throws(LaunchFailure) {
    let fd = csandbox_signals_open()
    if fd < 0 { throw LaunchFailure("\(SystemError("signalfd", code: -fd))") }
    signals = Descriptor(owning: fd)
    isForeground = csandbox_in_foreground() != 0
  }

  /// The command's exit status. `tend` is called at least every `periodMs`. `lifeline` is readable when there is
  /// nothing left to run for: then `lost` is called, and the command is asked to end, and killed where it does not.
  package mutating func run(
    _ sandbox: borrowing Launched, periodMs: Int, lifeline: CInt = -1, lost: () -> Void = {}, tend: () -> Void
  ) throws(LaunchFailure) -> Int32 {
    var dueMs = Clock.monotonicMs() + UInt64(periodMs)
    var lifeline = lifeline
    var killMs = UInt64.max
    while true {
      let nowMs = Clock.monotonicMs()
      if nowMs >= killMs { return 128 + SIGKILL }
      if nowMs >= dueMs {
        tend()
        dueMs = nowMs + UInt64(periodMs)
      }
      var number: CInt = 0
      // SAFETY: a local for the time of the call.
      switch unsafe csandbox_wait(
        signals.raw, sandbox.control.raw, lifeline, CInt(min(dueMs, killMs) - min(dueMs, killMs, nowMs)), &number)
      {
      case 1: pass(number, to: sandbox)
      case 2:
        switch try sandbox.next() {
        case .exited(let status): return status
        case .gone: return 128 + SIGKILL
        case .stopped: stop(with: sandbox)
        case .ready, .probed: break
        }
      case 3:
        lost()
        lifeline = -1
        killMs = nowMs + Self.graceMs
        sandbox.signal(SIGTERM)
      default: break
      }
    }
  }

  /// After the command: its group no longer owns the terminal.
  package func takeTerminalBack() { if isForeground { csandbox_take_foreground(0) } }

  private func pass(_ number: CInt, to sandbox: borrowing Launched) {
    // The shell that has put us into the foreground means the command.
    if number == SIGCONT, isForeground, commandGroup > 0, csandbox_in_foreground() != 0 {
      csandbox_take_foreground(commandGroup)
    }
    sandbox.signal(number)
  }

  /// As if the terminal had stopped us with the command: the caller's shell shows a stopped job.
  private mutating func stop(with sandbox: borrowing Launched) {
    guard isForeground else { return }
    commandGroup = csandbox_foreground_group()
    csandbox_take_foreground(0)
    csandbox_stop_self()
  }
}
