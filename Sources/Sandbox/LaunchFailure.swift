// Why a sandbox was not made, and what helps: one text for the person who asked for it.
// It relies on the step that failed being known; the remedies are those of the kernels and containers it was tried in.
import Glibc
import Kernel

package struct LaunchFailure: Error, CustomStringConvertible {
  package let description: String
  /// As shells have it: 127 no such command, 126 one that cannot be run; 125 where it is not the command's fault.
  package let status: Int32

  package init(_ text: String, status: Int32 = 125) { (description, self.status) = (text, status) }

  init(_ step: Step?, number: Int, _ error: SystemError, hint: String? = nil) {
    if case .execute(let command, _)? = step {
      let name = command.first ?? ""
      if let hint, error.code == ENOENT {
        self.init("\(name): no such command in the sandbox: \(hint)", status: 127)
        return
      }
      self.init(Self.text(name, error), status: error.code == ENOENT ? 127 : 126)
      return
    }
    let place = step.map { "step \(number + 1), \($0)" } ?? "step \(number + 1)"
    let remedy = step.flatMap { Self.remedy($0, error.code) }.map { "\n  \($0)" } ?? ""
    self.init("\(place): \(error)\(remedy)")
  }

  /// Of the steps that the parent does itself: clone(2) and the maps.
  static func parent(_ error: SystemError) -> LaunchFailure {
    let remedy = error.stage == "clone" ? namespaces(error.code) : maps(error.code)
    return LaunchFailure("\(error)\(remedy.map { "\n  \($0)" } ?? "")")
  }

  static func namespaces(_ code: CInt) -> String? {
    switch code {
    case EPERM:
      "no user namespace for this user here: in a container, allow them (docker run --security-opt seccomp=unconfined); "
        + "else sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0; or be root"
    case ENOSPC, EUSERS: "too many namespaces: sysctl user.max_user_namespaces is too low, or 0"
    case EINVAL: "this kernel lacks one of the namespaces: use Linux 5.13 or later"
    default: nil
    }
  }

  static let capabilitiesRemedy =
    "the namespace came without its capabilities: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile "
    + "for sluice with `userns,`"
  static let processesRemedy =
    "a new /proc is refused where a container has masked its own: docker run --security-opt systempaths=unconfined"
  static let landlockRemedy = "this kernel has no Landlock: use Linux 5.13 or later with `landlock` in lsm="

  private static func maps(_ code: CInt) -> String? {
    code == EPERM ? "this user may not map its own id: a container or a security module forbids it" : nil
  }

  private static func text(_ name: String, _ error: SystemError) -> String {
    switch error.code {
    case ENOENT where error.stage == "interpreter":
      "\(name): the program that its first line names, or its loader, is not in the sandbox; "
        + "add its folder with --read-only"
    case ENOENT:
      "\(name): no such command in the sandbox, which sees /usr and the workspace; add its folder with --read-only"
    case EACCES: "\(name): not a program, or not executable by this user: chmod +x"
    case E2BIG: "\(name): the arguments and the environment are too long together"
    default: "\(name): cannot be run: \(error)"
    }
  }

  private static func remedy(_ step: Step, _ code: CInt) -> String? {
    switch (step, code) {
    case (.hostName, EPERM), (.loopbackUp, EPERM): capabilitiesRemedy
    case (.processes, EPERM): processesRemedy
    case (.setting, EROFS): "/proc/sys is read-only: a container masks it"
    case (.enterRoot, EINVAL), (.newRoot, EINVAL): "the root of this system cannot be left (an initramfs)"
    case (.bind, EACCES):
      "the user that the command runs as cannot reach it: give another --workspace, or as root another --user"
    case (.copy, _): "a copy of the workspace takes overlayfs for users (Linux 5.11): --workspace-mode rw or ro"
    case (.landlock, ENOSYS), (.landlock, EOPNOTSUPP): landlockRemedy
    default: nil
    }
  }
}
