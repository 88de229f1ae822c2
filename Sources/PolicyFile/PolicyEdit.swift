// Edits a policy file's text and keeps its comments and layout: an item is added to a list, and no other byte moves.
// It relies on the marks of the YAML reader for the list's place. The caller must parse the result as a policy before
// writing it.
import Policy
import YAML

package struct PolicyEdit {
  /// A list of `network_policy`.
  package enum List: String, Sendable { case allow, deny, rateLimits = "rate_limits" }

  package struct Problem: Error, CustomStringConvertible {
    package let description: String
    package init(description: String) { self.description = description }
  }

  package var bytes: [UInt8] { text.bytes }
  private var text: EditedText

  package init(_ bytes: [UInt8]) { text = EditedText(bytes) }

  /// A rule `HOST:PORT` as an item of a list; quoted where YAML would take it for something else.
  package static func item(_ rule: String) -> String {
    let isPlain =
      rule.utf8.first?.isLetterOrDigit == true
      && rule.utf8.allSatisfy { $0.isLetterOrDigit || "-_.:".utf8.contains($0) }
    if isPlain { return rule }
    return "\"" + rule.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }

  /// Adds one item, YAML on one line, behind the others. The list is that of the client's own `network_policy` if
  /// there is one, else the file's. A missing list or section is created. A comment is added if each item has its own
  /// line.
  package mutating func add(
    _ item: String, to list: List = .allow, of client: String? = nil, comment: String? = nil
  ) throws(Problem) {
    guard !item.utf8.contains(where: { $0 < 0x20 }), comment?.utf8.contains(where: { $0 < 0x20 }) != true else {
      throw Problem(description: "an item is one line")
    }
    let root = try read()
    let line = "- \(item)" + (comment.map { "  # \($0)" } ?? "")
    guard let section = Self.own(client, in: root) ?? root["network_policy"] else {
      guard !text.isFlow(root.mark) else { throw Self.flow("the file") }
      return text.append(["network_policy:", "  \(list.rawValue):", "    \(line)"])
    }
    try add(item, line, to: list, of: section)
  }

  /// Adds one entry to `requests` of the allow rule at this place. False if the rule has no such list.
  package mutating func add(request item: String, toRuleAt line: Int, column: Int, comment: String? = nil)
    throws(Problem) -> Bool
  {
    let rule = try read().all.first { $0.mark.line == line && $0.mark.column == column && $0["requests"] != nil }
    guard let requests = rule?["requests"], case .sequence(let items) = requests.content else { return false }
    if text.isFlow(requests.mark) { return text.insert(item, inFlowAt: requests.mark) }
    try addLine("- \(item)" + (comment.map { "  # \($0)" } ?? ""), behind: items)
    return true
  }

  /// Mutes patterns for the allow rule at this place, in its `content`, which is created if missing. False if no rule
  /// with several keys is there.
  package mutating func mute(_ patterns: [String], atRule line: Int, column: Int, comment: String? = nil)
    throws(Problem) -> Bool
  {
    let isRule = { (node: YAMLNode) in node.mark.line == line && node.mark.column == column && node["host"] != nil }
    guard let rule = try read().all.first(where: isRule) else { return false }
    let note = comment.map { "  # \($0)" } ?? ""
    let list = "muted: [\(patterns.map(Self.item).joined(separator: ", "))]"
    guard let content = rule["content"] else {
      try add("content: {\(list)}", note, toMapping: rule)
      return true
    }
    guard let muted = content["muted"] else {
      guard case .mapping(let pairs) = content.content, !pairs.isEmpty else { return false }
      try add(list, note, toMapping: content)
      return true
    }
    guard case .sequence(let items) = muted.content, !items.isEmpty || text.isFlow(muted.mark) else { return false }
    if text.isFlow(muted.mark) {
      return text.insert(patterns.map(Self.item).joined(separator: ", "), inFlowAt: muted.mark)
    }
    // Each item goes behind the last original one, so insert in reverse order.
    for pattern in patterns.reversed() { try addLine("- \(Self.item(pattern))\(note)", behind: items) }
    return true
  }

  /// Adds a key, on its own line if the other keys have one.
  private mutating func add(_ pair: String, _ note: String, toMapping node: YAMLNode) throws(Problem) {
    if text.isFlow(node.mark) {
      guard text.insert(pair, inFlowAt: node.mark) else { throw Self.flow("the rule") }
      return
    }
    guard let key = node.pairs.first?.key.mark else { throw Problem(description: "the rule has no keys") }
    // Behind the last line of the mapping: all that is indented as far as its first key.
    let end = text.end(ofItemAt: key.line, indent: key.column - 2)
    text.insert([pair + note], indent: key.column - 1, before: end)
  }

  private func read() throws(Problem) -> YAMLNode {
    let findings = Findings(file: "")
    guard let root = YAMLDocument.parse(text.bytes, findings), findings.problems.isEmpty else {
      throw Problem(description: "the file is no YAML: \(findings.problems.first?.text ?? "it is empty")")
    }
    guard case .mapping = root.content else { throw Problem(description: "the file is no mapping") }
    return root
  }

  /// Nil for a client with the file's rules.
  private static func own(_ client: String?, in root: YAMLNode) -> YAMLNode? {
    guard let client, case .sequence(let clients)? = root["clients"]?.content else { return nil }
    return clients.first { $0["name"]?.word == client }?["network_policy"]
  }

  private static func flow(_ what: String) -> Problem {
    Problem(description: "\(what) is written in braces in a way that an item cannot be added to; write it in lines")
  }

  private mutating func add(_ item: String, _ line: String, to list: List, of section: YAMLNode) throws(Problem) {
    if let found = section[list.rawValue] {
      switch found.content {
      case .sequence(let items):
        if text.isFlow(found.mark) {
          guard text.insert(item, inFlowAt: found.mark) else { throw Self.flow("`\(list.rawValue)`") }
        } else {
          try addLine(line, behind: items)
        }
      case .scalar where found.isNull: try fill(list.rawValue, of: section, [line])
      case .scalar, .mapping: throw Problem(description: "`\(list.rawValue)` is no list")
      }
      return
    }
    guard case .mapping(let pairs) = section.content, let first = pairs.first else {
      return try fill(section, item, line, list)
    }
    if text.isFlow(section.mark) {
      guard text.insert("\(list.rawValue): [\(item)]", inFlowAt: section.mark) else {
        throw Self.flow("`network_policy`")
      }
      return
    }
    text.insert(["\(list.rawValue):", "  \(line)"], indent: first.key.mark.column - 1, before: first.key.mark.line)
  }

  /// Lines below a key that has no value yet.
  private mutating func fill(_ key: String, of section: YAMLNode, _ lines: [String]) throws(Problem) {
    guard case .mapping(let pairs) = section.content, let pair = pairs.first(where: { $0.key.word == key }),
      !text.isFlow(section.mark)
    else { throw Self.flow("`\(key)`") }
    try fill(pair.key.mark, lines)
  }

  /// A section without any key: nothing behind its colon, or a pair of braces.
  private mutating func fill(_ section: YAMLNode, _ item: String, _ line: String, _ list: List) throws(Problem) {
    if case .mapping = section.content {
      guard text.insert("\(list.rawValue): [\(item)]", inFlowAt: section.mark) else {
        throw Self.flow("`network_policy`")
      }
      return
    }
    // An empty value stands where its key ends.
    let pairs = try read().all.flatMap(\.pairs)
    guard let pair = pairs.first(where: { $0.value.mark == section.mark && $0.key.word == "network_policy" }) else {
      throw Self.flow("`network_policy`")
    }
    try fill(pair.key.mark, ["\(list.rawValue):", "  \(line)"])
  }

  private mutating func fill(_ key: Mark, _ lines: [String]) throws(Problem) {
    guard text.endsWithColon(key.line) else { throw Problem(description: "line \(key.line) gives a list no place") }
    text.insert(lines, indent: key.column + 1, before: key.line + 1)
  }

  private mutating func addLine(_ line: String, behind items: [YAMLNode]) throws(Problem) {
    guard let last = items.last, let dash = text.dash(before: last.mark) else {
      throw Problem(description: "the list's items have no dashes of their own; write them in lines")
    }
    text.insert([line], indent: dash.column - 1, before: text.end(ofItemAt: dash.line, indent: dash.column - 1))
  }
}

extension YAMLNode {
  fileprivate var pairs: [(key: YAMLNode, value: YAMLNode)] {
    if case .mapping(let pairs) = content { pairs } else { [] }
  }
  fileprivate var word: String? { if case .scalar(let text, _) = content { text } else { nil } }

  fileprivate subscript(_ key: String) -> YAMLNode? { pairs.first { $0.key.word == key }?.value }

  /// This one and all below it.
  fileprivate var all: [YAMLNode] {
    switch content {
    case .scalar: [self]
    case .sequence(let items): [self] + items.flatMap(\.all)
    case .mapping(let pairs): [self] + pairs.flatMap(\.value.all)
    }
  }
}

extension UInt8 {
  fileprivate var isLetterOrDigit: Bool { self &- 0x30 < 10 || (self | 0x20) &- 0x61 < 26 }
}
