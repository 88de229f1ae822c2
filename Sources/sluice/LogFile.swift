// Where the log of a sandbox's own gate goes.
// It relies on the XDG folders for the place that views look in too.
import Kernel
import Policy
import Sandbox

enum LogFile {
  /// Where `sluice run` writes when nobody says otherwise, and where the views look.
  static var folder: String? {
    Environment.baseFolder("XDG_STATE_HOME", belowHome: ".local/state").map { "\($0)/sluice" }
  }

  /// A file of the caller's own: standard output is the command's.
  static func path(_ option: String?, policy: Policy, name: String) throws(LaunchFailure) -> String {
    if let option { return option == "-" ? "/dev/stderr" : option }
    if let file = policy.settings.log.file { return file }
    guard let folder else {
      throw LaunchFailure("no place for the log: HOME is not set; give --log FILE, or `log: {file: …}` in the policy")
    }
    do throws(SystemError) { try NewFile.makeFolders(folder) } catch {
      throw LaunchFailure("cannot make \(folder) for the log: \(error); give --log FILE")
    }
    return "\(folder)/\(name).jsonl"
  }
}
