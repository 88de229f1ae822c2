// The keys of one mapping: each known, each once, and each read as the type that it must have.
// It relies on Findings; a value that cannot be read is a problem and then nil, so that the rest is still looked at.
import Wire

package struct Fields {
  package let mark: Mark
  package let findings: Findings
  /// A key that is missing may be there, misspelled.
  package private(set) var hasUnknown = false
  private var values: [String: YAMLNode] = [:]
  private var keyMarks: [String: Mark] = [:]

  /// `later` are keys of the design that this version cannot hold to: silently ignoring them would be a hole.
  /// `misplaced` are keys that stand elsewhere, each with what to write.
  package init?(
    _ node: YAMLNode, of name: String, known: [String], later: [String: String] = [:],
    misplaced: [String: String] = [:], _ findings: Findings
  ) {
    mark = node.mark
    self.findings = findings
    findings.note(SchemaSection(name: name, keys: known))
    guard case .mapping(let pairs) = node.content else {
      let keys = known.prefix(4).joined(separator: ", ") + (known.count > 4 ? "…" : "")
      findings.problem(
        node.mark,
        MissingMarks.inKeys(node, known: known)
          ?? "\(name.asSection) takes keys below it (\(keys)), not \(node.kindAndValue)")
      return nil
    }
    for (key, value) in pairs {
      guard case .scalar(let word, _) = key.content else {
        findings.problem(key.mark, "a key of \(name.asSection) is a word, not \(key.kindName)")
        continue
      }
      if let first = keyMarks[word] {
        findings.problem(
          key.mark,
          "`\(word)` stands twice in \(name.asSection), first in \(findings.place(first, from: key.mark)); keep one")
        continue
      }
      keyMarks[word] = key.mark
      if let why = later[word] {
        findings.problem(key.mark, "`\(word)` is not supported by this version: \(why); remove it")
      } else if let advice = misplaced[word] {
        findings.problem(key.mark, "`\(word)` has no place in \(name.asSection): \(advice)")
      } else if !known.contains(word) {
        let advice = Suggestion.advice(for: word, among: known)
        findings.problem(key.mark, "unknown key `\(word.quotable)` in \(name.asSection); \(advice)")
        hasUnknown = true
      } else {
        values[word] = value
      }
    }
  }

  /// No key at all, known or not.
  package var isEmpty: Bool { keyMarks.isEmpty }
  package func has(_ key: String) -> Bool { values[key] != nil }
  package func mark(of key: String) -> Mark { keyMarks[key] ?? mark }
  package func node(_ key: String) -> YAMLNode? { values[key] }

  /// A text; a number or a date is one too.
  package func text(_ key: String, example: String) -> String? {
    guard let node = values[key] else { return nil }
    guard case .scalar(let text, _) = node.content, !node.isNull, !text.isEmpty else {
      findings.problem(node.mark, "`\(key)` takes a text such as \(example), not \(node.kindName)")
      return nil
    }
    guard !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else {
      findings.problem(node.mark, "`\(key)` holds a control character; write a plain text such as \(example)")
      return nil
    }
    return text
  }

  package func flag(_ key: String) -> Bool? {
    guard let node = values[key] else { return nil }
    if case .scalar("true", isPlain: true) = node.content { return true }
    if case .scalar("false", isPlain: true) = node.content { return false }
    findings.problem(node.mark, "`\(key)` is true or false, not \(node.shown)\(node.advice(ValueAdvice.flag))")
    return nil
  }

  package func choice<Value: RawRepresentable & CaseIterable>(_ key: String, _ type: Value.Type) -> Value?
  where Value.RawValue == String {
    let words = Value.allCases.map(\.rawValue)
    guard let text = text(key, example: words.joined(separator: " or ")) else { return nil }
    if let value = Value(rawValue: text) { return value }
    findings.problem(
      values[key]?.mark ?? mark, "`\(key)` is \(words.joined(separator: " or ")), not `\(text.quotable)`")
    return nil
  }

  package func integer(_ key: String, _ range: ClosedRange<Int>) -> Int? {
    guard let node = values[key] else { return nil }
    guard case .scalar(let text, isPlain: true) = node.content, let value = Int(text), "\(value)" == text else {
      findings.problem(
        node.mark,
        "`\(key)` takes a whole number without quotes, from \(range.lowerBound) to \(range.upperBound), not "
          + "\(node.shown)\(node.advice(ValueAdvice.integer))")
      return nil
    }
    guard range.contains(value) else {
      findings.problem(node.mark, "`\(key)` is from \(range.lowerBound) to \(range.upperBound), not \(value)")
      return nil
    }
    return value
  }

  package func bytes(_ key: String, _ range: ClosedRange<Int>) -> Int? {
    guard let node = values[key] else { return nil }
    guard case .scalar(let text, _) = node.content, let value = ByteSize.parse(text) else {
      findings.problem(
        node.mark,
        "`\(key)` takes a size such as 65536, 64KiB, 5MiB or 1GiB, not \(node.shown)\(ByteSize.advice(on: node))")
      return nil
    }
    guard range.contains(value) else {
      findings.problem(
        node.mark,
        "`\(key)` is from \(ByteSize.print(range.lowerBound)) to \(ByteSize.print(range.upperBound)), not \(node.shown)"
      )
      return nil
    }
    return value
  }

  /// Seconds with at most three decimals, as milliseconds.
  package func seconds(_ key: String, _ range: ClosedRange<Int>) -> UInt64? {
    guard let node = values[key] else { return nil }
    guard case .scalar(let text, _) = node.content, let ms = Self.milliseconds(text) else {
      findings.problem(
        node.mark,
        "`\(key)` takes seconds as a number without a unit, such as 30 or 2.5, not \(node.shown)"
          + node.advice(ValueAdvice.seconds))
      return nil
    }
    guard (range.lowerBound * 1000...range.upperBound * 1000).contains(ms), ms > 0 else {
      findings.problem(
        node.mark,
        "`\(key)` is more than 0 and from \(range.lowerBound) to \(range.upperBound) seconds, not \(node.shown)")
      return nil
    }
    return UInt64(ms)
  }

  /// The items of a list; a single value stands for a list of one where `single` says so.
  package func list(_ key: String, orSingle: Bool = false, example: String) -> [YAMLNode] {
    guard let node = values[key] else { return [] }
    if case .sequence(let items) = node.content { return items }
    if orSingle, case .scalar = node.content, !node.isNull { return [node] }
    findings.problem(
      node.mark, MissingMarks.inList(node) ?? "`\(key)` takes a list such as \(example), not \(node.kindName)")
    return []
  }

  private static func milliseconds(_ text: String) -> Int? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(\.isDigit) }),
      parts[0].utf8.count <= 9, let whole = Int(parts[0])
    else { return nil }
    guard parts.count == 2 else { return whole * 1000 }
    guard parts[1].utf8.count <= 3,
      let fraction = Int(parts[1] + String(repeating: "0", count: 3 - parts[1].utf8.count))
    else { return nil }
    return whole * 1000 + fraction
  }
}

package enum ByteSize {
  /// Other spellings of the units; `MB` means a million to some, and 2^20 to others.
  fileprivate static func advice(on node: YAMLNode) -> String {
    guard case .scalar(let text, _) = node.content else { return "" }
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let rest = text.dropFirst(digits.count).filter { $0 != " " }.lowercased()
    guard !digits.isEmpty,
      let unit = units.first(where: { unit in
        let letter = unit.name.lowercased().prefix(1)
        return [letter + "", letter + "b", letter + "ib"].contains(rest[...])
      })
    else { return ValueAdvice.integer(text) }
    return "; write \(digits)\(unit.name)"
  }

  private static let units: [(name: String, shift: Int)] = [("KiB", 10), ("MiB", 20), ("GiB", 30)]

  package static func parse(_ text: String) -> Int? {
    let unit = units.first { text.hasSuffix($0.name) }
    let digits = unit == nil ? text[...] : text.dropLast(3)
    let trimmed = digits.last == " " ? digits.dropLast() : digits
    guard (1...15).contains(trimmed.utf8.count), trimmed.utf8.allSatisfy(\.isDigit), let number = Int(trimmed)
    else { return nil }
    let (value, overflow) = number.multipliedReportingOverflow(by: 1 << (unit?.shift ?? 0))
    return overflow ? nil : value
  }

  package static func print(_ value: Int) -> String {
    for (name, shift) in units.reversed() where value >= 1 << shift && value % (1 << shift) == 0 {
      return "\(value >> shift)\(name)"
    }
    return "\(value)"
  }
}

extension String {
  /// Short enough to be shown in a message; Findings takes care of what may not stand in one.
  package var quotable: String { unicodeScalars.count > 60 ? String(unicodeScalars.prefix(60)) + "…" : self }

  /// The name of a section in a message: a key in quotes, a description (`an allow rule`) without.
  fileprivate var asSection: String { contains(" ") ? self : "`\(self)`" }
}

extension YAMLNode {
  fileprivate var kindAndValue: String {
    if case .scalar(let text, _) = content, !isNull, !text.isEmpty { return "the single value `\(text.quotable)`" }
    return kindName
  }

  fileprivate func advice(_ on: (String) -> String) -> String {
    guard case .scalar(let text, _) = content else { return "" }
    return on(text)
  }

  /// The value itself where it is one, else what it is.
  package var shown: String {
    if case .scalar(let text, _) = content, !text.isEmpty { return "`\(text.quotable)`" }
    return kindName
  }
}
