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
    if problem.contains("could not find expected ':'"), let entry = entryWithoutDash(lines) { return entry }
    return (mark, text(lines))
  }

  /// `b.test:443` in a list of `- a.test:443`.
  private func entryWithoutDash(_ lines: SourceLines) -> (mark: Mark, text: String)? {
    let text = String(lines[contextMark.line].trimmed)
    guard let above = lines.above(contextMark.line), lines[above].trimmed.hasPrefix("- "), text.contains(":"),
      !text.contains(" ")
    else { return nil }
    return (contextMark, "this list entry lacks its dash; write `- \(text.quotable)`")
  }

  private func quoted() -> (mark: Mark, text: String) {
    if problem.contains("unknown escape") {
      return (
        mark,
        "a backslash in double quotes begins an escape; write the text in single quotes "
          + "(a rule is not a regular expression: *.example.com:443 is every name below example.com)"
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
    if lines[mark.line].contains("{{") {
      return "not YAML: a text that begins with { stands in quotes; a policy has no variables: write the value itself"
    }
    if problem.contains("expected ',' or ']'") || problem.contains("expected ',' or '}'") {
      return "not YAML: a comma or the closing bracket is missing in front of this place\(ipv6(lines))"
    }
    if problem.contains("could not find expected ':'") {
      return "not YAML: a key without its colon, in this line or above it; write KEY: VALUE"
    }
    if problem.contains("expected <block end>") || problem.contains("did not find expected '-'")
      || problem.contains("did not find expected key")
    {
      return misaligned(lines)
    }
    if problem.contains("expected <document start>") {
      return lines[contextMark.line].trimmed.hasPrefix("[") || lines[1].trimmed.hasPrefix("[")
        ? "not YAML: this looks like TOML or INI; write `network_policy:`, and KEY: VALUE in the indented lines below"
        : "not YAML: the value above is complete, and nothing can follow; write KEY: VALUE in each line"
    }
    return "not YAML: \(context.isEmpty ? "" : context + ", ")\(problem)"
  }

  private func ipv6(_ lines: SourceLines) -> String {
    let line = lines[mark.line]
    return line.contains("]:") || line.contains("::") ? "; an IPv6 address stands in quotes: \"[::1]:443\"" : ""
  }

  /// A line that belongs to no section above it, by its indentation or for want of a dash.
  private func misaligned(_ lines: SourceLines) -> String {
    let hint = ipv6(lines)
    if !hint.isEmpty { return "not YAML: a value is followed by more text\(hint)" }
    let here = lines.indent(mark.line).count
    if lines[mark.line].trimmed.hasPrefix("- "), let entry = lines.entry(above: mark.line) {
      return "not YAML: this list entry is indented by \(here) spaces, and the one in line \(entry) by "
        + "\(lines.indent(entry).count); indent the entries of a list alike"
    }
    if here == contextMark.column - 1 {
      return
        "not YAML: the list from line \(contextMark.line) goes on here without a dash; begin this line with `- `, or"
        + " indent it like the keys of the entry above"
    }
    let around = lines.indents(from: contextMark.line, near: here, before: mark.line)
    return "not YAML: this line is indented by \(here) spaces, and the lines above by "
      + "\(around.map(String.init).joined(separator: " or ")); indent keys of one section alike"
  }

  /// A colon where no key may begin: twice in one line, below a key without its own, or in a line that is indented
  /// deeper than the one above it, which has its value already.
  private func secondColon(_ lines: SourceLines) -> String {
    let before = lines[mark.line].prefix(max(mark.column - 1, 0))
    if before.contains(": ") {
      return "not YAML: a second ': ' in one line; quote the text, or write HOST:PORT without a space"
    }
    let depth = lines.indent(mark.line).count
    guard let above = lines.above(mark.line) else { return "not YAML: a colon where no key can stand; quote the text" }
    // The text that this line was read into begins at the next line above that could have a key.
    var start: Int? = above
    while let line = start {
      let text = lines[line].trimmed
      if text.hasPrefix("//") { return "not YAML: a comment begins with #; write # in place of // in line \(line)" }
      if let advice = Self.withoutSpace(text, line, isDeeper: depth > lines.indent(line).count) {
        return "not YAML: \(advice)"
      }
      if !text.contains(":") && !text.hasPrefix("-") {
        return "not YAML: the key in line \(line) lacks its colon; write `\(String(text).quotable):`"
      }
      start = text.contains(": ") || text.hasSuffix(":") ? nil : lines.above(line)
    }
    let aligned = lines.indent(above).count + (lines[above].trimmed.hasPrefix("- ") ? 2 : 0)
    if depth == aligned {
      return "not YAML: line \(above) is complete, and no key can stand below it; write it as KEY: VALUE"
    }
    return "not YAML: this line is indented by \(depth) spaces, and the one above it, which has a value, by \(aligned);"
      + " indent keys of one section alike"
  }

  /// `default:deny`, and `- a.test:443` with keys below it, which begins with `host:`.
  private static func withoutSpace(_ text: Substring, _ line: Int, isDeeper: Bool) -> String? {
    guard let colon = text.firstIndex(of: ":"), !text.contains(": "), text.last != ":" else { return nil }
    let isEntry = text.hasPrefix("- ")
    let word = (isEntry ? text.dropFirst(2) : text)[..<colon]
    let value = String(text[text.index(after: colon)...]).quotable
    if word.allSatisfy({ $0.isLetter || $0 == "_" }) {
      return "a space is missing behind the colon in line \(line); write `\(word): \(value)`"
    }
    guard isEntry, isDeeper, word.contains("."), !text.contains("[") else { return nil }
    return "a rule with keys begins with `host`; write `- host: \(String(word).quotable):\(value)` in line \(line)"
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

  /// The nearest line above that begins a list entry.
  func entry(above number: Int) -> Int? {
    (1..<max(number, 1)).last { self[$0].trimmed.hasPrefix("- ") }
  }

  /// The indentations of keys above a line that are next to its own: the next smaller one, and the next larger one.
  func indents(from first: Int, near depth: Int, before number: Int) -> [Int] {
    var found: Set<Int> = []
    for line in max(first, 1)..<max(number, first + 1, 2) where !self[line].trimmed.isEmpty {
      let isEntry = self[line].trimmed.hasPrefix("- ")
      found.insert(indent(line).count + (isEntry ? 2 : 0))
    }
    return [found.filter { $0 < depth }.max(), found.filter { $0 > depth }.min()].compactMap(\.self)
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
