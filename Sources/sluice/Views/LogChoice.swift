// Choice of the log files that a view reads, and its messages where none can be read.
// It relies on the places that `sluice serve` and `sluice run` write to when nobody says otherwise.
import ArgumentParser
import Dashboard
import Gate
import Kernel
import LogView
import Policy

struct LogChoice: ParsableArguments {
  @Option(
    parsing: .upToNextOption,
    help: ArgumentHelp(
      "Log files, or folders of *.jsonl and *.log; - is standard input. Default: `log.file` of --policy, else "
        + "~/.local/state/sluice/sandbox.jsonl.", valueName: "file"), completion: .file())
  var log: [String] = []

  /// The option, else the policy's own file, else the file of `sluice run`: a policy that is only run with `run` names
  /// no log.
  func paths(_ policy: Policy?) throws -> [String] {
    if !log.isEmpty { return log.map { $0 == "-" ? "/dev/stdin" : $0 } }
    if let file = policy?.settings.log.file { return [file] }
    guard let folder = LogFile.folder else { try fail("no log is named and HOME is not set; give --log FILE") }
    let path = "\(folder)/sandbox.jsonl"
    guard FileStamp(path: path) != nil else {
      try fail(
        "no log at \(path), where `sluice run` writes; give --log FILE, or --policy FILE with `log: {file: FILE}`")
    }
    return [path]
  }

  /// Each path must be there. `waits`: a folder may be empty at first.
  func open(_ paths: [String], waits: Bool = false, cursor: LogCursor = LogCursor()) throws -> LogFiles {
    let files: LogFiles
    do { files = try LogFiles(paths, cursor: cursor) } catch {
      try fail("\(error); give --log FILE that can be read")
    }
    if files.isEmpty, !waits {
      try fail(
        "\(LogFeed.name(paths)) holds no log: give a folder with files that end in \(LogFiles.endings.joined(separator: " or "))"
      )
    }
    return files
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

  func say(_ files: LogFiles) {
    let all = count + files.torn
    if all > 0 { Messages.warn("\(all) broken line\(all == 1 ? "" : "s") skipped") }
  }
}
