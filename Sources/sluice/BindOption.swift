// `--bind SRC:DST[:ro]`: a folder or file of the host at another place inside.
// Relies on SandboxPaths for what else is shown; a bind lies neither on the system's nor in another shown folder.
import ArgumentParser
import Kernel
import Sandbox

struct BindOption: ExpressibleByArgument {
  let text: String
  let source: String
  let path: String
  let access: MountAccess

  /// Paths with a colon have no way to be written.
  init?(argument: String) {
    let parts = argument.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard (2...3).contains(parts.count), !parts[0].isEmpty, parts[1].hasPrefix("/"),
      !argument.utf8.contains(0), parts.count == 2 || ["ro", "rw"].contains(parts[2])
    else { return nil }
    (text, source) = (argument, parts[0])
    path = "/" + parts[1].split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    access = parts.count == 3 && parts[2] == "ro" ? .readOnly : .writable
  }

  private static let taken = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/proc", "/sys", "/dev",
  ]
  /// Folders that may hold one, and may not be one.
  private static let places = ["/", "/tmp", "/var", "/var/tmp", "/run", "/home", "/root", "/opt", "/srv", "/mnt"]

  /// `shown` are all other mounts, the workspace among them; `home` is the home inside.
  func mount(_ shown: [SharedMount], home: String, writable: [String]) throws(LaunchFailure) -> SharedMount {
    func failure(_ text: String) -> LaunchFailure { LaunchFailure("--bind \(self.text): \(text)") }
    let whole = source.hasPrefix("/") ? source : "\(HostFile.realPath(".") ?? "/")/\(source)"
    let real: String
    switch TrustedPath.resolve(whole, writable: writable) {
    case .real(let path): real = path
    case .missing: throw failure("there is no \(source)")
    case .planted(let link):
      throw failure(
        "\(link) is a symbolic link that the command of an earlier run could have made; name its target instead")
    }
    if Self.places.dropFirst().contains(real) || real == "/" || Self.taken.contains(where: { real.isAtOrBelow($0) }) {
      throw failure("\(real) is a system folder; name something inside it")
    }
    if path.split(separator: "/").contains("..") { throw failure("write the place inside without `..`") }
    if Self.places.contains(path) || path == home || home.isBelow(path)
      || Self.taken.contains(where: { path.isAtOrBelow($0) })
    {
      throw failure("the sandbox has its own \(path); name another place inside, such as /mnt/data")
    }
    for other in shown {
      if path.isAtOrBelow(other.path) || other.path.isBelow(path) {
        throw failure("\(other.path) is shown there already; name another place inside")
      }
      // Under its other name it could be written, or is protected under one name alone.
      if access != .readOnly || other.access != .readOnly, real.isAtOrBelow(other.source) || other.source.isBelow(real)
      {
        throw failure(
          "\(other.source) is shown already, and \(real) lies in it or holds it: show both with :ro, or one"
        )
      }
    }
    return SharedMount(real, at: path, access)
  }
}
