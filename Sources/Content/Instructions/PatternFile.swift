// A pattern file: YAML in, patterns or every problem with its line and column out.
// It relies on YAML's fields; what a phrase may look like is said in docs/content.md and in the shipped file.
import YAML

enum PatternFile {
  private static let phraseExample = "\"<ignore> ~2 previous|prior ~1 <instructions>\""
  private static let gapMax = 12
  private static let stepsMax = 32
  private static let phrasesMax = 1000

  static func parse(_ bytes: [UInt8], name: String) -> Result<[Pattern], PatternProblems> {
    let findings = Findings(file: name)
    let patterns = read(bytes, findings)
    let (problems, _) = findings.sorted()
    return problems.isEmpty ? .success(patterns) : .failure(PatternProblems(lines: problems.map(\.description)))
  }

  private static func read(_ bytes: [UInt8], _ findings: Findings) -> [Pattern] {
    let root = YAMLDocument.parse(bytes, findings)
    guard findings.problems.isEmpty else { return [] }
    guard let root, !root.isNull else {
      findings.problem(Mark(line: 1, column: 1), "the file is empty; write patterns: [{id: …, weight: 5, match: […]}]")
      return []
    }
    guard let fields = Fields(root, of: "the pattern file", known: ["words", "patterns"], findings) else { return [] }
    let lists = wordLists(fields, findings)
    var seen: Set<String> = []
    var patterns: [Pattern] = []
    for node in fields.list("patterns", example: "[{id: …, weight: 5, match: […]}]") {
      guard let pattern = pattern(node, lists, findings) else { continue }
      if !seen.insert(pattern.id).inserted {
        findings.problem(node.mark, "a second pattern `\(pattern.id)`; give it another id")
      }
      patterns.append(pattern)
    }
    if patterns.isEmpty && findings.problems.isEmpty {
      findings.problem(root.mark, "`patterns` is missing or empty; write patterns: [{id: …, weight: 5, match: […]}]")
    }
    return patterns
  }

  private static func wordLists(_ fields: Fields, _ findings: Findings) -> [String: [String]] {
    guard let node = fields.node("words"), !node.isNull else { return [:] }
    guard case .mapping(let pairs) = node.content else {
      findings.problem(node.mark, "`words` is a mapping such as {ignore: disregard|forget}, not \(node.kindName)")
      return [:]
    }
    var lists: [String: [String]] = [:]
    for (key, value) in pairs {
      guard case .scalar(let name, _) = key.content, case .scalar(let text, _) = value.content else {
        findings.problem(value.mark, "a list of words is one text such as disregard|forget, not \(value.kindName)")
        continue
      }
      if lists[name] != nil { findings.problem(key.mark, "`\(name.quotable)` stands twice in `words`; keep one") }
      lists[name] = alternatives(text, [:], value.mark, findings)
    }
    return lists
  }

  private static func pattern(_ node: YAMLNode, _ lists: [String: [String]], _ findings: Findings) -> Pattern? {
    let keys = ["id", "weight", "description", "match"]
    guard let fields = Fields(node, of: "pattern", known: keys, findings) else { return nil }
    let id = fields.text("id", example: "my-pattern")
    let weight = fields.integer("weight", 1...Pattern.weightMax)
    for key in ["id", "weight", "match"] where !fields.has(key) {
      findings.problem(node.mark, "a pattern has id, weight and match; `\(key)` is missing")
    }
    if let id,
      !id.utf8.allSatisfy({ ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7a) || (0x30...0x39).contains($0) || $0 == 0x2d })
    {
      findings.problem(fields.mark(of: "id"), "an id is letters, digits and dashes, such as my-pattern")
    }
    let phrases = fields.list("match", orSingle: true, example: "[\(phraseExample)]").flatMap {
      Self.phrases($0, lists, findings)
    }
    guard let id, let weight, !phrases.isEmpty else { return nil }
    let description = fields.text("description", example: "what it is for") ?? ""
    return Pattern(id: id, weight: weight, description: description, phrases: phrases)
  }

  /// `word`, `one|other`, `<list>`, and `~2` for up to two words between. Alternatives of several characters of a
  /// script without spaces make a phrase each.
  private static func phrases(_ node: YAMLNode, _ lists: [String: [String]], _ findings: Findings) -> [[PatternStep]] {
    guard case .scalar(let text, _) = node.content, !node.isNull else {
      findings.problem(node.mark, "a phrase is a text such as \(phraseExample), not \(node.kindName)")
      return []
    }
    var phrases: [[PatternStep]] = [[]]
    var gap = 0
    for piece in text.split(separator: " ") {
      if piece.first == "~" {
        guard let count = Int(piece.dropFirst()), (1...gapMax).contains(count), phrases != [[]], gap == 0 else {
          findings.problem(
            node.mark, "`\(piece)`: between two words write ~1 to ~\(gapMax), for so many words that may stand there")
          return []
        }
        gap = count
        continue
      }
      let rows = steps(alternatives(String(piece), lists, node.mark, findings), gap: gap)
      guard !rows.isEmpty else { return [] }
      phrases = phrases.flatMap { begun in rows.map { begun + $0 } }
      gap = 0
      guard phrases.count <= phrasesMax else {
        findings.problem(node.mark, "more than \(phrasesMax) ways to write this phrase; split it")
        return []
      }
    }
    guard gap == 0, phrases.allSatisfy(isDistinctive) else {
      findings.problem(
        node.mark, "a phrase is two to \(stepsMax) words, or a single one of six letters or more: \(phraseExample)")
      return []
    }
    return phrases
  }

  /// One word alone says little, unless it is long.
  private static func isDistinctive(_ phrase: [PatternStep]) -> Bool {
    if phrase.count == 1 { return phrase[0].words.allSatisfy { $0.utf8.count > 5 } }
    return (2...stepsMax).contains(phrase.count)
  }

  /// The words as steps: all that are one step each share a row; the others are one step a character.
  private static func steps(_ words: [String], gap: Int) -> [[PatternStep]] {
    let short = words.filter { !isIdeographic($0) || $0.unicodeScalars.count == 1 }
    let long = words.filter { isIdeographic($0) && $0.unicodeScalars.count > 1 }
    let rows = long.map { word in
      word.unicodeScalars.enumerated().map {
        PatternStep(words: [String(Character($0.element))], gap: $0.offset == 0 ? gap : 0)
      }
    }
    return short.isEmpty ? rows : rows + [[PatternStep(words: short, gap: gap)]]
  }

  private static func isIdeographic(_ word: String) -> Bool {
    !word.isEmpty
      && word.unicodeScalars.allSatisfy { if case .ideograph = Fold.meaning(of: $0.value) { true } else { false } }
  }

  private static func alternatives(
    _ text: String, _ lists: [String: [String]], _ mark: Mark, _ findings: Findings
  ) -> [String] {
    var all: [String] = []
    for piece in text.split(separator: "|", omittingEmptySubsequences: false) {
      if piece.first == "<", piece.last == ">" {
        guard let list = lists[String(piece.dropFirst().dropLast())] else {
          findings.problem(
            mark,
            "`\(String(piece).quotable)`: no such list; `words` has \(lists.keys.sorted().joined(separator: ", "))")
          return []
        }
        all += list
        continue
      }
      let word = String(piece)
      guard isIdeographic(word) || (PatternSet.hash(of: word) != nil && word.utf8.count > 1) else {
        findings.problem(
          mark,
          "`\(word.quotable)` is not one word of two letters or more; words stand apart, alternatives as one|other")
        return []
      }
      all.append(word)
    }
    return all
  }
}
