// A file that a sandbox may never see, or never change: policy, log, keys, sockets of gates. Held to all that is
// mounted. It relies on device and inode, not on names: another mount of a folder, or a second name of a file, is one.
import CSandbox
import Kernel

package struct GuardedFile: Equatable, Sendable {
  package enum Kind: Sendable {
    /// A key, a password, a socket by which a gate is told what to do.
    case secret
    /// A log, a policy: others may read it.
    case record
  }

  let path: String
  let what: String
  let kind: Kind

  package init(_ path: String, _ what: String, _ kind: Kind) { (self.path, self.what, self.kind) = (path, what, kind) }

  struct Identity: Hashable {
    let device: UInt64
    let inode: UInt64
  }

  static func identity(_ path: String?, fd: CInt = -1) -> (identity: Identity, links: UInt64)? {
    var (device, inode, links) = (UInt64(0), UInt64(0), UInt64(0))
    // SAFETY: three locals for the time of the call.
    guard unsafe csandbox_identity(path, fd, &device, &inode, &links) == 0 else { return nil }
    return (Identity(device: device, inode: inode), links)
  }

  /// Where it really is; of one that is not there yet, where it would be.
  var real: String? {
    if let real = HostFile.realPath(path) { return real }
    let whole = path.whole(in: HostFile.realPath(".") ?? "/", home: nil)
    return HostFile.realPath(whole.parentFolder).map { $0 == "/" ? "/\(whole.lastPart)" : "\($0)/\(whole.lastPart)" }
  }
}

/// All folders and files of the host that a plan mounts, with what is mounted below them on the host.
package struct ShownFiles {
  private struct Shown {
    /// On the host, and inside.
    let source: String
    let path: String
    let isWritable: Bool
    let identity: GuardedFile.Identity
  }

  private static let hardLinksMax = 200_000

  private var shown: [Shown] = []
  private let hidden: [String]
  private let pinned: [String]

  package init(_ plan: SandboxPlan) {
    let mounts = Self.mountPoints()
    hidden = plan.steps.compactMap { if case .hide(let path) = $0 { path } else { nil } }
    pinned = plan.steps.compactMap { if case .pin(let path, .readOnly) = $0 { path } else { nil } }
    for case .bind(let source, let path, let access) in plan.steps where access != .device {
      add(source, at: path, isWritable: access == .writable)
      for mount in mounts where mount.isBelow(source) {
        add(mount, at: "\(path)/\(mount.below(source))", isWritable: access == .writable)
      }
    }
  }

  private mutating func add(_ source: String, at path: String, isWritable: Bool) {
    guard let identity = GuardedFile.identity(source)?.identity else { return }
    shown.append(Shown(source: source, path: path, isWritable: isWritable, identity: identity))
  }

  /// proc_pid_mountinfo(5): the fifth field, with octal escapes.
  private static func mountPoints() -> [String] {
    let text =
      FileBytes.read("/proc/self/mountinfo", bytesMax: 4 << 20).map { String(decoding: $0, as: UTF8.self) } ?? ""
    return text.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count > 4 else { return nil }
      return String(fields[4]).replacingEscapes
    }
  }

  package func check(_ file: GuardedFile) throws(LaunchFailure) {
    for place in places(of: file) {
      if hidden.contains(where: { place.path.isAtOrBelow($0) }) { continue }
      if file.kind == .record, !place.isWritable || pinned.contains(where: { place.path.isAtOrBelow($0) }) { continue }
      let verb = file.kind == .record ? "write" : "see"
      let name = place.path == file.path ? "" : " as \(place.path)"
      throw LaunchFailure(
        "\(file.what) \(file.path) is a file that the command could \(verb)\(name); keep it elsewhere, or show less")
    }
    for fd in CInt(0)...2 {
      guard let open = GuardedFile.identity(nil, fd: fd), open.identity == GuardedFile.identity(file.path)?.identity,
        file.kind == .secret || file.what != "the log"
      else { continue }
      throw LaunchFailure("\(file.what) \(file.path) is open as descriptor \(fd), which the command would have")
    }
  }

  private func places(of file: GuardedFile) -> [(path: String, isWritable: Bool)] {
    guard let real = file.real else { return [] }
    var places: [(path: String, isWritable: Bool)] = []
    var above = real
    while true {
      if let identity = GuardedFile.identity(above)?.identity {
        for one in shown where one.identity == identity {
          places.append((above == real ? one.path : "\(one.path)/\(real.below(above))", one.isWritable))
        }
      }
      if above == "/" { break }
      above = above.parentFolder
    }
    return places + otherNames(of: real)
  }

  /// A file with several names may have one that is shown.
  private func otherNames(of real: String) -> [(path: String, isWritable: Bool)] {
    guard let found = GuardedFile.identity(real), found.links > 1 else { return [] }
    var places: [(path: String, isWritable: Bool)] = []
    var left = Self.hardLinksMax
    for one in shown where one.identity.device == found.identity.device {
      var waiting = [one.path]
      while let folder = waiting.popLast(), left > 0 {
        let source = folder == one.path ? one.source : "\(one.source)/\(folder.below(one.path))"
        for entry in HostFile.list(source) {
          left -= 1
          let path = "\(folder)/\(entry.name)"
          if entry.kind == .folder { waiting.append(path) }
          if entry.kind == .file, GuardedFile.identity("\(source)/\(entry.name)")?.identity == found.identity {
            places.append((path, one.isWritable))
          }
        }
      }
    }
    return places
  }
}

extension String {
  /// `\040` for a blank, as mount tables have it.
  fileprivate var replacingEscapes: String {
    let bytes = Array(utf8)
    var plain: [UInt8] = []
    var place = 0
    while place < bytes.count {
      let digits = bytes[place...].dropFirst().prefix(3)
      if bytes[place] == UInt8(ascii: "\\"), digits.count == 3, digits.allSatisfy({ (0x30...0x37).contains($0) }) {
        plain.append(UInt8(truncatingIfNeeded: digits.reduce(0) { $0 * 8 + Int($1 - 0x30) }))
        place += 4
      } else {
        plain.append(bytes[place])
        place += 1
      }
    }
    return String(decoding: plain, as: UTF8.self)
  }
}
