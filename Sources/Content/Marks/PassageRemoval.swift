// A text without the passages that read like instructions: each gives way to a note, where the format allows that.
// It relies on MarkPlaces for what is text in the format, and on a second check: what is left must not be flagged.

package enum PassageRemoval {
  private static let note = Array("[sluice: passage removed]".utf8)

  /// nil where it cannot be done. `rules` only log; `type` and `name` are of what was asked for.
  package static func text(
    _ text: [UInt8], without rules: ContentRules, type: String, name: [UInt8], isLatin: Bool
  ) -> [UInt8]? {
    let found = check(text, rules, isLatin)
    if !found.isFlagged { return text }
    // What was decoded stands in no place of its own, and of too many passages not all are known.
    guard found.isValid, found.findingsDropped == 0, found.passages.allSatisfy({ $0.layer == .plain }),
      let left = remove(
        found.passages.map(\.range), of: text, MarkFormat.of(type: type, name: name, text.span), isLatin)
    else { return nil }
    // Two halves of a passage may have stood around another one.
    return check(left, rules, isLatin).isFlagged ? nil : left
  }

  private static func check(_ text: [UInt8], _ rules: ContentRules, _ isLatin: Bool) -> ContentCheck {
    let check = ContentCheck(rules, isLatin: isLatin)
    _ = check.append(text)
    _ = check.finish()
    return check
  }

  private static func remove(
    _ passages: [Range<Int>], of text: [UInt8], _ format: MarkFormat, _ isLatin: Bool
  ) -> [UInt8]? {
    var waiting = joined(passages)[...]
    var places = MarkPlaces(format, isLatin: isLatin)
    var out: [UInt8] = []
    var number: Int?
    for (place, byte) in text.enumerated() {
      if let passage = waiting.first, place == passage.upperBound {
        // Never in the middle of an escape or of a character.
        guard places.allows(before: byte) else { return nil }
        waiting.removeFirst()
      }
      guard let passage = waiting.first, passage.contains(place) else {
        places.pass(byte)
        out.append(byte)
        continue
      }
      if place == passage.lowerBound {
        guard places.allows(before: byte) else { return nil }
        out += note
        number = nil
      }
      places.pass(byte)
      guard let now = places.textNumber, number == nil || number == now else { return nil }
      number = now
    }
    // The last one may reach to the end.
    return waiting.allSatisfy { $0.upperBound >= text.count } ? out : nil
  }

  /// In order, and those that touch as one.
  private static func joined(_ ranges: [Range<Int>]) -> [Range<Int>] {
    var joined: [Range<Int>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
      if let last = joined.last, range.lowerBound <= last.upperBound {
        joined[joined.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        joined.append(range)
      }
    }
    return joined
  }
}
