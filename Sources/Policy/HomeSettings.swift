// The home folder of a sandbox: its size, its kind, its path, and the parts of the caller's own home in it.
// It relies on the starter of the sandbox for places on the disk.

package struct HomeSettings: Equatable, Sendable {
  package enum Store: Equatable, Sendable {
    /// Empty at the start, deleted at the end.
    case temporary(bytes: Int)
    /// A folder of the host, which is kept.
    case folder(Settings.Files.Entry)
    /// A folder that Sluice keeps under this name for the next run.
    case persistent(String)
  }

  /// The path of the home inside the sandbox.
  package enum Place: Equatable, Sendable {
    case own
    /// The path of the caller's own home, so that paths in programs' settings stay valid.
    case caller
    case path(String)
  }

  package var store = Store.temporary(bytes: 256 << 20)
  package var place = Place.own
  /// Paths of the caller's home, relative to it, shown at the same place inside.
  package var readOnly: [Settings.Files.Entry] = []
  package var copied: [Settings.Files.Entry] = []
  package var caches: [HomeCache] = []

  package init() {}
}

/// Folders of the home that runs share, even if the rest of the home is new.
package struct HomeCache: Hashable, Sendable {
  package let name: String
  /// Paths relative to the home.
  package let folders: [String]

  private init(_ name: String, _ folders: [String]) { (self.name, self.folders) = (name, folders) }

  /// Any folder of the home, under its own name.
  package init(folder: String) { self.init(folder, [folder]) }

  package static func named(_ name: String) -> HomeCache? { known.first { $0.name == name } }

  package static let known = [
    HomeCache("pip", [".cache/pip"]), HomeCache("uv", [".cache/uv"]), HomeCache("npm", [".npm"]),
    HomeCache("yarn", [".cache/yarn", ".yarn/berry"]), HomeCache("pnpm", [".local/share/pnpm/store"]),
    HomeCache("cargo", [".cargo/registry", ".cargo/git"]), HomeCache("maven", [".m2/repository"]),
    HomeCache("gradle", [".gradle/caches"]), HomeCache("go", ["go/pkg/mod", ".cache/go-build"]),
  ]
}

/// Allowed paths for a home inside the sandbox.
package enum HomePlace {
  private static let taken: Set<Substring> = [
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "proc", "sys", "dev", "tmp", "run",
  ]

  /// The problem with this path; nil if there is none.
  package static func problem(_ path: String) -> String? {
    let parts = path.split(separator: "/")
    guard path.hasPrefix("/"), let first = parts.first, !parts.contains("..") else {
      return "write a whole path, from / and without `..`, or `caller`"
    }
    guard taken.contains(first) || parts.starts(with: ["var", "tmp"]) else { return nil }
    return "the sandbox has its own /\(first); put the home elsewhere, such as /home/agent"
  }
}

package enum WorkspaceMode: String, CaseIterable, Sendable {
  case readWrite = "rw"
  case readOnly = "ro"
  /// Writable; the changes are shown and applied at the end, or dropped.
  case copy
}
