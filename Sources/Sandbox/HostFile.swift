// One path of the host, looked at without following its last link: what it is, whose, where it leads, what it holds.
// It relies on nothing staying as it was: who may write beside it can put another thing there at any time.
import CSandbox
package import Kernel

package enum HostFile {
  package enum Kind: Int32, Sendable { case missing, folder, file, link, other }

  private static let pathBytesMax = 4096

  package static func kind(_ path: String) -> Kind { owner(path).kind }

  package static func owner(_ path: String) -> (kind: Kind, uid: UInt32, gid: UInt32) {
    var (uid, gid) = (UInt32(0), UInt32(0))
    // SAFETY: two locals for the time of the call.
    let kind = unsafe csandbox_file_kind(path, &uid, &gid)
    return (Kind(rawValue: kind) ?? .other, uid, gid)
  }

  static func linkTarget(_ path: String) -> String? {
    unsafe text { unsafe csandbox_read_link(path, $0, $1) }
  }

  /// Absolute, without links; nil where it does not exist or cannot be reached.
  package static func realPath(_ path: String) -> String? {
    unsafe text { unsafe csandbox_real_path(path, $0, $1) }
  }

  /// Of a sandbox's own, which stands there while a run needs it.
  package static func isPlaceholder(_ path: String) -> Bool { unsafe csandbox_is_placeholder(path) != 0 }

  /// The entries of a folder, but for itself and the one above; none where it cannot be read.
  package static func list(_ path: String) -> [(name: String, kind: Kind)] {
    let bytes = unsafe bytes(room: listBytesMax) { unsafe csandbox_list(path, $0, $1) }
    return DirectoryEntries(bytes ?? []).all
  }

  package static func names(in folder: String) -> [String] { list(folder).map(\.name) }

  /// nil where it cannot be read, or not whole.
  static func entries(of path: String) -> [(name: String, kind: Kind)]? {
    let bytes = unsafe bytes(room: listBytesMax) { unsafe csandbox_list(path, $0, $1) }
    return bytes.flatMap { $0.count > listBytesMax - 1024 ? nil : DirectoryEntries($0).all }
  }

  private static let listBytesMax = 4 << 20

  /// The whole of a small file; nil where there is none, or a larger one.
  static func read(_ path: String, bytesMax: Int) -> [UInt8]? {
    let bytes = unsafe bytes(room: bytesMax + 1) { unsafe csandbox_read_regular(path, $0, $1) }
    return bytes.flatMap { $0.count > bytesMax ? nil : $0 }
  }

  /// The first bytes of a file, if it is one.
  static func start(of path: String, bytes count: Int) -> [UInt8]? {
    unsafe bytes(room: count) { unsafe csandbox_read_regular(path, $0, $1) }
  }

  static func readText(_ path: String, bytesMax: Int) -> String? {
    read(path, bytesMax: bytesMax).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Changes with the file, and cannot be set back: the kernel's own time of change is a part of it.
  struct Stamp: Equatable, Sendable {
    let device: UInt64
    let inode: UInt64
    let size: UInt64
    let mode: UInt32
    let changedNs: Int64
  }

  static func stamp(_ path: String) -> Stamp? {
    var stamp = csandbox_stamp()
    // SAFETY: a local for the time of the call.
    guard unsafe csandbox_stamp(path, &stamp) == 0 else { return nil }
    return Stamp(
      device: stamp.device, inode: stamp.inode, size: stamp.size, mode: stamp.mode, changedNs: stamp.changed_ns)
  }

  /// 0 of one that is not there.
  package static func size(_ path: String) -> Int { stamp(path).map { Int(clamping: $0.size) } ?? 0 }

  /// Replaces nothing.
  static func rename(_ from: String, to: String) -> Bool { unsafe csandbox_rename(from, to) == 0 }

  /// SAFETY: `ask` writes no more than the room it is told, and answers how much of it.
  private static func bytes(room: Int, _ ask: (UnsafeMutablePointer<CChar>, Int) -> Int) -> [UInt8]? {
    var hasFailed = false
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
      guard let base = buffer.baseAddress else { return }
      let got = unsafe base.withMemoryRebound(to: CChar.self, capacity: room) { unsafe ask($0, room) }
      hasFailed = got < 0
      count = max(got, 0)
    }
    return hasFailed ? nil : bytes
  }

  /// True if this user may, whatever the process has confined itself to.
  package static func mayRead(_ path: String) -> Bool { unsafe csandbox_may_read(path) != 0 }

  /// True if that user may; a folder is to be entered, too.
  package static func mayRead(_ path: String, as user: SandboxUser) -> Bool {
    let owner = user.onDisk
    return unsafe csandbox_may_read_as(path, owner.uid, owner.gid) != 0
  }

  package static func makeFolder(_ path: String, mode: UInt32 = 0o700) -> Bool {
    unsafe csandbox_make_folder(path, mode) == 0 || kind(path) == .folder
  }

  /// A folder that is this user's alone, made where there is none.
  package static func makePrivateFolder(_ path: String) throws(SystemError) {
    let result = unsafe csandbox_private_folder(path)
    if result < 0 { throw SystemError("mkdir", code: -result) }
  }

  /// A new one that is the user's alone.
  package static func makeFolder(_ path: String, of user: SandboxUser) -> Bool {
    let owner = user.onDisk
    return unsafe csandbox_make_folder_of(path, owner.uid, owner.gid) == 0
  }

  /// A new file that is the user's alone.
  static func write(_ path: String, _ bytes: [UInt8], as user: SandboxUser) -> Bool {
    unsafe bytes.withUnsafeBytes { unsafe csandbox_write_new(path, $0.baseAddress, $0.count, user.uid, user.gid) } == 0
  }

  /// Empty folders beside it whose names end in the number of a process that is gone.
  package static func sweepBeside(_ path: String) { unsafe csandbox_sweep(path.parentFolder, "") }

  /// An empty one.
  package static func removeFolder(_ path: String) { _ = unsafe csandbox_remove_folder(path) }

  /// SAFETY: `ask` writes no more than the room it is told, and answers how much of it.
  private static func text(_ ask: (UnsafeMutablePointer<CChar>, Int) -> Int) -> String? {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: pathBytesMax) { room -> String? in
      guard let base = room.baseAddress else { return nil }
      let count = unsafe ask(base, room.count)
      guard count > 0 else { return nil }
      return unsafe String(decoding: UnsafeRawBufferPointer(start: base, count: count), as: UTF8.self)
    }
  }
}

/// What getdents64(2) writes: inode and offset (8 bytes each), length (2), type (1), the name, NUL.
private struct DirectoryEntries {
  private(set) var all: [(name: String, kind: HostFile.Kind)] = []

  init(_ bytes: [UInt8]) {
    var place = 0
    while place + 19 <= bytes.count {
      let length = Int(bytes[place + 16]) | Int(bytes[place + 17]) << 8
      guard length > 19, place + length <= bytes.count else { return }
      let name = bytes[(place + 19)..<(place + length)].prefix { $0 != 0 }
      if !name.elementsEqual(".".utf8), !name.elementsEqual("..".utf8) {
        all.append((String(decoding: name, as: UTF8.self), Self.kind(bytes[place + 18])))
      }
      place += length
    }
  }

  /// DT_DIR, DT_REG, DT_LNK. A file system that does not tell (DT_UNKNOWN) is one whose folders are not looked into.
  private static func kind(_ type: UInt8) -> HostFile.Kind {
    switch type {
    case 4: .folder
    case 8: .file
    case 10: .link
    default: .other
    }
  }
}
