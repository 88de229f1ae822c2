// Characters that a word processor, a chat or a web page leaves in a text that was copied: invisible ones, and those
// that only look like YAML. It relies on Unicode's properties for what is invisible; no list of ours would be complete.

package enum Typography {
  /// The first such character of a text, counted from 1, and what to write.
  static func problem(in text: some StringProtocol) -> (column: Int, text: String)? {
    for (index, scalar) in text.unicodeScalars.enumerated() {
      // A comment is nobody's affair.
      if scalar == "#", index == 0 || text.unicodeScalars.dropFirst(index - 1).first == " " { return nil }
      if let advice = advice(scalar) { return (index + 1, advice) }
    }
    return nil
  }

  package static func advice(_ scalar: Unicode.Scalar) -> String? {
    if scalar.isASCII { return nil }
    let code = "U+" + String(scalar.value, radix: 16, uppercase: true).leftPadded
    let name = scalar.properties.name.map { ", \($0.lowercased())" } ?? ""
    switch scalar.properties.generalCategory {
    case .format, .control, .lineSeparator, .paragraphSeparator:
      return "an invisible character (\(code)\(name)) stands here; delete it, and type the text instead of copying it"
    case .spaceSeparator:
      return "a special space (\(code)\(name)) stands here; write a plain space"
    case .dashPunctuation: return "a typographic dash (\(code)\(name)) stands here; write -"
    case .initialPunctuation, .finalPunctuation:
      return "a typographic quote (\(code)\(name)) stands here; write \" or '"
    default: break
    }
    switch scalar.value {
    case 0x201a, 0x201e: return "a typographic quote (\(code)\(name)) stands here; write \" or '"
    case 0x2212: return "a minus sign (\(code)) stands here; write -"
    case 0xff1a: return "a fullwidth colon (\(code)) stands here; write :"
    case 0xff0e, 0x3002: return "a full stop that is no dot (\(code)\(name)) stands here; write ."
    default:
      return scalar.properties.isDefaultIgnorableCodePoint
        ? "an invisible character (\(code)\(name)) stands here; delete it" : nil
    }
  }

  /// Such characters in what a document says: those that nobody sees anywhere, and those that were meant as YAML around
  /// a text without quotes.
  package static func check(_ node: YAMLNode, _ findings: Findings) {
    switch node.content {
    case .scalar(let text, let isPlain):
      let count = text.unicodeScalars.count
      for (index, scalar) in text.unicodeScalars.enumerated() {
        let isAround = isPlain && (index == 0 || index == count - 1)
        guard let advice = advice(scalar), isAround || isInvisible(scalar) else { continue }
        let column = node.mark.column + index + (isPlain ? 0 : 1)
        findings.problem(Mark(line: node.mark.line, column: column, file: node.mark.file), advice)
        return
      }
    case .sequence(let items): for item in items { check(item, findings) }
    case .mapping(let pairs):
      for (key, value) in pairs {
        check(key, findings)
        check(value, findings)
      }
    }
  }

  private static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .format, .lineSeparator, .paragraphSeparator: true
    case .spaceSeparator: !scalar.isASCII
    default: scalar.properties.isDefaultIgnorableCodePoint
    }
  }
}

extension String {
  fileprivate var leftPadded: String { String(repeating: "0", count: max(0, 4 - utf8.count)) + self }
}
