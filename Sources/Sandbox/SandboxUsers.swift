// User that the command runs as: the caller itself, or, where root is the caller, a given user or one that nobody is.
// It relies on being asked before any thread starts: looking as another user changes who the thread is for a moment.
import CSandbox
import Glibc
package import Kernel

extension SandboxUser {
  /// Above what distributions, systemd and containers give out (systemd's UIDS-GIDS), below the sign bit.
  private static let unusedBase: UInt32 = 0x7000_0000

  package static var isRoot: Bool { geteuid() == 0 }

  package static func caller() -> SandboxUser { SandboxUser(uid: geteuid(), gid: getegid(), isOther: false) }

  /// A user that nobody else is.
  package static func unused(owner: FileOwner? = nil) -> SandboxUser {
    let unused = unusedBase + UInt32(getpid())
    return SandboxUser(uid: unused, gid: unused, isOther: true, owner: owner)
  }

  /// The workspace's owner, who may write there; where that is root, a user that nobody else is, to whom mounts show
  /// root's files as its own.
  package static func dropped(workspace: String) -> SandboxUser {
    let owner = HostFile.owner(workspace)
    if owner.uid != 0 { return SandboxUser(uid: owner.uid, gid: owner.gid == 0 ? owner.uid : owner.gid, isOther: true) }
    return .unused(owner: FileOwner(uid: owner.uid, gid: owner.gid))
  }

  package func mayWrite(_ path: String) -> Bool {
    let user = onDisk
    return unsafe csandbox_may_write(path, user.uid, user.gid) == 0
  }

  /// Why the file system at `path` cannot show its owner's files as this user's; nil where it can.
  package func mappingProblem(_ path: String) -> SystemError? {
    guard let owner else { return nil }
    let mapping = OwnerMapping(disk: owner, inside: FileOwner(uid: uid, gid: gid))
    do throws(SystemError) { _ = try MappedTree(path, mapping) } catch { return error }
    return nil
  }

  /// Root's groups would go with the command, and no namespace takes them away.
  package static func dropGroups() throws(LaunchFailure) {
    let result = csandbox_drop_groups()
    if result < 0 { throw LaunchFailure("\(SystemError("setgroups", code: -result))") }
  }
}
