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

/// What to write in place of a value of the wrong form, as `; write …`; empty where nobody can know.
enum ValueAdvice {
  static func integer(_ text: String) -> String {
    let digits = text.filter { !"_,' ".contains($0) }
    return (1...15).contains(digits.utf8.count) && digits.utf8.allSatisfy { (0x30...0x39).contains($0) }
      ? Int(digits).map { "; write \($0)" } ?? "" : ""
  }

  static func flag(_ text: String) -> String {
    switch text.lowercased() {
    case "true", "yes", "on", "1", "y": "; write true without quotes"
    case "false", "no", "off", "0", "n": "; write false without quotes"
    default: ""
    }
  }

  /// `30s`, `2 minutes` and `500ms` as seconds.
  static func seconds(_ text: String) -> String {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard (1...6).contains(digits.utf8.count), let number = Int(digits) else { return "" }
    switch text.dropFirst(digits.count).filter({ $0 != " " }).lowercased() {
    case "s", "sec", "secs", "second", "seconds": return "; write \(number)"
    case "m", "min", "mins", "minute", "minutes": return "; write \(number * 60)"
    case "h", "hour", "hours": return "; write \(number * 3600)"
    case "d", "day", "days": return "; write \(number * 86_400)"
    case "ms" where number % 100 == 0: return "; write \(number / 1000).\(number % 1000 / 100)"
    default: return ""
    }
  }
}
