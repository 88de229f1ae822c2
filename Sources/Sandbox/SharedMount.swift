// Folders and files of the host that a sandbox is shown, and where: workspace, further paths, binds, caches, a home.
// Relies on sources being real paths, and on places inside that hold no file of the host's, but for a home of its own.

import Kernel

/// The rights that a mount gives.
package enum MountAccess: String, Sendable { case readOnly = "read-only", writable, device }

package struct SharedMount: Equatable, Sendable {
  /// On the host.
  package let source: String
  /// Inside.
  package let path: String
  package let access: MountAccess

  package init(_ source: String, at path: String? = nil, _ access: MountAccess) {
    (self.source, self.path, self.access) = (source, path ?? source, access)
  }

  /// Where a path of the host is seen by this mount.
  func inside(_ host: String) -> String? {
    guard host.isAtOrBelow(source) else { return nil }
    return host.isBelow(source) ? "\(path)/\(host.below(source))" : path
  }
}

/// A file that is put into the home before the command starts, unless there is one already.
package struct HomeSeed: Equatable, Sendable {
  /// Inside.
  package let path: String
  package let bytes: [UInt8]
  package let isProgram: Bool

  package init(_ path: String, _ bytes: [UInt8], isProgram: Bool = false) {
    (self.path, self.bytes, self.isProgram) = (path, bytes, isProgram)
  }
}

/// A file that is put over those of a folder of the system.
package struct LayerFile: Equatable, Sendable {
  let name: String
  let text: String

  init(_ name: String, _ text: String) { (self.name, self.text) = (name, text) }
}

/// A configuration of git's that the command has a copy of.
package struct GitCopy: Equatable, Sendable {
  /// Where the copies are seen inside.
  package static let folder = "/run/sluice-git"

  /// The configuration itself.
  package let path: String
  let number: Int

  package var inside: String { "\(Self.folder)/\(number)/config" }
}
