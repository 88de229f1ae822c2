// What a command left in the workspace, said when its sandbox is gone: repositories and settings that programs outside
// obey. It relies on Sandbox.BeforeRun for what was there before; it runs in the process that outlives `sluice run`.
import Gate
import Kernel
import Sandbox

struct Leftovers {
  private static let shownMax = 20

  private let before: BeforeRun
  private let workspace: String
  private let isMoved: Bool

  init(_ paths: SandboxPaths, _ options: Run) {
    before = BeforeRun(paths.look, roots: paths.writable, caller: paths.caller)
    workspace = paths.workspace
    isMoved = options.after == .quarantine
  }

  func follow(_ plan: SandboxPlan) throws(LaunchFailure) -> Aftermath { try Aftermath(plan) { say() } }

  private func say() {
    let findings = before.findings()
    var quarantine = Quarantine(workspace: workspace, nowMs: Clock.wallMs())
    var left = 0
    for (index, finding) in findings.enumerated() {
      let place = isMoved ? quarantine.take(finding) : nil
      if place == nil { left += 1 }
      if index < Self.shownMax { Messages.warn(finding.text + (place.map { "; moved to \($0)" } ?? "")) }
    }
    if findings.count > Self.shownMax { Messages.warn("and \(findings.count - Self.shownMax) more of that kind") }
    if left > 0, !isMoved {
      Messages.warn(
        "look at these before you use them outside; a run with --after quarantine moves what it leaves aside")
    }
  }
}
