// Methods and paths of the requests to one target, as far as the log has them, and the keys of a rule for them.
// It relies on Policy.PathPattern to take a path as a pattern; a path that it refuses, or too many, leaves paths out.
import Policy
import Wire

struct RequestShapes: Sendable {
  private static let methodsMax = 16
  private static let pathsMax = 256
  /// A rule with more patterns is read by nobody: folders stand for them, and where these are too many, nothing.
  static let patternsMax = 12

  private var paths: [String: Set<String>] = [:]
  private var pathCount = 0
  /// Requests without a method in the log: a rule with methods could refuse them.
  private var hasOpaque = false
  private var hasOddPath = false

  var isEmpty: Bool { paths.isEmpty || hasOpaque }

  mutating func addOpaque() { hasOpaque = true }

  mutating func add(method: String, path: String?) {
    guard Self.isWord(method), paths[method] != nil || paths.count < Self.methodsMax else {
      hasOpaque = true
      return
    }
    paths[method, default: []].formUnion([])
    guard let path, Self.isPattern(path), pathCount < Self.pathsMax else {
      hasOddPath = true
      return
    }
    if paths[method]?.insert(path).inserted == true { pathCount += 1 }
  }

  mutating func add(_ other: RequestShapes) {
    hasOpaque = hasOpaque || other.hasOpaque
    hasOddPath = hasOddPath || other.hasOddPath
    for (method, seen) in other.paths {
      paths[method, default: []].formUnion([])
      for path in seen { add(method: method, path: path) }
    }
  }

  /// Letters of RFC 9110 methods as policies take them; CONNECT opens a tunnel, and is no request inside one.
  private static func isWord(_ text: String) -> Bool {
    (1...32).contains(text.utf8.count) && text != "CONNECT"
      && text.utf8.allSatisfy { $0 &- 0x41 < 26 || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }
  }

  /// Texts that stand between double quotes as they are, and that a policy takes for a path.
  private static func isPattern(_ text: String) -> Bool {
    let isPlain = text.utf8.allSatisfy { (0x21..<0x7f).contains($0) && $0 != 0x22 && $0 != 0x5c }
    guard text.hasPrefix("/"), text.utf8.count <= 256, isPlain else { return false }
    do throws(PathPattern.Problem) { _ = try PathPattern(text) } catch { return false }
    return true
  }

  /// `methods: [GET], paths: ["/a/*"]`, or pairs of both; empty where the log has too little.
  var keys: String {
    if isEmpty { return "" }
    let patterns = self.patterns
    let sets = Set(patterns.values)
    let methods = patterns.keys.sorted()
    if sets.count == 1, let shared = sets.first {
      return "methods: [\(methods.joined(separator: ", "))]" + Self.list(shared)
    }
    let pairs = methods.map { "{methods: [\($0)]\(Self.list(patterns[$0] ?? []))}" }
    return "requests: [\(pairs.joined(separator: ", "))]"
  }

  private static func list(_ paths: Set<String>) -> String {
    paths.isEmpty ? "" : ", paths: [\(paths.sorted().map { "\"\($0)\"" }.joined(separator: ", "))]"
  }

  /// By method; all are empty where paths cannot be told.
  private var patterns: [String: Set<String>] {
    if hasOddPath { return paths.mapValues { _ in [] } }
    if Self.count(paths) <= Self.patternsMax { return paths }
    let folders = paths.mapValues { Set($0.map(Self.folder)) }
    return Self.count(folders) <= Self.patternsMax ? folders : paths.mapValues { _ in [] }
  }

  private static func count(_ paths: [String: Set<String>]) -> Int { paths.values.reduce(0) { $0 + $1.count } }

  /// `/repos/**` for `/repos/acme/x`; a path of one segment is its own.
  private static func folder(_ path: String) -> String {
    guard let slash = path.dropFirst().firstIndex(of: "/") else { return path }
    return "\(path[..<slash])/**"
  }

}
