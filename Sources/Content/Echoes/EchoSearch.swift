// Looks for values in a text while it passes: each byte of an echo becomes a `*`, so no length changes.
// It relies on SpelledValue; what may be the beginning of an echo is held back until more is known, and nothing else
// is.

package struct EchoSearch {
  private let values: [SpelledValue]
  private let ignoresCase: Bool
  /// Bytes that have gone on and may be the beginning of an echo whose rest is still to be covered.
  private var behind: [UInt8] = []
  private var held: [UInt8] = []
  /// How many of `held`, or of what follows, an echo that began before them covers.
  private var coveredAhead = 0
  /// How many echoes were taken out.
  package private(set) var count = 0
  /// Where in the text the last call's first echo began.
  package private(set) var firstOffset: Int?

  package init(_ values: [SpelledValue], ignoresCase: Bool = false) {
    (self.values, self.ignoresCase) = (values, ignoresCase)
  }

  /// Bytes that may be the beginning of an echo.
  package var heldCount: Int { held.count }

  /// The next piece of the text; what may pass takes its place.
  package mutating func scrub(_ chunk: inout [UInt8], isLast: Bool) {
    firstOffset = nil
    if values.isEmpty || chunk.isEmpty && held.isEmpty { return }
    let gone = behind.count
    let text = behind + held + chunk
    var scan = EchoScan(text: text, isLast: isLast, gone: gone, ignoresCase: ignoresCase)
    for value in values { scan.look(for: value) }
    let end = scan.end
    chunk = Array(text[gone..<end])
    var covered = gone + coveredAhead
    cover(gone..<min(covered, end), &chunk, text, gone)
    // Of an echo that begins behind the end nothing has gone on, and it is found again.
    for echo in scan.covers.sorted(by: { $0.lowerBound < $1.lowerBound }) where echo.lowerBound < end {
      // An echo within another is the same one, and so is an echo that was seen before.
      if echo.lowerBound >= max(covered, gone) {
        count += 1
        firstOffset = firstOffset ?? echo.lowerBound - gone
      }
      cover(max(echo.lowerBound, gone)..<max(min(echo.upperBound, end), gone), &chunk, text, gone)
      covered = max(covered, echo.upperBound)
    }
    coveredAhead = max(0, covered - end)
    behind = Array(text[max(0, end - SpelledValue.behindMax)..<end])
    held = Array(text[end...])
  }

  private func cover(_ range: Range<Int>, _ chunk: inout [UInt8], _ text: [UInt8], _ gone: Int) {
    for place in range where !Self.keeps(text[place]) { chunk[place - gone] = UInt8(ascii: "*") }
  }

  /// Wide characters stay as wide as they were, and lines as long.
  private static func keeps(_ byte: UInt8) -> Bool { byte == 0 || byte == 0x0d || byte == 0x0a }

  /// A text that is there whole, such as the value of a field.
  package mutating func scrubWhole(_ text: inout [UInt8]) {
    var own = EchoSearch(values, ignoresCase: ignoresCase)
    own.scrub(&text, isLast: true)
    count += own.count
  }
}

/// One look through what has come.
private struct EchoScan {
  private let reader: SpellingReader
  private let gone: Int
  private let ignoresCase: Bool
  /// Up to here the text may go on.
  private(set) var end: Int
  private(set) var covers: [Range<Int>] = []

  init(text: [UInt8], isLast: Bool, gone: Int, ignoresCase: Bool) {
    reader = SpellingReader(text, isLast: isLast)
    (self.gone, self.ignoresCase) = (gone, ignoresCase)
    end = text.count
  }

  mutating func look(for value: SpelledValue) {
    var scan = self
    value.value.look { bytes in
      guard bytes.count >= SpelledValue.bytesMin else { return }
      value.table.look { scan.look(for: bytes, $0) }
    }
    self = scan
  }

  private mutating func look(for value: Span<UInt8>, _ table: Span<UInt8>) {
    let text = reader.text
    var place = 0
    while place < end {
      let groups =
        ignoresCase
        ? SpellingGroup.escaped.bit
        : table[Int(text[place])] == 0 ? 0 : SpelledValue.groups(reader, at: place, table)
      if groups != 0 {
        switch SpelledValue.match(reader, at: place, groups, value, ignoresCase: ignoresCase) {
        case .none: break
        case .begins(let lead): end = min(end, max(lead, gone))
        case .whole(let lead, let last): if last > max(lead, gone) { covers.append(lead..<last) }
        }
      }
      place += 1
    }
  }
}
