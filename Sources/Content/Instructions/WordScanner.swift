// Cuts text into folded words and tells the matcher about those that a phrase knows. All state lives in the struct, so
// chunks may be cut anywhere. It relies on the window holding whole characters, or being told that no more will come.

struct WordScanner {
  private static let basis: UInt64 = 0xcbf2_9ce4_8422_2325
  private static let prime: UInt64 = 0x100_0000_01b3

  private var hash = basis
  private var letters = 0
  private var start = 0
  /// Words so far: phrases count the words between theirs.
  private var index = 0
  private var spelled = Spelled()
  /// What stands between the last word and the next: how many gap characters, and the first of them.
  private var gaps = 0
  private var gapByte: UInt8 = 0
  /// Letters out of the invisible tag block; text has no use for them.
  private(set) var tags = 0
  /// The next byte to be looked at.
  private(set) var next = 0

  static func hash(of letters: some Sequence<UInt32>) -> UInt64 {
    var hash = basis
    for letter in letters { hash = mixed(hash, letter) }
    return hash
  }

  @inline(__always)
  private static func mixed(_ hash: UInt64, _ letter: UInt32) -> UInt64 { (hash ^ UInt64(letter)) &* prime }

  /// Looks at what is new in `window`, of which the last character may be cut unless `isLast`.
  mutating func scan(_ bytes: Span<UInt8>, base: Int, isLast: Bool, _ matcher: inout PhraseMatcher) {
    let table = Fold.table
    let end = bytes.count
    var place = next - base
    // The two that change with each letter are kept in registers.
    var hash = hash
    var letters = letters
    while place < end {
      var letter = table[bytes[place]]
      if letter > 2 {
        if letters == 0 { start = base + place }
        let first = place
        repeat {
          hash = (hash ^ UInt64(letter)) &* Self.prime
          place += 1
          letter = place < end ? table[bytes[place]] : 1
        } while letter > 2
        letters += place - first
        if place == end { break }
      }
      switch letter {
      case 0:
        if letters > 0 {
          endWord(hash, letters, base + place, &matcher)
          hash = Self.basis
          letters = 0
        }
        gaps += 1
        if gaps == 1 { gapByte = bytes[place] }
        place += 1
      case 1: place += 1
      default:
        guard let (value, length) = Self.scalar(bytes, at: place, isLast: isLast) else {
          (self.hash, self.letters) = (hash, letters)
          next = base + place
          return
        }
        (self.hash, self.letters) = (hash, letters)
        see(value, base + place, length, &matcher)
        (hash, letters) = (self.hash, self.letters)
        place += length
      }
    }
    (self.hash, self.letters) = (hash, letters)
    next = base + place
    if isLast { finish(&matcher) }
  }

  /// Ends what is open: what follows belongs to another text.
  mutating func finish(_ matcher: inout PhraseMatcher) {
    flush(next, &matcher)
    spelled.end(&index, &matcher)
    index += PhraseMatcher.apart
  }

  private mutating func flush(_ end: Int, _ matcher: inout PhraseMatcher) {
    guard letters > 0 else { return }
    endWord(hash, letters, end, &matcher)
    hash = Self.basis
    letters = 0
  }

  private mutating func see(_ value: UInt32, _ at: Int, _ length: Int, _ matcher: inout PhraseMatcher) {
    switch Fold.meaning(of: value) {
    case .nothing: break
    case .gap:
      flush(at, &matcher)
      gaps += 1
      if gaps == 1 { gapByte = UInt8(truncatingIfNeeded: value) }
    case .letter(let letter): add(letter, at)
    case .tag(let byte):
      tags += 1
      if tags == PhraseMatcher.tagsMax { matcher.sawTags(at, at + length) }
      see(UInt32(byte), at, length, &matcher)
    case .ideograph(let letter):
      flush(at, &matcher)
      add(letter, at)
      flush(at + length, &matcher)
    }
  }

  private mutating func add(_ letter: UInt32, _ at: Int) {
    if letters == 0 { start = at }
    hash = Self.mixed(hash, letter)
    letters += 1
  }

  @inline(__always)
  private mutating func endWord(_ hash: UInt64, _ letters: Int, _ end: Int, _ matcher: inout PhraseMatcher) {
    if letters == 1 || spelled.count > 0 {
      spell(hash, letters, end, &matcher)
    }
    index += 1
    matcher.see(hash, index, start, end)
    gaps = 0
  }

  /// A word of one letter may be part of one that is spelled out: `i g n o r e`, `i.g.n.o.r.e`.
  private mutating func spell(_ hash: UInt64, _ letters: Int, _ end: Int, _ matcher: inout PhraseMatcher) {
    if !(letters == 1 && spelled.takes(gaps, gapByte)) { spelled.end(&index, &matcher) }
    guard letters == 1 else { return }
    // The letter comes out of its own hash: the first step is undone.
    spelled.add(hash &* Self.inverse ^ Self.basis, gapByte, start, end, index)
  }

  /// prime * inverse = 1 modulo 2^64.
  private static let inverse: UInt64 = {
    var value: UInt64 = prime
    for _ in 0..<6 { value = value &* (2 &- prime &* value) }
    return value
  }()

  /// The character at `place`; nil when its end has not come yet. What is no UTF-8 is one byte that means nothing.
  private static func scalar(_ bytes: Span<UInt8>, at place: Int, isLast: Bool) -> (UInt32, Int)? {
    let first = bytes[place]
    let length = first >= 0xf0 && first < 0xf5 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 1
    let broken: (UInt32, Int) = (0xa0, 1)
    guard length > 1, first < 0xf5 else { return broken }
    var value = UInt32(first) & (0x7f >> UInt32(length))
    for ahead in 1..<length {
      guard place + ahead < bytes.count else { return isLast ? broken : nil }
      let byte = bytes[place + ahead]
      guard byte & 0xc0 == 0x80 else { return broken }
      value = value << 6 | UInt32(byte & 0x3f)
    }
    return (value, length)
  }
}

/// Single letters, each with the same one sign between them, put together to a word.
private struct Spelled {
  private static let lettersMin = 2

  private(set) var count = 0
  private var hash = WordScanner.hash(of: [])
  private var sign: UInt8 = 0
  private var start = 0
  private var lastEnd = 0
  private var firstIndex = 0

  func takes(_ gaps: Int, _ gapByte: UInt8) -> Bool { count > 0 && gaps == 1 && (count == 1 || gapByte == sign) }

  mutating func add(_ letter: UInt64, _ gapByte: UInt8, _ start: Int, _ end: Int, _ index: Int) {
    if count == 0 {
      self.start = start
      firstIndex = index
    }
    if count == 1 { sign = gapByte }
    hash = WordScanner.hash(after: hash, letter)
    count += 1
    lastEnd = end
  }

  mutating func end(_ index: inout Int, _ matcher: inout PhraseMatcher) {
    if count >= Self.lettersMin {
      // The letters were one word, not many.
      index = firstIndex + 1
      matcher.see(hash, index, start, lastEnd)
    }
    count = 0
    hash = WordScanner.hash(of: [])
  }
}

extension WordScanner {
  fileprivate static func hash(after hash: UInt64, _ letter: UInt64) -> UInt64 { (hash ^ letter) &* prime }
}
