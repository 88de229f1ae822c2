// The repository as these tests read it: files, their lines, and where functions begin and end.
// It relies on the layout that `swift format` gives: a declaration's closing brace stands under its first letter.
import Foundation

enum Repository {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  struct File {
    let path: String
    let lines: [String]

    /// The folder under Sources.
    var part: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
    /// Lines with comments made empty.
    var code: [String] {
      lines.map { line in
        if line.isComment { return "" }
        guard let comment = line.range(of: " // ") ?? line.range(of: "  //") else { return line }
        return String(line[..<comment.lowerBound])
      }
    }
  }

  static func swiftFiles(under folder: String) throws -> [File] { try files(under: folder, withSuffixes: [".swift"]) }

  static func files(under folder: String, withSuffixes suffixes: [String]) throws -> [File] {
    let base = root.appending(path: folder)
    guard let names = FileManager.default.enumerator(atPath: base.path) else { return [] }
    return try names.compactMap { $0 as? String }.filter { suffixes.contains(where: $0.hasSuffix) }.sorted().map {
      name in
      try file("\(folder)/\(name)")
    }
  }

  static func file(_ path: String) throws -> File {
    let text = try String(contentsOf: root.appending(path: path), encoding: .utf8)
    return File(path: path, lines: text.components(separatedBy: "\n"))
  }
}

struct Functions {
  let line: Int
  let length: Int

  static func of(_ lines: [String]) -> [Functions] {
    var found: [Functions] = []
    for (index, line) in lines.enumerated() where isFunction(line) {
      let indent = line.prefix { $0 == " " }
      guard let end = lines[index...].firstIndex(where: { $0 == indent + "}" }) else { continue }
      found.append(Functions(line: index + 1, length: end - index + 1))
    }
    return found
  }

  private static func isFunction(_ line: String) -> Bool {
    let words = line.split(whereSeparator: { " (<?".contains($0) })
    return !line.isComment && !line.contains("}") && words.contains { $0 == "func" || $0 == "init" || $0 == "deinit" }
  }
}

extension String {
  var isComment: Bool { drop { $0 == " " }.hasPrefix("//") }

  func contains(word: String) -> Bool { split { !$0.isLetter && !$0.isNumber && $0 != "_" }.contains { $0 == word } }

  /// String literals made empty; `!` in a text forces nothing.
  var withoutStrings: String { replacing(/"(\\.|[^"\\])*"/, with: "\"\"") }
}
