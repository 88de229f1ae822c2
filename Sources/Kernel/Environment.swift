// Environment variables, read only.
// It relies on nobody changing the environment while threads run.
import CLinux
import Glibc

package enum Environment {
  package static func value(_ name: String) -> String? {
    // SAFETY: nothing in this program changes its environment; the text is copied at once.
    guard let text = unsafe getenv(name) else { return nil }
    return unsafe String(cString: text)
  }

  /// A base folder of the XDG specification: the variable's absolute path, or else a folder below HOME. Nil without
  /// HOME.
  package static func baseFolder(_ name: String, belowHome: String) -> String? {
    if let folder = value(name), folder.hasPrefix("/") { return folder }
    return value("HOME").flatMap { $0.hasPrefix("/") ? "\($0)/\(belowHome)" : nil }
  }

  package static func names() -> [String] {
    var names: [String] = []
    // SAFETY: as above; the list ends with NULL, and is not asked for what lies behind.
    while let entry = unsafe clinux_environment(names.count) {
      names.append(String(unsafe String(cString: entry).prefix { $0 != "=" }))
    }
    return names
  }
}
