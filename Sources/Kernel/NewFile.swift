// Small files created once and whole: if two processes create the same file at once, one of the two files remains.
// It relies on link(2), which does not replace an existing file.
import Glibc

package enum NewFile {
  /// Creates the folder and its parents, accessible to the owner only.
  package static func makeFolders(_ path: String) throws(SystemError) {
    var made = path.hasPrefix("/") ? "" : "."
    for part in path.split(separator: "/") {
      made += "/\(part)"
      if unsafe mkdir(made, 0o700) != 0, errno != EEXIST { throw SystemError("mkdir \(made)", code: errno) }
    }
  }

  /// A draft name that no other thread uses, nor a process with the same pid in another pid namespace.
  private static func draft(of path: String) -> String {
    "\(path).\(getpid())-\(String(UInt64.random(in: .min ... .max), radix: 16))"
  }

  /// False if the file exists already; it stays as it is.
  package static func make(_ path: String, _ bytes: [UInt8], mode: UInt32) throws(SystemError) -> Bool {
    let draft = draft(of: path)
    try write(draft, bytes, mode: mode)
    defer { _ = unsafe unlink(draft) }
    if unsafe link(draft, path) == 0 { return true }
    guard errno == EEXIST else { throw SystemError("link \(path)", code: errno) }
    return false
  }

  /// Replaces the file. With `owner`, readers of the old file can read the new one. A file that need not survive a
  /// restart of the machine is not synced to the disk.
  package static func replace(
    _ path: String, _ bytes: [UInt8], mode: UInt32, owner: (uid: UInt32, gid: UInt32)? = nil, isLasting: Bool = true
  ) throws(SystemError) {
    let draft = draft(of: path)
    try write(draft, bytes, mode: mode, isLasting: isLasting)
    if let owner, unsafe chown(draft, owner.uid, owner.gid) != 0, geteuid() == 0 {
      let code = errno
      _ = unsafe unlink(draft)
      throw SystemError("chown \(path)", code: code)
    }
    guard unsafe rename(draft, path) != 0 else { return }
    let code = errno
    _ = unsafe unlink(draft)
    throw SystemError("rename \(path)", code: code)
  }

  private static func write(
    _ path: String, _ bytes: [UInt8], mode: UInt32, isLasting: Bool = true
  ) throws(SystemError) {
    let fd = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)
    guard fd >= 0 else { throw SystemError("open \(path)", code: errno) }
    let file = Descriptor(owning: fd)
    // Sets the requested mode despite the umask.
    guard fchmod(file.raw, mode) == 0 else { throw SystemError("fchmod \(path)", code: errno) }
    var left = bytes[...]
    while !left.isEmpty {
      // SAFETY: the slice's own memory for the time of the call.
      let count = unsafe left.withUnsafeBytes { unsafe Glibc.write(file.raw, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { throw SystemError("write \(path)", code: errno) }
      left = left.dropFirst(count)
    }
    guard !isLasting || fsync(file.raw) == 0 else { throw SystemError("fsync \(path)", code: errno) }
  }

  /// A missing file counts as removed.
  package static func remove(_ path: String) { _ = unsafe unlink(path) }

  /// The permission bits of a file; nil if it does not exist.
  package static func mode(_ path: String) -> UInt32? {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { return nil }
    return status.st_mode & 0o777
  }
}
