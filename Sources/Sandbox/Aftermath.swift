// What has to be done when a sandbox is gone, also where `sluice run` was killed: by a process of its own, which waits.
// It relies on being made while the caller has one thread: the new process goes on with all that the caller knew.
import CSandbox
import Glibc
import Kernel

package final class Aftermath {
  /// Closed by `finish`: the other process then says what it has to say.
  private var word: CInt
  private let pid: CInt

  /// Puts the plan's placeholders in place. In the other process, where the sandbox was made, `first` is called as the
  /// caller and answers what `finish` returns; `after` is called as the command's user, once all that stood in the
  /// user's folders is away again.
  package init(_ plan: SandboxPlan, first: () -> UInt8, after: () -> Void) throws(LaunchFailure) {
    var placeholders = try Placeholders(plan.placeholders, as: plan.user.onDisk)
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
    let answer = hasRun ? first() : 0
    let user = plan.user.onDisk
    if plan.user.isOther, plan.user.owner == nil, csandbox_become(user.uid, user.gid) < 0 { csandbox_exit(125) }
    placeholders.release()
    if hasRun { after() }
    csandbox_exit(CInt(answer))
  }

  package func follow(_ sandbox: borrowing Launched) {
    // The message fails only where that process is gone, and then `finish` finds it gone.
    if word >= 0 { _ = csandbox_tell_aftermath(word, sandbox.pid) }
  }

  /// Returns when all is done. The sandbox is gone by now.
  @discardableResult
  package func finish() -> Int {
    guard word >= 0 else { return 0 }
    csandbox_end_aftermath(word)
    word = -1
    // The wait fails only for a process that is no child any more, and so is gone.
    return (try? ChildProcess.wait(for: pid)) ?? 0
  }
}
