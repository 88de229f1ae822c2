// The patterns of instruction-like text, ready to match: the shipped ones, and those of a user's own file.
// It relies on PatternFile for reading; a set is immutable and can serve any number of checks at once.
import CContent
import Wire
import YAML

/// One pattern: phrases that say the same thing, and how much it counts.
struct Pattern: Hashable, Sendable {
  var id: String
  /// From 1 to `weightMax`.
  var weight: Int
  var description: String
  /// Each phrase is a row of steps; a step is the words it may be, and how many others may stand before it.
  var phrases: [[PatternStep]]

  static let weightMax = 10
}

struct PatternStep: Hashable, Sendable {
  var words: [String]
  var gap: Int
}

/// Patterns to look for, compiled once.
public final class PatternSet: Sendable {
  let patterns: [Pattern]
  let table: PhraseTable
  private let plain: [Bool]

  /// The patterns that come with Sluice.
  public static let shipped: PatternSet = {
    switch PatternFile.parse(shippedBytes, name: "patterns.yaml") {
    case .success(let patterns): return PatternSet(patterns)
    case .failure(let problems): preconditionFailure("the shipped patterns: \(problems)")
    }
  }()

  /// Patterns of this set and of a pattern file; one with an id that is there already replaces it. `name` is what the
  /// problems call the file.
  public func extended(by file: [UInt8], name: String) throws(PatternProblems) -> PatternSet {
    let added = try PatternFile.parse(file, name: name).get()
    let ids = Set(added.map(\.id))
    return PatternSet(patterns.filter { !ids.contains($0.id) } + added)
  }

  init(_ patterns: [Pattern]) {
    self.patterns = patterns
    var steps: [PhraseTable.Step] = []
    var words: [[UInt64]] = []
    for (number, pattern) in patterns.enumerated() {
      for phrase in pattern.phrases {
        for (place, step) in phrase.enumerated() {
          steps.append(
            PhraseTable.Step(
              pattern: number, isFirst: place == 0, isLast: place == phrase.count - 1, gap: step.gap))
          words.append(step.words.compactMap(Self.hash))
        }
      }
    }
    plain = patterns.map {
      $0.phrases.allSatisfy { $0.allSatisfy { $0.words.allSatisfy { $0.utf8.allSatisfy { $0 < 0x80 } } } }
    }
    table = PhraseTable(steps: steps, words: words)
  }

  /// True if the pattern is all ASCII, so that other letters in what it found are a disguise.
  func isPlain(_ pattern: Int) -> Bool { plain[pattern] }

  /// The id of what no pattern looks for: words in invisible characters.
  static let tagsID = "invisible-tags"

  package func has(_ id: String) -> Bool { id == Self.tagsID || patterns.contains { $0.id == id } }

  /// The ids of all patterns, with what each is for.
  public var descriptions: [(id: String, weight: Int, description: String)] {
    patterns.map { ($0.id, $0.weight, $0.description) }
  }

  /// The hash that the scanner comes to for this one word; nil when it is not one word.
  static func hash(of word: String) -> UInt64? {
    var letters: [UInt32] = []
    for scalar in word.unicodeScalars {
      switch Fold.meaning(of: scalar.value) {
      case .letter(let letter): letters.append(letter)
      case .ideograph(let letter):
        guard letters.isEmpty, word.unicodeScalars.count == 1 else { return nil }
        letters.append(letter)
      case .nothing: break
      case .gap, .tag: return nil
      }
    }
    return letters.isEmpty ? nil : WordScanner.hash(of: letters)
  }

  /// The file of shipped patterns, as it is in the repository.
  static var shippedBytes: [UInt8] {
    // SAFETY: the C array is constant, and as long as the function beside it says.
    unsafe Array(UnsafeBufferPointer(start: ccontent_patterns(), count: ccontent_patterns_length()))
  }
}

/// What is wrong with a pattern file: one line a problem, each with line and column.
public struct PatternProblems: Error, Sendable, CustomStringConvertible {
  public var lines: [String]

  package init(lines: [String]) { self.lines = lines }

  public var description: String { lines.joined(separator: "\n") }
}
