// Edits a policy file's text and keeps the rest, also comments: adds entries of `allow` and `rate_limits`, and sets
// numbers of a limit. It relies on the caller to parse the result: an unforeseen layout shows as an error there, and
// the file on disk stays unchanged.
import YAML

package struct PolicyEntries {
  package enum List: String, Sendable { case allow, rateLimits = "rate_limits" }

  /// An entry in one line, as it may stand in a flow sequence too, and comments for the lines above it.
  package struct Entry: Sendable {
    package var text: String
    package var comments: [String]

    package init(_ text: String, comments: [String] = []) { (self.text, self.comments) = (text, comments) }
  }

  package struct Problem: Error, CustomStringConvertible { package let description: String }

  private let name: String
  private var source: YAMLSource
  private var root: YAMLNode
  private var changes: [(at: Int, length: Int, text: String)] = []

  package init(_ bytes: [UInt8], name: String) throws(Problem) {
    self.name = name
    source = YAMLSource(bytes)
    root = try Self.parse(bytes, name)
  }

  private static func parse(_ bytes: [UInt8], _ name: String) throws(Problem) -> YAMLNode {
    let findings = Findings(file: name)
    guard let root = YAMLDocument.parse(bytes, findings), case .mapping = root.content else {
      throw Problem(description: findings.problems.first.map { "\($0)" } ?? "\(name) holds no mapping")
    }
    return root
  }

  package var bytes: [UInt8] { source.bytes }

  /// Applies the changes and parses the text again: later changes refer to the new text.
  private mutating func finish() throws(Problem) {
    var out = source.bytes
    // Apply from the end, so that earlier offsets stay valid.
    for change in changes.sorted(by: { $0.at > $1.at }) {
      out.replaceSubrange(change.at..<(change.at + change.length), with: Array(change.text.utf8))
    }
    changes = []
    root = try Self.parse(out, name)
    source = YAMLSource(out)
  }

  /// `client`: the client whose own `network_policy` is edited. Nil: the file's.
  package mutating func add(_ entries: [Entry], to list: List, of client: String? = nil) throws(Problem) {
    guard !entries.isEmpty else { return }
    try place(entries, list, client)
    try finish()
  }

  private mutating func place(_ entries: [Entry], _ list: List, _ client: String?) throws(Problem) {
    guard let network = try network(of: client) else {
      // Rules of a file without any are added at its end.
      insert(source.lines(["network_policy:"] + block(entries, of: list, indent: 2)), at: source.bytes.count)
      return
    }
    switch network[list.rawValue] {
    case nil: try addKey(entries, list, to: network)
    case let value? where value.isNull:
      try addBelow(entries, list, key: network, value)
    case let value?:
      guard case .sequence(let items) = value.content else {
        throw Problem(description: "line \(value.mark.line): `\(list.rawValue)` is \(value.kindName), and no list")
      }
      if source.isFlow(value) {
        try addToFlow(entries.map(\.text), value, isEmpty: items.isEmpty)
      } else {
        let column = source.indent(of: value.mark.line)
        insert(
          source.lines(entries.flatMap { lines($0, indent: column) }),
          at: source.end(ofBlock: items.last?.mark.line ?? value.mark.line, deeperThan: column))
      }
    }
  }

  /// Sets numbers of the limit that begins at this place of the text as it is now; other keys and comments stay.
  package mutating func setLimit(line: Int, column: Int, perMinute: Int, burst: Int?) throws(Problem) {
    try set(line: line, column: column, perMinute: perMinute, burst: burst)
    try finish()
  }

  private mutating func set(line: Int, column: Int, perMinute: Int, burst: Int?) throws(Problem) {
    guard let entry = Self.find(root, line, column), case .mapping(let pairs) = entry.content,
      let rate = Self.value(pairs, "requests_per_minute"), case .scalar(let old, isPlain: true) = rate.content
    else { throw Problem(description: "line \(line): there is no limit with `requests_per_minute`") }
    replace(rate, old, with: "\(perMinute)")
    if let known = Self.value(pairs, "burst"), case .scalar(let old, isPlain: true) = known.content {
      return replace(known, old, with: "\(burst ?? perMinute)")
    }
    // Without the key `burst`, the burst equals the rate.
    guard let burst else { return }
    let end = source.offset(rate.mark) + old.utf8.count
    if source.isFlow(entry) { return insert(", burst: \(burst)", at: end) }
    let indent = String(repeating: " ", count: max(0, (pairs.first?.key.mark.column ?? 1) - 1))
    insert("\(indent)burst: \(burst)\(source.newline)", at: source.lineEnd(rate.mark.line))
  }

  // MARK: - Finding a place

  private struct Network {
    let node: YAMLNode
    let pairs: [(key: YAMLNode, value: YAMLNode)]

    subscript(_ key: String) -> YAMLNode? { PolicyEntries.value(pairs, key) }
  }

  private func network(of client: String?) throws(Problem) -> Network? {
    guard case .mapping(let top) = root.content else { return nil }
    var pairs = top
    if let client {
      guard case .sequence(let clients)? = Self.value(top, "clients")?.content else {
        throw Problem(description: "`clients` has no list of clients")
      }
      let found = clients.lazy.compactMap { node -> [(key: YAMLNode, value: YAMLNode)]? in
        guard case .mapping(let pairs) = node.content, Self.value(pairs, "name")?.text == client else { return nil }
        return pairs
      }.first
      guard let found else { throw Problem(description: "this file has no client \(client)") }
      pairs = found
    }
    guard let node = Self.value(pairs, "network_policy") else {
      if client != nil { throw Problem(description: "client \(client ?? "") has no network_policy of its own") }
      return nil
    }
    guard case .mapping(let inside) = node.content else {
      throw Problem(description: "line \(node.mark.line): `network_policy` is \(node.kindName)")
    }
    return Network(node: node, pairs: inside)
  }

  private static func value(_ pairs: [(key: YAMLNode, value: YAMLNode)], _ key: String) -> YAMLNode? {
    pairs.first { $0.key.text == key }?.value
  }

  private static func find(_ node: YAMLNode, _ line: Int, _ column: Int) -> YAMLNode? {
    if case .mapping = node.content, node.mark.line == line, node.mark.column == column { return node }
    let inside: [YAMLNode] =
      switch node.content {
      case .scalar: []
      case .sequence(let items): items
      case .mapping(let pairs): pairs.map(\.value)
      }
    return inside.lazy.compactMap { find($0, line, column) }.first
  }

  // MARK: - Writing

  private mutating func insert(_ text: String, at offset: Int) {
    let isUnended = offset == source.bytes.count && !source.endsWithNewline
    changes.append((offset, 0, isUnended && text.hasSuffix(source.newline) ? source.newline + text : text))
  }

  private mutating func replace(_ node: YAMLNode, _ old: String, with new: String) {
    changes.append((source.offset(node.mark), old.utf8.count, new))
  }

  private func lines(_ entry: Entry, indent: Int) -> [String] {
    let front = String(repeating: " ", count: indent)
    return entry.comments.map { "\(front)# \($0)" } + ["\(front)- \(entry.text)"]
  }

  private func block(_ entries: [Entry], of list: List, indent: Int) -> [String] {
    let front = String(repeating: " ", count: indent)
    return ["\(front)\(list.rawValue):"] + entries.flatMap { lines($0, indent: indent + 2) }
  }

  private mutating func addKey(_ entries: [Entry], _ list: List, to network: Network) throws(Problem) {
    if source.isFlow(network.node) {
      let text = "\(list.rawValue): [\(entries.map(\.text).joined(separator: ", "))]"
      return try addToFlow([text], network.node, isEmpty: network.pairs.isEmpty)
    }
    guard let last = network.pairs.last?.key.mark.line, let first = network.pairs.first?.key.mark else {
      throw Problem(description: "line \(network.node.mark.line): `network_policy` is empty")
    }
    insert(
      source.lines(block(entries, of: list, indent: first.column - 1)),
      at: source.end(ofBlock: last, deeperThan: first.column - 1))
  }

  /// `allow:` with nothing behind it.
  private mutating func addBelow(
    _ entries: [Entry], _ list: List, key network: Network, _ value: YAMLNode
  ) throws(Problem) {
    guard let key = network.pairs.first(where: { $0.key.text == list.rawValue })?.key.mark,
      !source.isFlow(network.node)
    else { throw Problem(description: "line \(value.mark.line): `\(list.rawValue)` is empty; write [] there") }
    guard case .scalar(let text, _) = value.content, text.isEmpty else {
      throw Problem(description: "line \(value.mark.line): `\(list.rawValue)` is null; write [] there")
    }
    insert(
      source.lines(entries.flatMap { lines($0, indent: key.column + 1) }), at: source.lineEnd(key.line))
  }

  private mutating func addToFlow(_ texts: [String], _ node: YAMLNode, isEmpty: Bool) throws(Problem) {
    guard let end = source.closing(node) else {
      throw Problem(description: "line \(node.mark.line): the end of this list cannot be found")
    }
    // Right after the last entry: blanks and comments before the bracket stay where they are.
    insert((isEmpty ? "" : end.hasComma ? " " : ", ") + texts.joined(separator: ", "), at: end.lastContent)
  }
}

extension YAMLNode {
  fileprivate var text: String? {
    guard case .scalar(let text, _) = content else { return nil }
    return text
  }
}
