// `sluice exec NAME -- COMMAND`: a second shell in a sandbox that runs.
// It relies on process 1 of the sandbox, which takes each command through the same steps as the first one.
import ArgumentParser
import Gate
import Kernel
import Sandbox

struct Exec: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exec",
    abstract: "Run another command in a running sandbox.",
    discussion: """
      The command gets the files, network, environment, limits and confinement of the
      sandbox, and its own terminal. The sandbox ends with its first command, and
      ends this one.

        sluice ps
        sluice exec sandbox -- bash

      Exit status: the command's, or 128 plus its signal; 127 the command does not
      exist; 126 it is not executable; 125 the sandbox could not be joined.
      """)

  @Argument(help: "The sandbox's NAME or ID, as `sluice ps` prints it.", completion: .sandboxes)
  var name: String
  @Argument(parsing: .postTerminator, help: "The command and its arguments, after --.", completion: .file())
  var command: [String] = []

  private static let waitSeconds = 30
  private static let roundMs = 60_000

  func validate() throws {
    guard let first = command.first, !first.isEmpty else {
      throw ValidationError("No command. Write it behind --: sluice exec \(name) -- bash")
    }
    if command.contains(where: { $0.utf8.contains(0) }) { throw ValidationError("An argument holds a byte 0.") }
  }

  func run() throws {
    StandardFiles.fill()
    defer { Supervisor.restoreTerminal() }
    do {
      let status = try join()
      if status != 0 { throw ExitCode(status) }
    } catch let failure as LaunchFailure {
      Supervisor.restoreTerminal()
      Messages.say("\(failure)")
      throw ExitCode(failure.status)
    }
  }

  private func join() throws(LaunchFailure) -> Int32 {
    let record = try SandboxRecord.find(name)
    let connection = try connect(record)
    var supervisor = try Supervisor()
    try StandardFiles.check()
    let mender = try TerminalMender()
    let joined = try JoinedCommand(
      connection, command, terminal: supervisor.terminal, term: Environment.value("TERM"))
    supervisor.join(try joined.takeTerminal())
    let status = try supervisor.run(joined, periodMs: Self.roundMs)
    supervisor.takeTerminalBack()
    mender.finish()
    return status
  }

  private func connect(_ record: SandboxRecord) throws(LaunchFailure) -> Descriptor {
    let path = SandboxRecord.door(record.id, in: SandboxRecord.folder ?? "/")
    do throws(SystemError) { return try LocalSocket.connect(to: path, waitSeconds: Self.waitSeconds) } catch {
      throw LaunchFailure("the sandbox \(record.id) does not answer: \(path): \(error)")
    }
  }
}
