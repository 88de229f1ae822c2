// The end of a run with `--workspace-mode copy`: the changes are shown, and applied when the caller says so.
// Relies on being called when the sandbox is gone, by the process that outlives it, as the caller.
import ArgumentParser
import Gate
import Kernel
import Policy
import Sandbox

extension WorkspaceMode: ExpressibleByArgument {}

enum ApplyMode: String, CaseIterable, ExpressibleByArgument { case ask, always, never }

struct WorkspaceReview {
  let copy: WorkspaceCopy
  let mode: ApplyMode
  /// When the command was started.
  let startNs: Int64

  func finish() {
    let changes = copy.changes()
    guard !changes.isEmpty else { return WorkspaceCopy.remove(copy.folder) }
    for line in copy.text(changes) { Messages.show(line) }
    let count = changes.count == 1 ? "1 change" : "\(changes.count) changes"
    guard !WorkspaceCopy.areTooMany(changes) else {
      return Messages.insist("\(count) and more: too many to apply; the copy is kept in \(copy.folder)/upper")
    }
    switch answer("apply \(count) to \(copy.workspace)? [y/N] ") {
    case true?:
      let problems = copy.apply(changes, startNs: startNs)
      for problem in problems { Messages.insist("not applied: \(problem)") }
      Messages.say("applied \(changes.count - problems.count) of \(count) to \(copy.workspace)")
      if problems.isEmpty { return WorkspaceCopy.remove(copy.folder) }
    case false?: return WorkspaceCopy.remove(copy.folder)
    case nil: break
    }
    Messages.insist(
      "the copy is kept in \(copy.folder)/upper: take the files you want, then remove \(copy.folder); "
        + "a run with --apply always applies its changes, with --apply never drops them")
  }

  /// nil where nobody can be asked.
  private func answer(_ question: String) -> Bool? {
    switch mode {
    case .always: return true
    case .never: return false
    case .ask:
      guard StandardFiles.areTerminal else { return nil }
      Messages.ask(question)
      return StandardFiles.answer().map { ["y", "yes"].contains($0.lowercased()) }
    }
  }
}
