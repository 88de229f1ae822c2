// A further command in a sandbox that runs: asked for on a connection to the socket of `sluice run`, which hands it to
// process 1 of the sandbox. It relies on that process for everything that confines the command.
import CSandbox
import Glibc
package import Kernel

package struct JoinedCommand: ~Copyable, RunningCommand {
  private let connection: Descriptor
  private let command: [String]
  private let hasTerminal: Bool

  package var socket: CInt { connection.raw }

  /// `term`: what kind of terminal the caller has.
  package init(
    _ connection: consuming Descriptor, _ command: [String], terminal: TerminalUse?, term: String?
  ) throws(LaunchFailure) {
    var texts: [CChar] = []
    for text in command + [term.map { "TERM=\($0)" } ?? ""] { texts += text.utf8.map { CChar(bitPattern: $0) } + [0] }
    let use: CInt =
      switch terminal {
      case nil: 0
      case .foreground: 1
      case .background: 2
      }
    // SAFETY: the array lives through the call.
    let result = unsafe csandbox_ask_to_join(connection.raw, CInt(command.count), texts, texts.count, use)
    self.connection = connection
    self.command = command
    hasTerminal = terminal != nil
    // A connection that is closed already was not taken: `takeTerminal` says so, as where it is closed a little later.
    guard result < 0, result != -EPIPE, result != -ECONNRESET else { return }
    throw LaunchFailure("cannot ask the sandbox: \(SystemError("sendmsg", code: -result))")
  }

  /// Waits until the command is taken. The caller's side of its terminal: whoever takes that closes it.
  package func takeTerminal() throws(LaunchFailure) -> CInt? {
    var fds = SandboxMessage.noDescriptors
    guard let (message, _) = SandboxMessage.receive(connection.raw, into: &fds) else {
      throw LaunchFailure(
        "the sandbox has ended, or takes no commands from here: they come from root or its own user, in the pid "
          + "namespace that `sluice run` was started in")
    }
    guard message.kind == CSANDBOX_READY.rawValue else { throw failure(message) }
    guard hasTerminal else { return nil }
    guard let (message, count) = SandboxMessage.receive(connection.raw, into: &fds) else {
      throw LaunchFailure("the sandbox has ended")
    }
    guard message.kind == CSANDBOX_TERMINAL.rawValue, count == 1 else { throw failure(message) }
    return fds[0]
  }

  package func next() throws(LaunchFailure) -> SandboxEvent {
    var fds = SandboxMessage.noDescriptors
    guard let (message, _) = SandboxMessage.receive(connection.raw, into: &fds) else { return .gone }
    switch message.kind {
    case CSANDBOX_STOPPED.rawValue: return .stopped(message.code)
    case CSANDBOX_EXITED.rawValue: return .exited(message.code)
    default: throw failure(message)
    }
  }

  private func failure(_ message: csandbox_message) -> LaunchFailure {
    let error = SandboxMessage.error(message)
    guard message.step == CSANDBOX_JOINED_EXEC else {
      return LaunchFailure("the command cannot join the sandbox: \(error)")
    }
    return LaunchFailure(.execute(command, environment: []), number: 0, error)
  }
}

/// Mends the caller's terminal where this process is killed: a process of its own waits for that.
package struct TerminalMender: ~Copyable {
  private let word: CInt

  /// While the process has one thread.
  package init() throws(LaunchFailure) {
    var end: CInt = -1
    // SAFETY: a local for the time of the call.
    let pid = unsafe csandbox_fork_aftermath(&end)
    if pid < 0 { throw LaunchFailure("\(SystemError("fork", code: -pid))") }
    if pid == 0 {
      _ = csandbox_await_sandbox(end)
      csandbox_exit(0)
    }
    word = end
    _ = csandbox_tell_aftermath(word, Machine.processID)
  }

  /// The terminal is as it was.
  package consuming func finish() { csandbox_end_aftermath(word) }
}
