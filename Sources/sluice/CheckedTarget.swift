// An argument of `sluice check`: a target, or a URL, which is a target and a request.
// Relies on Authority for the target, as the gate does; of a URL the part behind # never leaves a client.
import Policy
import Sandbox
import Wire

struct CheckedTarget: CustomStringConvertible {
  struct Problem: Error { let text: String }

  let target: Target
  /// nil: only the target was named.
  private(set) var request: (method: String, path: String)?
  let description: String

  /// Ports that clients take where a URL names none.
  private static let schemes: [(name: String, port: UInt16)] = [("https", 443), ("http", 80), ("wss", 443), ("ws", 80)]

  /// A first argument that is a policy file: no target can be read from it, and it is there or is called as one.
  static func isFile(_ text: String) -> Bool {
    if text.contains("://") || (try? parse(text, defaultPort: nil)) != nil { return false }  // a target then
    return text.hasSuffix(".yaml") || text.hasSuffix(".yml") || text.contains("/") || HostFile.kind(text) == .file
  }

  init(_ text: String, method: String) throws(Problem) {
    guard let mark = text.firstRange(of: "://") else {
      target = try Self.parse(text, defaultPort: nil)
      description = "\(target)"
      return
    }
    let scheme = text[..<mark.lowerBound].lowercased()
    guard let port = Self.schemes.first(where: { $0.name == scheme })?.port else {
      throw Problem(
        text: "clients of the gate do not use \(scheme)://; write HOST:PORT, or a URL with https:// or http://")
    }
    let rest = text[mark.upperBound...].prefix { $0 != "#" }
    let authority = rest.prefix { $0 != "/" && $0 != "?" }
    target = try Self.parse(String(authority), defaultPort: port)
    let path = String(rest.dropFirst(authority.count))
    let absolute = Array((path.hasPrefix("/") ? path : "/" + path).utf8)
    // The text of a command line is valid UTF-8 by the time it is a String.
    let sent = (try? RequestPath.escapingRawUTF8(absolute.span)) ?? nil
    request = (method, String(decoding: sent ?? absolute, as: UTF8.self))
    description = text
  }

  private static func parse(_ text: String, defaultPort: UInt16?) throws(Problem) -> Target {
    do throws(AuthorityProblem) { return try Authority.parse(Array(text.utf8).span, defaultPort: defaultPort) } catch {
      throw Problem(text: "\(error); write HOST:PORT, such as api.example.com:443, or a URL")
    }
  }
}
