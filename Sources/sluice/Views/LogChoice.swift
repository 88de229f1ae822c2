// Choice of the log file that a view reads, and its messages where none can be read.
// It relies on the places that `sluice serve` and `sluice run` write to when nobody says otherwise.
import ArgumentParser
import Gate
import Kernel
import LogView
import Policy

struct LogChoice: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The log file; - is standard input. Default: `log.file` of --policy, else ~/.local/state/sluice/sandbox.jsonl.",
      valueName: "file"), completion: .file())
  var log: String?

  /// The option, else the policy's own file, else the file of `sluice run`: a policy that is only used by `run` names
  /// no log.
  func path(_ policy: Policy?) throws -> String {
    if let log { return log == "-" ? "/dev/stdin" : log }
    if let file = policy?.settings.log.file { return file }
    guard let folder = LogFile.folder else { try fail("which log? HOME is not set; give --log FILE") }
    let path = "\(folder)/sandbox.jsonl"
    guard FileStamp(path: path) != nil else {
      try fail(
        "no log at \(path), where `sluice run` writes; give --log FILE, or --policy FILE with `log: {file: FILE}`")
    }
    return path
  }

  func open(_ path: String) throws -> LogTail {
    do { return try LogTail(path: path) } catch { try fail("\(path): \(error); give --log FILE that can be read") }
  }
}

/// Ends a command with status 2.
func fail(_ text: String) throws -> Never {
  Messages.say(text)
  throw ExitCode(2)
}

/// Message of the views about lines that they could not read.
struct BrokenLines {
  var count = 0

  func say(_ tail: LogTail) {
    let all = count + tail.torn
    if all > 0 { Messages.warn("\(all) broken line\(all == 1 ? "" : "s") skipped") }
  }
}
