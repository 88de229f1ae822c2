// The parent's work while the command runs: it passes signals on, stops and goes on with it, joins two terminals.
// It relies on its signals being blocked before the sandbox is launched, and on being called from the main thread.
import CSandbox
import Glibc
import Kernel

package struct Supervisor: ~Copyable {
  private static let graceMs: UInt64 = 5_000

  private let signals: Descriptor
  /// nil where the caller has no terminal.
  package let terminal: TerminalUse?
  private var lastPassed: CInt = 0

  /// Signals wait from now on.
  package init() throws(LaunchFailure) {
    let fd = csandbox_signals_open()
    if fd < 0 { throw LaunchFailure("\(SystemError("signalfd", code: -fd))") }
    signals = Descriptor(owning: fd)
    let isThere = csandbox_terminal_find() != 0
    terminal = !isThere ? nil : csandbox_terminal_is_shared() != 0 ? .background : .foreground
  }

  /// The command's exit status. `tend` is called at least every `periodMs`. When `lifeline` is readable, `isLost` is
  /// called: true where there is nothing left to run for, so that the command is asked to end, and killed where it does
  /// not. `knocked` is called when `door` is readable, `published` at the end of each connection to a published port.
  package mutating func run<Command: RunningCommand & ~Copyable>(
    _ sandbox: borrowing Command, periodMs: Int, lifeline: CInt = -1, door: CInt = -1, isLost: () -> Bool = { true },
    knocked: (borrowing Command) -> Void = { _ in }, published: (PublishedConnection) -> Void = { _ in },
    tend: () -> Void = {}
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
        signals.raw, sandbox.socket, lifeline, door, CInt(min(dueMs, killMs) - min(dueMs, killMs, nowMs)), &number)
      {
      case 1: pass(number, to: sandbox)
      case 2:
        switch try sandbox.next() {
        case .exited(let status): return status
        case .gone: return 128 + SIGKILL
        case .stopped(let number): stop(with: sandbox, number)
        case .published(let connection): published(connection)
        case .ready, .probed: break
        }
      case 3:
        guard isLost() else { continue }
        lifeline = -1
        killMs = nowMs + Self.graceMs
        sandbox.signal(SIGTERM)
      case 4: knocked(sandbox)
      default: break
      }
    }
  }

  /// The caller's terminal and the command's are one from now on, as far as the command may have it.
  package func join(_ other: CInt?) {
    if let other { csandbox_terminal_begin(other, terminal == .background ? 1 : 0) }
  }

  /// After the sandbox: its last words, and the terminal as it was.
  package func takeTerminalBack() {
    csandbox_terminal_drain()
    Self.restoreTerminal()
  }

  package static func restoreTerminal() { csandbox_terminal_restore() }

  private mutating func pass<Command: RunningCommand & ~Copyable>(_ number: CInt, to sandbox: borrowing Command) {
    lastPassed = number
    if terminal != nil {
      if number == SIGWINCH { return csandbox_terminal_resize() }
      // The shell that has put us into the foreground means the command.
      if number == SIGCONT { csandbox_terminal_resume() }
    }
    sandbox.signal(number)
  }

  /// As if the terminal had stopped us with the command: the caller's shell shows a stopped job. A command that only
  /// wants to read the terminal, or to set it, gets it.
  private func stop<Command: RunningCommand & ~Copyable>(with sandbox: borrowing Command, _ number: CInt) {
    guard terminal != nil || lastPassed == SIGTSTP else { return }
    if number == SIGTTIN || number == SIGTTOU, csandbox_terminal_grant() != 0 { return sandbox.bringToForeground() }
    Self.restoreTerminal()
    csandbox_stop_self(SIGTSTP)
    // Where nobody could let us go on, nobody could let the command go on either.
    guard number == SIGTSTP else { return }
    csandbox_terminal_resume()
    sandbox.signal(SIGCONT)
  }
}
