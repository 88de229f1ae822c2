// A folder or file of the host as a mount of its own, not yet anywhere, with one owner's files as another's.
// It relies on root, and on being made before the caller has threads.
import CSandbox
import Kernel

struct MappedTree: ~Copyable {
  private let descriptor: Descriptor

  init(_ path: String, _ owners: OwnerMapping) throws(SystemError) {
    var plain = csandbox_owners(
      disk_uid: owners.disk.uid, disk_gid: owners.disk.gid, inside_uid: owners.inside.uid,
      inside_gid: owners.inside.gid)
    // SAFETY: a local for the time of the call; the stage is a literal.
    let fd = unsafe csandbox_map_owner(path, &plain)
    if fd < 0 { throw SystemError(unsafe String(cString: csandbox_stage()), code: -fd) }
    descriptor = Descriptor(owning: fd)
  }

  consuming func relinquish() -> CInt { descriptor.relinquish() }
}
