// Why a sandbox was not made, and what helps: one text for the person who asked for it.
// It relies on the step that failed being known; the remedies are those of the kernels and containers it was tried in.
import Glibc
import Kernel

package struct LaunchFailure: Error, CustomStringConvertible {
  package let description: String

  package init(_ text: String) { description = text }

  init(_ step: Step?, number: Int, _ error: SystemError) {
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
    case EINVAL: "this kernel lacks one of the namespaces; it takes Linux 5.13"
    default: nil
    }
  }

  static let capabilitiesRemedy =
    "the namespace came without its capabilities: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile "
    + "for sluice with `userns,`"
  static let processesRemedy =
    "a new /proc is refused where a container has masked its own: docker run --security-opt systempaths=unconfined"
  static let landlockRemedy = "this kernel has no Landlock: it takes 5.13, and `landlock` in lsm="

  private static func maps(_ code: CInt) -> String? {
    code == EPERM ? "this user may not map its own id: a container or a security module forbids it" : nil
  }

  private static func remedy(_ step: Step, _ code: CInt) -> String? {
    switch (step, code) {
    case (.hostName, EPERM), (.loopbackUp, EPERM): capabilitiesRemedy
    case (.processes, EPERM): processesRemedy
    case (.setting, EROFS): "/proc/sys is read-only: a container masks it"
    case (.enterRoot, EINVAL), (.newRoot, EINVAL): "the root of this system cannot be left (an initramfs)"
    case (.bind, EACCES): "who the command runs as cannot reach it: another --workspace, or as root another --user"
    case (.landlock, ENOSYS), (.landlock, EOPNOTSUPP): landlockRemedy
    case (.execute(let command, _), ENOENT):
      "no \(command.first ?? "") in the sandbox: it sees /usr and the workspace; add a folder with --read-only"
    default: nil
    }
  }
}
