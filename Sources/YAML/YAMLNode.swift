// A YAML document as a tree, each node with its place. Only what our files need: no tags, anchors or aliases.
// It relies on YAMLDocument, which makes it out of libyaml's events.

package struct YAMLNode {
  package enum Content {
    case scalar(String, isPlain: Bool)
    case sequence([YAMLNode])
    case mapping([(key: YAMLNode, value: YAMLNode)])
  }

  package var content: Content
  package var mark: Mark

  package init(content: Content, mark: Mark) { (self.content, self.mark) = (content, mark) }

  /// An empty value, `~` or `null`.
  package var isNull: Bool {
    guard case .scalar(let text, isPlain: true) = content else { return false }
    return text.isEmpty || text == "~" || text == "null"
  }

  /// Name of the kind, for a message that wanted another.
  package var kindName: String {
    switch content {
    case .scalar: isNull ? "nothing" : "a single value"
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }
}
