// A path of the host as whoever wrote it meant it: its links are followed, but none that a sandbox could have put
// there. It relies on the writable folders being real paths; what stands in one of them may be the work of an earlier
// run.
import Kernel

package enum TrustedPath: Equatable, Sendable {
  /// Absolute, and without links.
  case real(String)
  /// A link in a folder that the command may write: it may lead to what nobody meant to show.
  case planted(String)
  case missing

  /// As the kernel (path_resolution(7)).
  private static let linksMax = 40

  package static func resolve(_ path: String, writable: [String]) -> TrustedPath {
    var rest = Array(path.pathParts.reversed())
    var here: [String] = []
    var links = 0
    while let part = rest.popLast() {
      if part == "." { continue }
      if part == ".." {
        // What is here holds no link: the folder above is the one that stands before it.
        _ = here.popLast()
        continue
      }
      let folder = "/" + here.joined(separator: "/")
      let next = here.isEmpty ? "/\(part)" : "\(folder)/\(part)"
      switch HostFile.kind(next) {
      case .missing: return .missing
      case .link:
        if writable.contains(where: { folder.isAtOrBelow($0) }) { return .planted(next) }
        links += 1
        guard links <= linksMax, let target = HostFile.linkTarget(next) else { return .missing }
        if target.hasPrefix("/") { here = [] }
        rest += target.pathParts.reversed()
      case .folder, .file, .other: here.append(part)
      }
    }
    return .real("/" + here.joined(separator: "/"))
  }
}

extension String {
  /// Of a path that is below `folder`, the rest.
  func below(_ folder: String) -> String {
    String(decoding: Array(utf8.dropFirst(folder == "/" ? 1 : folder.utf8.count + 1)), as: UTF8.self)
  }

  var pathParts: [String] { utf8.split(separator: UInt8(ascii: "/")).map { String(decoding: $0, as: UTF8.self) } }
}
