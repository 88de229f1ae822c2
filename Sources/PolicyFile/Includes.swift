// `include`: fragments of a policy, merged with the including file before any section is read.
// It relies on marks that carry their file, so that rules and problems name the place where they were written.
import YAML

/// Later fragments add to earlier ones, and the file itself comes last. Lists grow; the last single value wins. The
/// deny rules of all fragments apply, and deny wins.
struct Includes {
  static let key = "include"
  /// Limit of nesting. Only a cycle of links goes deeper.
  private static let depthMax = 8
  private static let filesMax = 64

  private let findings: Findings
  private let readFile: (String) -> [UInt8]?
  /// Fragments already included: a fragment that two others include is used once.
  private var taken: Set<String> = []
  /// All bytes read, in order.
  private(set) var bytes: [UInt8]

  init(_ bytes: [UInt8], findings: Findings, readFile: @escaping (String) -> [UInt8]?) {
    (self.bytes, self.findings, self.readFile) = (bytes, findings, readFile)
  }

  /// The file's root merged with its includes, after the profiles named by a command.
  mutating func expand(_ root: YAMLNode, profiles: [String]) -> YAMLNode {
    let chain = [findings.files[root.mark.file]]
    var whole = YAMLNode(content: .mapping([]), mark: root.mark)
    for name in profiles {
      let item = YAMLNode(content: .scalar("profile:\(name)", isPlain: false), mark: Mark(line: 1, column: 1))
      if let fragment = fragment(item, chain: chain) { whole = Self.merged(whole, fragment) }
    }
    let own = expand(root, chain: chain)
    return profiles.isEmpty ? own : Self.merged(whole, own)
  }

  private mutating func expand(_ node: YAMLNode, chain: [String]) -> YAMLNode {
    guard case .mapping(let pairs) = node.content else { return node }
    let includes = pairs.filter { $0.key.word == Self.key }
    guard let include = includes.first else { return node }
    if let second = includes.dropFirst().first {
      findings.problem(
        second.key.mark,
        "`include` stands twice, first in \(findings.place(include.key.mark, from: second.key.mark)); write one list")
    }
    var whole = YAMLNode(content: .mapping([]), mark: node.mark)
    for item in items(include.value) {
      guard let fragment = fragment(item, chain: chain) else { continue }
      whole = Self.merged(whole, fragment)
    }
    let own = YAMLNode(content: .mapping(pairs.filter { $0.key.word != Self.key }), mark: node.mark)
    return Self.merged(whole, own)
  }

  private func items(_ node: YAMLNode) -> [YAMLNode] {
    switch node.content {
    case .sequence(let items): return items
    case .scalar where !node.isNull: return [node]
    default:
      findings.problem(node.mark, "`include` takes a list such as [profile:python, ./team.yaml], not \(node.kindName)")
      return []
    }
  }

  private mutating func fragment(_ item: YAMLNode, chain: [String]) -> YAMLNode? {
    guard let text = item.word, !item.isNull, !text.isEmpty else {
      findings.problem(
        item.mark, "an entry of `include` is a file such as ./team.yaml, or profile:NAME, not \(item.kindName)")
      return nil
    }
    let isProfile = text.hasPrefix("profile:")
    let name = isProfile ? text : Self.path(text, from: chain[chain.count - 1])
    if chain.contains(name) {
      let circle = (chain + [name]).map(\.quotable).joined(separator: " -> ")
      findings.problem(item.mark, "this file is included in a circle: \(circle); remove one of these entries")
      return nil
    }
    if chain.count > Self.depthMax || taken.count >= Self.filesMax {
      findings.problem(
        item.mark,
        "at most \(Self.filesMax) files are included, and \(Self.depthMax) one in another; write fewer, larger ones")
      return nil
    }
    guard taken.insert(name).inserted else { return nil }
    guard let read = isProfile ? profile(text, item.mark) : file(name, item.mark) else { return nil }
    bytes += read
    let number = findings.begin(name)
    guard let root = YAMLDocument.parse(read, findings, file: number) else { return nil }
    let before = findings.problems.count
    Typography.check(root, findings)
    guard findings.problems.count == before else { return nil }
    guard case .mapping = root.content else {
      findings.problem(
        root.mark, "an included file is written as a policy is: network_policy: {allow: [api.example.com:443]}")
      return nil
    }
    return expand(root, chain: chain + [name])
  }

  private func profile(_ text: String, _ mark: Mark) -> [UInt8]? {
    let name = String(text.dropFirst("profile:".count))
    if let read = Profiles.text(of: name) { return read }
    let advice =
      Profiles.names.isEmpty
      ? "this version comes with none; name a file such as ./team.yaml"
      : Suggestion.advice(for: name, among: Profiles.names)
    findings.problem(mark, "there is no profile `\(name.quotable)`; \(advice)")
    return nil
  }

  private func file(_ path: String, _ mark: Mark) -> [UInt8]? {
    if let read = readFile(path) { return read }
    findings.problem(
      mark,
      "cannot read \(path.quotable) (it must exist, and be at most 1 MiB); its path is taken from this file's folder")
    return nil
  }

  /// The path relative to the including file's folder, without `.` and `x/..`, so that each file has only one name.
  private static func path(_ text: String, from includer: String) -> String {
    var text = text
    if !text.hasPrefix("/"), !includer.hasPrefix("profile:"), let slash = includer.lastIndex(of: "/") {
      text = includer[...slash] + text
    }
    var parts: [Substring] = []
    for part in text.split(separator: "/") where part != "." {
      if part == "..", let last = parts.last, last != ".." { parts.removeLast() } else { parts.append(part) }
    }
    return (text.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
  }
}

// MARK: - Putting two together

extension Includes {
  /// A file is a mapping of sections.
  private static func merged(_ one: YAMLNode, _ other: YAMLNode) -> YAMLNode {
    mapping(one, other) { name, one, other in
      switch (one.content, other.content) {
      case (.sequence(let first), .sequence(let second)): YAMLNode(content: .sequence(first + second), mark: other.mark)
      case (.mapping, .mapping): mapping(one, other) { key, one, other in value("\(name).\(key)", one, other) }
      default: other
      }
    }
  }

  /// The value of one key of a section.
  private static func value(_ name: String, _ one: YAMLNode, _ other: YAMLNode) -> YAMLNode {
    switch (one.content, other.content) {
    case (.sequence(let first), .sequence(let second)): YAMLNode(content: .sequence(first + second), mark: other.mark)
    // Variables are merged by name. Keys of two credentials are not: merging them would make a third one.
    case (.mapping, .mapping) where name == "environment.set": mapping(one, other) { $2 }
    case (.mapping(let pairs), .mapping(let later)) where name == "filesystem_policy.home":
      mapping(YAMLNode(content: .mapping(replacingStore(pairs, later)), mark: one.mark), other) {
        value("\(name).\($0)", $1, $2)
      }
    default: other
    }
  }

  /// A home is kept in only one place: the later file's.
  private static func replacingStore(
    _ pairs: [(key: YAMLNode, value: YAMLNode)], _ later: [(key: YAMLNode, value: YAMLNode)]
  ) -> [(key: YAMLNode, value: YAMLNode)] {
    let stores = FilesSection.homeStores
    guard later.contains(where: { stores.contains($0.key.word ?? "") }) else { return pairs }
    return pairs.filter { !stores.contains($0.key.word ?? "") }
  }

  /// A duplicate key of one file stays, and is reported there.
  private static func mapping(
    _ one: YAMLNode, _ other: YAMLNode, _ both: (String, YAMLNode, YAMLNode) -> YAMLNode
  ) -> YAMLNode {
    guard case .mapping(var pairs) = one.content, case .mapping(let added) = other.content else { return other }
    let known = pairs.count
    var joined: Set<Int> = []
    for pair in added {
      let place = pairs[..<known].firstIndex { $0.key.word != nil && $0.key.word == pair.key.word }
      if let place, let word = pair.key.word, joined.insert(place).inserted {
        pairs[place] = (pair.key, both(word, pairs[place].value, pair.value))
      } else {
        pairs.append(pair)
      }
    }
    return YAMLNode(content: .mapping(pairs), mark: other.mark)
  }
}

extension YAMLNode {
  fileprivate var word: String? {
    guard case .scalar(let text, _) = content else { return nil }
    return text
  }
}
