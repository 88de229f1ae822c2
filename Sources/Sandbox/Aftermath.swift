// What has to be done when a sandbox is gone, also where `sluice run` was killed: by a process of its own, which waits.
// It relies on being made while the caller has one thread: the new process goes on with all that the caller knew.
import CSandbox
import Glibc
import Kernel

package final class Aftermath {
  /// Closed by `finish`: the other process then says what it has to say.
  private var word: CInt
  private let pid: CInt

  /// Puts the plan's placeholders in place. `after` is called in the other process, as the command's user, once all
  /// that stood in the user's folders is away again, and only where the sandbox was made.
  package init(_ plan: SandboxPlan, after: () -> Void) throws(LaunchFailure) {
    var placeholders = try Placeholders(plan.placeholders, as: plan.user)
    var end: CInt = -1
    // SAFETY: a local for the time of the call.
    let pid = unsafe csandbox_fork_aftermath(&end)
    if pid < 0 {
      placeholders.release()
      throw LaunchFailure("\(SystemError("fork", code: -pid))")
    }
    self.pid = pid
    word = end
    guard pid == 0 else {
      placeholders.leave()
      return
    }
    let hasRun = csandbox_await_sandbox(end) == 1
    if plan.user.isOther, csandbox_become(plan.user.uid, plan.user.gid) < 0 { csandbox_exit(125) }
    placeholders.release()
    if hasRun { after() }
    csandbox_exit(0)
  }

  package func follow(_ sandbox: borrowing Launched) {
    // It fails only where that process is gone, and then `finish` finds it gone.
    if word >= 0 { _ = csandbox_tell_aftermath(word, sandbox.pid) }
  }

  /// Returns when all is done. The sandbox is gone by now.
  package func finish() {
    guard word >= 0 else { return }
    close(word)
    word = -1
    // It fails only for what is no child any more, and so is gone.
    _ = try? ChildProcess.wait(for: pid)
  }
}
