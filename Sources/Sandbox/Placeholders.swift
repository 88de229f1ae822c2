// The names in the user's folders that the command must not make, held by something that stands there until the run
// ends. It relies on descriptors: each is a lock that this run shares with others that need the same name.
import CSandbox
import Glibc
import Kernel

struct Placeholders {
  private struct Held {
    let folder: String
    let name: String
    let fd: CInt
  }

  private var held: [Held] = []

  init(_ wanted: [ProtectedPath], as user: FileOwner) throws(LaunchFailure) {
    for one in wanted {
      let (folder, name) = (one.path.parentFolder, one.path.lastPart)
      let fd = Self.hold(folder, name, one.placeholder, user)
      if fd < 0 {
        release()
        guard fd == -EALREADY else {
          throw LaunchFailure(
            "\(one.path): the command must not make it, and nothing can be put there: \(SystemError("mkdir", code: -fd)); "
              + "--unprotect \(name) lets the command make it")
        }
        throw LaunchFailure("\(one.path) was made just now by another process; start again")
      }
      held.append(Held(folder: folder, name: name, fd: fd))
    }
  }

  private static func hold(
    _ folder: String, _ name: String, _ placeholder: ProtectedPath.Placeholder?, _ user: FileOwner
  ) -> CInt {
    guard case .file(let text) = placeholder else {
      return unsafe csandbox_placeholder_hold(folder, name, nil, user.uid, user.gid)
    }
    return unsafe csandbox_placeholder_hold(folder, name, text, user.uid, user.gid)
  }

  /// The last run that needs one takes it away.
  mutating func release() {
    for one in held {
      unsafe csandbox_placeholder_release(one.folder, one.name, one.fd)
      close(one.fd)
    }
    held = []
  }

  /// In a process that leaves the rest to another one. The lock is that one's too.
  mutating func leave() {
    for one in held { close(one.fd) }
    held = []
  }
}
