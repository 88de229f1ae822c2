// `sluice stop NAME`: the end of a sandbox that runs, asked for and then made.
// It relies on `sluice run` to pass SIGTERM on to its command, and on the kernel to end the sandbox with `sluice run`.
import ArgumentParser
import Gate
import Glibc
import Kernel
import Sandbox

struct Stop: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop",
    abstract: "End a running sandbox.",
    discussion: """
      The command gets SIGTERM. If the sandbox still runs after --grace, all its
      processes are killed.

      Exit status: 0 the sandbox ended; 1 it had to be killed; 2 it could not be
      ended.
      """)

  @Argument(help: "The sandbox's NAME or ID, as `sluice ps` prints it.", completion: .sandboxes)
  var name: String
  @Option(help: ArgumentHelp("How long the command has to end after SIGTERM.", valueName: "seconds")) var grace = 10

  private static let killWaitMs = 10_000

  func validate() throws {
    guard (0...3600).contains(grace) else { throw ValidationError("--grace takes seconds, from 0 to 3600.") }
  }

  func run() throws {
    do {
      let record = try SandboxRecord.find(name)
      if try record.process.end(SIGTERM, waitMs: grace * 1000) { return }
      guard try record.process.end(SIGKILL, waitMs: Self.killWaitMs) else {
        throw LaunchFailure("the sandbox \(record.id) does not end")
      }
      Messages.say("the sandbox \(record.id) did not end within \(grace) s, and was killed")
    } catch {
      Messages.say("\(error)")
      throw ExitCode(2)
    }
    throw ExitCode(1)
  }
}
