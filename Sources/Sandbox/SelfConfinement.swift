// What the gate's own process keeps once its listeners stand: a value that says which files, and the step that gives up
// the rest. It relies on being entered while the process has one thread: threads that start later inherit it, none is
// left out.
import CSandbox
package import Kernel

package struct SelfConfinement: Equatable, Sendable {
  package enum Reach: UInt32, Sendable {
    case read
    /// Appending to files and making them; reading none.
    case append
    case cgroup
    /// Taking files away: the admin socket, at the end.
    case remove
  }
  package struct Place: Hashable, Sendable {
    package let path: String
    package let reach: Reach

    package init(_ path: String, _ reach: Reach) { (self.path, self.reach) = (path, reach) }
  }

  /// What names are looked up by, read again by c-ares and for /etc/hosts; and where the usual daemons replace it.
  private static let resolverFiles = [
    "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/svc.conf", "/run/systemd/resolve",
    "/run/resolvconf", "/dev/urandom",
  ]
  /// Files that name an asker at the admin socket: its process, and the name of its user.
  private static let peerFiles = ["/proc", "/etc/passwd"]
  /// Below these stands far more than a policy or a log.
  private static let broadFolders = ["/", "/etc", "/root", "/home", "/usr", "/var", "/run", "/tmp"]

  package let places: [Place]
  /// The process looks after a sandbox.
  package let supervises: Bool
  /// The gate connects to a unix socket that the policy names.
  package let usesLocalSockets: Bool

  private init(_ places: [Place], supervises: Bool, usesLocalSockets: Bool = false) {
    self.usesLocalSockets = usesLocalSockets
    self.places = Self.resolverFiles.map { Place($0, .read) } + places
    self.supervises = supervises
  }

  /// `read` are the files that a reload reads again: the policy and what it names. Editors replace files, so it is
  /// their folders that stay readable; of the log it is the folder that a new one may be made in.
  /// Peers of the admin socket are looked up in /proc; of others' memory and environment nothing is readable there,
  /// since Landlock keeps the processes outside of a domain from being traced.
  package static func serving(
    read: [String], replaced: [String] = [], log: String?, adminSocket: String? = nil,
    usesLocalSockets: Bool = false, folder: (String) -> [String]
  ) -> SelfConfinement {
    var places: [Place] = []
    for path in read {
      places.append(Place(path, .read))
      places += folder(path).map { Place($0, .read) }
    }
    for folder in replaced.flatMap(folder) { places += [Place(folder, .append), Place(folder, .remove)] }
    if let log {
      places.append(Place(log, .append))
      places += folder(log).map { Place($0, .append) }
    }
    if let adminSocket {
      places += Self.peerFiles.map { Place($0, .read) }
      places += folder(adminSocket).map { Place($0, .remove) }
    }
    return SelfConfinement(places, supervises: false, usesLocalSockets: usesLocalSockets)
  }

  /// Policy and log are open, and stay so; `read` are the files of credentials, each with its folder.
  /// `isAsked`: others may ask for further commands, or answer requests; /proc tells who they are.
  package static func supervising(
    cgroup: CgroupSpec?, read: [String] = [], replaced: [String] = [], isAsked: Bool = false,
    usesLocalSockets: Bool = false
  ) -> SelfConfinement {
    let paths = read.flatMap { [$0] + folders(of: $0) } + (isAsked ? Self.peerFiles : [])
    let written = replaced.flatMap { folders(of: $0) }.flatMap { [Place($0, .append), Place($0, .remove)] }
    return SelfConfinement(
      (cgroup.map { [Place($0.base, .cgroup)] } ?? []) + paths.map { Place($0, .read) } + written, supervises: true,
      usesLocalSockets: usesLocalSockets)
  }

  /// The folder that a path names, and the one that it leads to by links. What stands below /proc and /dev is a
  /// descriptor or a device, and is not replaced.
  package static func folders(of path: String) -> [String] {
    let folders = [HostFile.realPath(path.folderOfPath), HostFile.realPath(path)?.folderOfPath]
    return Set(folders.compactMap { $0 }).filter { folder in
      !["/proc", "/dev"].contains { folder.isAtOrBelow($0) }
    }.sorted()
  }

  /// Folders that hold far more than what the gate has in them, a line each.
  package var broad: [String] {
    places.filter { Self.broadFolders.contains($0.path) }.map { place in
      switch place.reach {
      case .read:
        "reads all below \(place.path), where its policy or a password file stands; give them a folder of their own, such as /etc/sluice"
      case .append, .cgroup:
        "writes all below \(place.path), where its log stands; give that a folder of its own, such as /var/log/sluice"
      case .remove:
        "may remove files below \(place.path), where its admin socket stands; give that a folder of its own, such as /run/sluice"
      }
    }
  }

  /// What this kernel cannot hold.
  package func enter() throws(SystemError) -> [String] {
    var texts: [CChar] = []
    let compiled = places.map { place in
      let start = UInt32(texts.count)
      texts += place.path.utf8.map { CChar(bitPattern: $0) } + [0]
      return csandbox_place(text: start, kind: place.reach.rawValue)
    }
    var lacks = csandbox_lacks()
    // SAFETY: arrays and locals for the time of the call; the stage is a literal.
    let result = unsafe compiled.withUnsafeBufferPointer { compiled in
      unsafe texts.withUnsafeBufferPointer { texts in
        var reach = unsafe csandbox_reach(
          places: compiled.baseAddress, count: UInt32(compiled.count), supervises: supervises ? 1 : 0,
          texts: texts.baseAddress, local_sockets: usesLocalSockets ? 1 : 0)
        return unsafe csandbox_confine_gate(&reach, &lacks)
      }
    }
    if result < 0 { throw SystemError(unsafe String(cString: csandbox_stage()), code: -result) }
    return text(lacks)
  }

  private func text(_ lacks: csandbox_lacks) -> [String] {
    var texts: [String] = []
    if lacks.landlock != 0 {
      texts.append("\(SystemError("no Landlock", code: lacks.landlock)), so access to files is not restricted")
    } else if !supervises {
      // Of a sandbox's gate it is left to `sluice doctor`: each command would begin with that line.
      texts += Landlock.lacks(version: Int(lacks.landlock_version))
    }
    if lacks.seccomp != 0 {
      texts.append("\(SystemError("no seccomp filter", code: lacks.seccomp)), so system calls are not restricted")
    }
    return texts
  }
}

package enum Landlock {
  /// nil where the kernel has none.
  package static var version: Int? {
    let version = Int(csandbox_landlock_version())
    return version > 0 ? version : nil
  }

  /// What came with a version, and the kernel that it came with.
  package static func lacks(version: Int) -> [String] {
    let grown = [
      (3, "truncating", "6.2"), (4, "TCP ports", "6.7"), (5, "device ioctls", "6.10"),
      (6, "signals and abstract sockets", "6.12"),
    ]
    let missing = grown.filter { $0.0 > version }.map { "\($0.1) (Linux \($0.2))" }
    return missing.isEmpty ? [] : ["Landlock version \(version) does not restrict \(missing.joined(separator: ", "))"]
  }
}
