// A value that is looked for in texts, however it is spelled there: whether a spelling of it begins at a place, and
// where it ends.
// It relies on SpellingReader for what a text may mean; the value itself is compared where it is kept, and never
// copied.

/// Bytes that are kept by their owner, such as in pages that are wiped.
package protocol KeptBytes: AnyObject, Sendable {
  func look(_ body: (Span<UInt8>) -> Void)
}

package final class SpelledValue: Sendable {
  /// A shorter value turns up in any text by chance.
  package static let bytesMin = 8
  /// A reading that lets more than this pass before it is sure is given up.
  static let behindMax = 64
  /// From so many bytes on a break of a line is held back, and does not pass: before, any line may end so.
  private static let breakBytesMin = 4
  /// So many bytes of what is coded pass before it is held back: their letters end half of all texts.
  private static let openBytes = 2

  let value: any KeptBytes
  let table: any KeptBytes

  /// `table` keeps what `tableBytes` gave, as carefully as the value is kept.
  package init(value: any KeptBytes, table: any KeptBytes) { (self.value, self.table) = (value, table) }

  package static func tableBytes(for value: Span<UInt8>) -> [UInt8] { SpellingTable.make(for: value) }

  /// What begins at a place. `lead`: what stands before it is not covered, and may pass before the end is known.
  enum Match: Equatable {
    case none
    case whole(lead: Int, end: Int)
    case begins(lead: Int)
  }

  private struct State {
    var taken = 0
    var cursor: SpellingCursor
    var lead: Int
    var lineBreak = LineBreak()
  }

  private static let layers = SpellingGroup.allCases.map(\.layers)

  /// The groups whose spellings may begin at a place; 0: none.
  static func groups(_ reader: SpellingReader, at start: Int, _ table: Span<UInt8>) -> UInt8 {
    var groups = table[Int(reader.text[start])]
    if groups & SpellingTable.opener != 0 { return opened(reader, at: start, table) }
    for place in 1..<SpellingTable.depth {
      guard groups != 0, start + place < reader.text.count else { return groups }
      let here = table[place * 256 + Int(reader.text[start + place])]
      if here & SpellingTable.opener != 0 { return groups }
      groups &= here
    }
    return groups
  }

  /// What opens an escape is asked what it stands for.
  private static func opened(_ reader: SpellingReader, at start: Int, _ table: Span<UInt8>) -> UInt8 {
    guard isOpening(reader.text, start) else { return table[Int(reader.text[start])] & ~SpellingTable.opener }
    reader.ranOut = false
    var units: [SpellingUnit] = []
    reader.read(SpellingCursor(place: start), layers[0], 0) { unit, _ in units.append(unit) }
    if reader.ranOut { return ~SpellingTable.opener }
    var groups: UInt8 = 0
    for unit in units {
      if let byte = unit.byte { groups |= table[Int(byte)] }
      if unit.scalar != nil { groups |= SpellingGroup.escaped.bit }
    }
    return groups & ~SpellingTable.opener
  }

  /// The byte behind says quickly of most of them that they open nothing.
  private static func isOpening(_ text: [UInt8], _ start: Int) -> Bool {
    guard start + 1 < text.count else { return true }
    let next = text[start + 1]
    switch text[start] {
    case UInt8(ascii: "%"): return next.hexValue != nil || next | 0x20 == UInt8(ascii: "u") || next == text[start]
    case UInt8(ascii: "="): return next.hexValue != nil || next == 0x0d || next == 0x0a || next == text[start]
    case UInt8(ascii: "&"): return next == UInt8(ascii: "#") || next.isAlphanumeric || next == text[start]
    case UInt8(ascii: "'"), UInt8(ascii: "`"): return !next.isAlphanumeric && next > 0x20
    case 0, 0x0d, 0x0a: return false
    default: return true
    }
  }

  /// `ignoresCase`: of names of fields, which are in lower case.
  static func match(
    _ reader: SpellingReader, at start: Int, _ groups: UInt8, _ value: Span<UInt8>, ignoresCase: Bool = false
  ) -> Match {
    var end: (lead: Int, end: Int)?
    var pending: Int?
    func see(_ match: Match) {
      switch match {
      case .none: break
      case .begins(let lead): pending = min(pending ?? lead, lead)
      case .whole(let lead, let place):
        if end.map({ place > $0.end }) ?? true { end = (lead, place) }
      }
    }
    if groups & SpellingGroup.escaped.bit != 0 {
      see(follow(reader, start, .escaped, (.init(), .init()), value, ignoresCase))
    }
    for group in [SpellingGroup.hexadecimal, .decimal] where groups & group.bit != 0 {
      see(follow(reader, start, group, (.init(), .init()), value, false))
    }
    if groups & ~(SpellingGroup.escaped.bit | SpellingGroup.hexadecimal.bit | SpellingGroup.decimal.bit) != 0 {
      for begin in SpellingStart.all(value) where groups & begin.group.bit != 0 {
        see(follow(reader, start, begin.group, begin.cursorBits, value, false))
      }
    }
    if let pending { return .begins(lead: pending) }
    return end.map { .whole(lead: $0.lead, end: $0.end) } ?? .none
  }

  /// All readings at once, the one that has taken least first; those that came to the same place are one.
  private static func follow(
    _ reader: SpellingReader, _ start: Int, _ group: SpellingGroup,
    _ bits: (SpellingCursor.Bits, SpellingCursor.Bits), _ value: Span<UInt8>, _ ignoresCase: Bool
  ) -> Match {
    let layers = layers[Int(group.rawValue)]
    let isCoded = group != .escaped
    var states = [State(cursor: SpellingCursor(place: start, bits: bits), lead: start)]
    var pending: Int?
    var whole: (lead: Int, end: Int)?
    var units: [(SpellingUnit, SpellingCursor)] = []
    while let state = states.popLast() {
      if state.taken == value.count {
        if whole.map({ state.cursor.place > $0.end }) ?? true { whole = (state.lead, state.cursor.place) }
        continue
      }
      reader.ranOut = false
      units.removeAll(keepingCapacity: true)
      reader.read(state.cursor, layers, 0) { units.append(($0, $1)) }
      if reader.ranOut {
        let lead = isCoded && state.taken < openBytes ? reader.text.count : state.lead
        if lead - start <= behindMax { pending = min(pending ?? lead, lead) }
      }
      for (unit, next) in units {
        if state.taken == 0, isBare(reader.text, start, next.place) { continue }
        guard let after = step(state, unit, next, value, isCoded, ignoresCase) else { continue }
        guard after.lead - start <= behindMax else { continue }
        insert(after, &states)
      }
    }
    if let pending { return .begins(lead: pending) }
    return whole.map { .whole(lead: $0.lead, end: $0.end) } ?? .none
  }

  /// A backslash before a letter need not belong to it: it may end an escape that began before, and stays.
  private static func isBare(_ text: [UInt8], _ start: Int, _ end: Int) -> Bool {
    end == start + 2 && text[start] == UInt8(ascii: "\\") && text[start + 1].isAlphanumeric
  }

  private static func step(
    _ state: State, _ unit: SpellingUnit, _ next: SpellingCursor, _ value: Span<UInt8>, _ isCoded: Bool,
    _ ignoresCase: Bool
  ) -> State? {
    var after = state
    after.cursor = next
    if let count = bytes(unit, value, state.taken, ignoresCase) {
      after.taken += count
      after.lineBreak = LineBreak()
      if isCoded && after.taken <= openBytes { after.lead = next.place }
      return after
    }
    guard state.taken > 0, unit == .nothing || state.lineBreak.takes(unit) else { return nil }
    after.lineBreak.take(unit)
    if after.lineBreak.isOpen && state.taken < breakBytesMin { after.lead = next.place }
    return after
  }

  /// How many bytes of the value a character is; nil where it is another one.
  private static func bytes(
    _ unit: SpellingUnit, _ value: Span<UInt8>, _ taken: Int, _ ignoresCase: Bool
  ) -> Int? {
    if let byte = unit.byte {
      if value[taken] == byte { return 1 }
      if ignoresCase, byte | 0x20 == value[taken] | 0x20, byte.isAlphanumeric, value[taken].isAlphanumeric { return 1 }
    }
    guard let scalar = unit.scalar, let encoded = Unicode.Scalar(scalar).flatMap({ UTF8.encode($0) }),
      taken + encoded.count <= value.count
    else { return nil }
    for (offset, byte) in encoded.enumerated() where value[taken + offset] != byte { return nil }
    return encoded.count
  }

  /// The last one is the next to be followed.
  private static func insert(_ state: State, _ states: inout [State]) {
    var place = states.count
    while place > 0, states[place - 1].taken <= state.taken {
      let other = states[place - 1]
      if other.taken == state.taken, other.cursor == state.cursor { return }
      place -= 1
    }
    states.insert(state, at: place)
  }
}
