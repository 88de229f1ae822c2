// What a text is made of, and so where a mark may stand in it: decided by its type, its name and its first bytes.
// It relies on a format that is not known having no place for marks.

package enum MarkFormat: Equatable, Sendable {
  /// Text for people: a mark may stand anywhere, and a warning in front.
  case prose
  case markdown
  case json
  case xml, html
  case csv
  /// Events of a server (text/event-stream).
  case events
  /// Source code, configuration, and what is not known.
  case none

  private static let byExtension: [String: MarkFormat] = [
    "": .prose, "txt": .prose, "text": .prose, "log": .prose, "rst": .prose, "md": .markdown, "markdown": .markdown,
    "json": .json, "jsonl": .json, "ndjson": .json, "geojson": .json, "ipynb": .json, "csv": .csv, "tsv": .csv,
    "xml": .xml, "svg": .xml, "rss": .xml, "atom": .xml, "html": .html, "htm": .html, "xhtml": .html,
  ]

  /// `type` is the media type without parameters, in lower case; `name` the path of what was asked for.
  package static func of(type: String, name: [UInt8], _ bytes: Span<UInt8>) -> MarkFormat {
    if type.hasSuffix("json") || type.hasSuffix("jsonl") || type.hasSuffix("json-seq") { return .json }
    if type == "text/html" { return .html }
    if type == "application/xhtml+xml" { return .html }
    if type.hasSuffix("xml") { return .xml }
    switch type {
    case "text/event-stream": return .events
    case "text/csv", "text/tab-separated-values": return .csv
    case "text/markdown", "text/x-markdown": return .markdown
    case "text/plain", "", "application/octet-stream", "binary/octet-stream": return untyped(fileExtension(name), bytes)
    default:
      // A type of text that is not known may be code; a type that is none of text is told by its bytes.
      return type.hasPrefix("text/") || isCodeType(type) ? .none : untyped("", bytes)
    }
  }

  private static func isCodeType(_ type: String) -> Bool {
    type.hasPrefix("application/")
      && ["yaml", "javascript", "ecmascript", "typescript", "toml", "graphql", "sql", "x-sh", "x-www-form-urlencoded"]
        .contains { type.hasSuffix($0) }
  }

  private static func untyped(_ name: String, _ bytes: Span<UInt8>) -> MarkFormat {
    let said = byExtension[name] ?? .none
    guard said == .prose else { return said }
    switch firstSign(bytes) {
    case UInt8(ascii: "{"), UInt8(ascii: "["): if JSONPlaces.reads(bytes) { return .json }
    case UInt8(ascii: "<"): return PageSniffer.looksLikePage(bytes, isLast: true) == true ? .html : .xml
    default: break
    }
    return CodeSniffer.looksLikeCode(bytes) ? .none : .prose
  }

  private static func firstSign(_ bytes: Span<UInt8>) -> UInt8 {
    var place = 0
    while place < bytes.count, bytes[place] <= 0x20 { place += 1 }
    return place < bytes.count ? bytes[place] : 0
  }

  private static func fileExtension(_ path: [UInt8]) -> String {
    let name =
      path.prefix { $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
      .split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).last ?? []
    guard let dot = name.lastIndex(of: UInt8(ascii: ".")) else { return "" }
    let end = name[(dot + 1)...]
    // `/v1.2` and `/example.com` name no file.
    guard end.count <= 8, end.contains(where: { ($0 | 0x20) &- 0x61 < 26 }) else { return "" }
    return String(decoding: end, as: UTF8.self).lowercased()
  }
}

/// True if text without a type is source code or configuration rather than prose: by how its lines open and end.
enum CodeSniffer {
  private static let linesMin = 3
  private static let bytesMax = 16 << 10
  private static let openings: [StaticString] = [
    "import ", "from ", "def ", "class ", "function ", "const ", "let ", "var ", "return ", "#include", "#define",
    "package ", "public ", "private ", "static ", "export ", "if (", "for (", "while (", "fn ", "use ", "struct ",
    "//", "/*", "*/", "SELECT ", "INSERT ", "CREATE ", "FROM ", "RUN ", "COPY ", "echo ", "sudo ",
  ]

  static func looksLikeCode(_ bytes: Span<UInt8>) -> Bool {
    for sign in ["#!", "<?", "%YAML", "---\n", "---\r", "{%"] as [StaticString] where bytes.hasBytes(sign, at: 0) {
      return true
    }
    var (lines, code, settings) = (0, 0, 0)
    var start = 0
    while start < min(bytes.count, bytesMax) {
      let end = bytes.firstIndex(of: 0x0a, in: start..<bytes.count) ?? bytes.count
      let line = trimmed(bytes, start..<end)
      if !line.isEmpty {
        lines += 1
        if isCode(bytes, line) { code += 1 }
        if isSetting(bytes, line, isIndented: line.lowerBound > start) { settings += 1 }
      }
      start = end + 1
    }
    return lines >= linesMin && (code * 10 >= lines * 3 || settings == lines)
  }

  private static func trimmed(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Range<Int> {
    var (start, end) = (range.lowerBound, range.upperBound)
    while start < end, bytes[start] <= 0x20 { start += 1 }
    while end > start, bytes[end - 1] <= 0x20 { end -= 1 }
    return start..<end
  }

  private static func isCode(_ bytes: Span<UInt8>, _ line: Range<Int>) -> Bool {
    switch bytes[line.upperBound - 1] {
    case UInt8(ascii: ";"), UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: "("), UInt8(ascii: "["),
      UInt8(ascii: "]"), UInt8(ascii: "\\"):
      return true
    default: return openings.contains { bytes.hasBytes($0, at: line.lowerBound) }
    }
  }

  /// `key: value`, `key = value`, `- item`, `# comment`, `[section]`, and what is indented below one.
  private static func isSetting(_ bytes: Span<UInt8>, _ line: Range<Int>, isIndented: Bool) -> Bool {
    if isIndented { return true }
    let first = bytes[line.lowerBound]
    if first == UInt8(ascii: "#") || first == UInt8(ascii: "-") || first == UInt8(ascii: "[") { return true }
    var place = line.lowerBound
    while place < line.upperBound, bytes[place].isAlphanumeric || bytes[place].isDashed || bytes[place] == 0x2e {
      place += 1
    }
    while place < line.upperBound, bytes[place] == 0x20 { place += 1 }
    guard place > line.lowerBound, place < line.upperBound else { return false }
    return bytes[place] == UInt8(ascii: ":") || bytes[place] == UInt8(ascii: "=")
  }
}
