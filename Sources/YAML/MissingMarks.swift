// Texts that were meant as keys or list entries: the colon, a space or the dash was left out, and YAML reads one text.
// Relies on the keys that the section knows; an ordinary value has no advice here.

enum MissingMarks {
  /// Advice on a text that stands where keys are wanted; nil for any other text.
  static func inKeys(_ node: YAMLNode, known: [String]) -> String? {
    guard case .scalar(let text, let isPlain) = node.content else { return nil }
    if let advice = textBlock(text, isPlain) { return advice }
    guard isPlain else { return nil }
    let word = String(text.prefix { $0.isLetter || $0 == "_" || $0 == "." })
    guard known.contains(word) else { return nil }
    let rest = text.dropFirst(word.count)
    let value = String(rest.drop { " :=".contains($0) }).quotable
    if rest.hasPrefix(":"), !rest.hasPrefix("://") {
      return "a space is missing behind `\(word):`; write `\(word): \(value)`"
    }
    if rest.drop(while: { $0 == " " }).hasPrefix("=") {
      return "a key and its value are joined by a colon; write `\(word): \(value)`"
    }
    return rest.hasPrefix(" ") ? "the key `\(word)` lacks its colon; write `\(word):`" : nil
  }

  /// Advice on a text that stands where a list is wanted.
  static func inList(_ node: YAMLNode) -> String? {
    guard case .scalar(let text, let isPlain) = node.content else { return nil }
    if let advice = textBlock(text, isPlain) { return advice }
    guard isPlain, text.hasPrefix("-") else { return nil }
    let entry = text.dropFirst().prefix { $0 != " " }
    return "a space is missing behind the dash; write `- \(String(entry).quotable)`"
  }

  /// Only a block of text (`|`, `>`) keeps a line's end.
  private static func textBlock(_ text: String, _ isPlain: Bool) -> String? {
    isPlain || !text.contains("\n") ? nil : "`|` or `>` turns all lines below into one text; remove the sign"
  }
}
