// Files that one run keeps on the host while it goes on: changes of a copied workspace, copies of git's configurations.
// Relies on KeptFolders for a place that the command's user may write; it is gone when the run has ended.
import Gate
import Kernel
import Sandbox

struct RunFolder {
  private(set) var changes: WorkspaceCopy?
  private(set) var gitCopies: GitCopies?
  /// nil where nothing is kept.
  private var folder: String?
  private let startNs = Clock.wallMs() * 1_000_000

  /// Of a plan that is only printed.
  init() {}

  /// `copying`: the workspace that the command writes to a copy of.
  init(
    of name: String, user: SandboxUser, configurations: [String], copying workspace: String?, protected: [String]
  ) throws(LaunchFailure) {
    guard workspace != nil || !configurations.isEmpty else { return }
    let kind = workspace == nil ? "runs" : "copies"
    let whole = try KeptFolders(user: user).folder("\(kind)/\(name)-\(Machine.processID)")
    // Empty ones are left where the command's user could not take the folder away itself.
    HostFile.sweepBeside(whole)
    for part in ["upper", "work", "git"] where !HostFile.makeFolder("\(whole)/\(part)", of: user) {
      throw LaunchFailure("cannot make \(whole)/\(part); remove \(whole)")
    }
    folder = whole
    if let workspace { changes = WorkspaceCopy(workspace: workspace, folder: whole, protected: protected) }
    gitCopies = GitCopies(of: configurations, in: "\(whole)/git", user: user)
  }

  /// When the sandbox is gone, as the command's user: what it may not read or write, its copy cannot either.
  func review(_ mode: ApplyMode) {
    if let changes { WorkspaceReview(copy: changes, mode: mode, startNs: startNs).finish() }
  }

  /// As the command's user, behind `review`.
  func writeBack() {
    for line in gitCopies?.writeBack() ?? [] { Messages.insist(line) }
    if changes == nil, let folder { WorkspaceCopy.remove(folder) }
  }
}
