// Why a text is no YAML, in the words of somebody who writes a policy: the cause and what to write.
// Relies on libyaml's messages, which are C literals, and on the line that they are about.

struct YAMLSyntaxError: Error {
  var mark: Mark
  /// Where the thing begins in which the error was found.
  var contextMark: Mark
  var context: String
  var problem: String

  /// The place that the message names, which is not always where libyaml stopped.
  func advice(in bytes: [UInt8]) -> (mark: Mark, text: String) {
    let lines = SourceLines(bytes)
    if let (column, text) = Typography.problem(in: lines[mark.line]) {
      return (Mark(line: mark.line, column: column, file: mark.file), text)
    }
    if context.contains("quoted scalar") { return quoted() }
    if let line = lines.oddQuote(from: contextMark.line, to: mark.line) {
      let place = Mark(line: line.number, column: line.column, file: mark.file)
      return line.isOpen
        ? (place, "the quote that begins here is not closed; close it in this line")
        : (place, "a quote is missing before this one, which ends the text in front of it; close each text")
    }
    let isInBrackets = problem.contains("expected ',' or ']'") || problem.contains("expected ',' or '}'")
    if isInBrackets, mark.line > contextMark.line {
      return (
        contextMark, "the bracket that opens here is not closed; close it, or write one entry a line with - in front"
      )
    }
    return (mark, text(lines))
  }

  private func quoted() -> (mark: Mark, text: String) {
    if problem.contains("unknown escape") {
      return (
        mark,
        "a backslash in double quotes begins an escape; write the text in single quotes (a rule is no regular expression:"
          + " *.example.com:443 is every name below example.com)"
      )
    }
    return (contextMark, "the quote that begins here is not closed; close it in this line")
  }

  private func text(_ lines: SourceLines) -> String {
    if context.contains("alias") || context.contains("anchor") {
      return "a text that begins with * or & stands in quotes: \"*.example.com:443\""
    }
    if problem.contains("cannot start any token") {
      if lines.indent(mark.line).contains("\t") { return "a tab indents this line; indent with spaces, not tabs" }
      return
        "not YAML: no value begins with this character; quote texts with @, ` or %, and indent with spaces, not tabs"
    }
    if problem.contains("mapping values are not allowed") { return secondColon(lines) }
    if problem.contains("did not find expected node content") {
      return
        "not YAML: a value in brackets begins with ':' or is missing; an IPv6 address stands in quotes: \"[::1]:443\""
    }
    if problem.contains("expected ',' or ']'") || problem.contains("expected ',' or '}'") {
      return "not YAML: a list or mapping in brackets is not closed; an IPv6 address stands in quotes: \"[::1]:443\""
    }
    if problem.contains("could not find expected ':'") {
      return "not YAML: a key without its colon, in this line or above it; write KEY: VALUE"
    }
    if problem.contains("expected <block end>") || problem.contains("did not find expected '-'")
      || problem.contains("did not find expected key")
    {
      return "not YAML: this line does not line up with the ones above; an IPv6 address stands in quotes: \"[::1]:443\""
    }
    return "not YAML: \(context.isEmpty ? "" : context + ", ")\(problem)"
  }

  /// A colon where no key may begin: twice in one line, below a key without its own, or in a line that is indented
  /// deeper than the one above it, which has its value already.
  private func secondColon(_ lines: SourceLines) -> String {
    let before = lines[mark.line].prefix(max(mark.column - 1, 0))
    if before.contains(": ") {
      return "not YAML: a second ': ' in one line; quote the text, or write HOST:PORT without a space"
    }
    guard let above = lines.above(mark.line) else { return "not YAML: a colon where no key can stand; quote the text" }
    // The text that this line was read into begins at the next line above that could have a key.
    var start: Int? = above
    while let line = start {
      let text = lines[line].trimmed
      if !text.contains(":") && !text.hasPrefix("-") {
        return "not YAML: the key in line \(line) lacks its colon; write `\(String(text).quotable):`"
      }
      start = text.contains(": ") || text.hasSuffix(":") ? nil : lines.above(line)
    }
    let depth = lines.indent(mark.line).count
    let aligned = lines.indent(above).count + (lines[above].trimmed.hasPrefix("- ") ? 2 : 0)
    return "not YAML: this line is indented by \(depth) spaces, and the one above it, which has a value, by \(aligned);"
      + " indent keys of one section alike"
  }
}

/// The lines of a text, counted from 1.
struct SourceLines {
  private let lines: [Substring]

  init(_ bytes: [UInt8]) {
    // libyaml passes over a byte order mark.
    let text = bytes.starts(with: [0xef, 0xbb, 0xbf]) ? bytes[3...] : bytes[...]
    lines = String(decoding: text, as: UTF8.self).split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
  }

  subscript(number: Int) -> Substring { lines.indices.contains(number - 1) ? lines[number - 1] : "" }

  func indent(_ number: Int) -> Substring { self[number].prefix { $0 == " " || $0 == "\t" } }

  /// The next line above that says something.
  func above(_ number: Int) -> Int? {
    (1..<max(number, 1)).last { number in
      let text = self[number].trimmed
      return !text.isEmpty && !text.hasPrefix("#")
    }
  }

  /// A quote that its line does not close, or that closes a text before its word does.
  func oddQuote(from first: Int, to last: Int) -> (number: Int, column: Int, isOpen: Bool)? {
    guard first <= last else { return nil }
    for number in max(first, last - 100)...last {
      var open: (column: Int, quote: Character)?
      var before: Character = " "
      var closed: Int?
      for (index, character) in self[number].enumerated() {
        if let closed, closed == index, character.isLetter || character.isNumber { return (number, closed, false) }
        if let quote = open?.quote {
          if character == quote { (open, closed) = (nil, index + 1) }
        } else if character == "#" && before == " " {
          break
        } else if (character == "\"" || character == "'") && " [{,:-".contains(before) {
          open = (index + 1, character)
        }
        before = character
      }
      if let open { return (number, open.column, true) }
    }
    return nil
  }
}

extension Substring {
  fileprivate var trimmed: Substring {
    var text = drop { $0 == " " || $0 == "\t" }
    while let last = text.last, last == " " || last == "\t" { text = text.dropLast() }
    return text
  }
}
