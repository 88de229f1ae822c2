// Finds phrases in a stream of words: each phrase is a row of word classes with bounded gaps between them. One look at
// a table a word, and memory of one number a step, so no text makes it slow. It relies on words coming in order.

/// The phrases of all patterns, compiled; shared by every matcher.
final class PhraseTable: Sendable {
  struct Step {
    var pattern: Int
    var isFirst: Bool
    var isLast: Bool
    /// How many words may stand between the step before and this one.
    var gap: Int
  }

  /// What a step is to one word: small, as most words of a text that are known at all begin nothing.
  struct Use {
    var step: Int32
    /// -1 for the first step of a phrase.
    var gap: Int16
    /// The pattern that the step completes, or -1.
    var completes: Int16
  }

  let stepCount: Int
  /// Open addressing by the word's hash; `uses` of an entry are the steps that the word can be, last ones first.
  private let keys: [UInt64]
  private let uses: [Range<Int>]
  let list: [Use]
  private let mask: UInt64

  /// Steps in the order of their phrases; `words[i]` are the hashes of step i.
  init(steps: [Step], words: [[UInt64]]) {
    stepCount = steps.count
    var byWord: [UInt64: [Int]] = [:]
    for (step, hashes) in words.enumerated() { for hash in Set(hashes) { byWord[hash, default: []].append(step) } }
    var size = 1024
    while size < byWord.count * 4 { size *= 2 }
    var keys = [UInt64](repeating: 0, count: size)
    var uses = [Range<Int>](repeating: 0..<0, count: size)
    var list: [Use] = []
    for (hash, numbers) in byWord {
      var slot = Int(Self.slot(hash) & UInt64(size - 1))
      while keys[slot] != 0 { slot = (slot + 1) & (size - 1) }
      keys[slot] = hash
      let first = list.count
      list += numbers.sorted(by: >).map { number in
        let step = steps[number]
        return Use(
          step: Int32(number), gap: step.isFirst ? -1 : Int16(step.gap),
          completes: step.isLast ? Int16(step.pattern) : -1)
      }
      uses[slot] = first..<list.count
    }
    (self.keys, self.uses, self.list, mask) = (keys, uses, list, UInt64(size - 1))
  }

  @inline(__always)
  private static func slot(_ hash: UInt64) -> UInt64 { hash >> 32 ^ hash }

  @inline(__always)
  func uses(of hash: UInt64) -> Range<Int> {
    var slot = Self.slot(hash) & mask
    while keys[Int(slot)] != hash {
      if keys[Int(slot)] == 0 { return 0..<0 }
      slot = (slot + 1) & mask
    }
    return uses[Int(slot)]
  }
}

/// A phrase that was found, in bytes of the unescaped text.
struct PhraseHit: Equatable {
  var pattern: Int
  var start: Int
  var end: Int
}

struct PhraseMatcher {
  /// Further apart than any gap allows.
  static let apart = 1 << 10
  /// So many invisible tag letters are no accident: flags of regions take up to six.
  static let tagsMax = 12
  /// The pattern that stands for invisible tag letters.
  static let tagPattern = -1

  private let table: PhraseTable
  /// For each step, at which word the phrase up to there was last seen, and where it began.
  private var seen: [(word: Int, began: Int)]
  var hits: [PhraseHit] = []

  init(_ table: PhraseTable) {
    self.table = table
    seen = Array(repeating: (-2 * Self.apart, 0), count: table.stepCount)
  }

  @inline(__always)
  mutating func see(_ hash: UInt64, _ index: Int, _ start: Int, _ end: Int) {
    let uses = table.uses(of: hash)
    if !uses.isEmpty { advance(uses, index, start, end) }
  }

  private mutating func advance(_ uses: Range<Int>, _ index: Int, _ start: Int, _ end: Int) {
    // Last steps first, so that one word is never two steps of a phrase.
    for place in uses {
      let use = table.list[place]
      let step = Int(use.step)
      var began = start
      if use.gap >= 0 {
        let before = seen[step - 1]
        guard index - before.word - 1 <= Int(use.gap), before.word < index else { continue }
        began = before.began
      }
      seen[step] = (index, began)
      if use.completes >= 0 { hits.append(PhraseHit(pattern: Int(use.completes), start: began, end: end)) }
    }
  }

  mutating func sawTags(_ start: Int, _ end: Int) {
    hits.append(PhraseHit(pattern: Self.tagPattern, start: start, end: end))
  }
}
