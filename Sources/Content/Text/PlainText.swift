// Text without what only a terminal or a decoder would act on: escape sequences, control characters, broken UTF-8.
// It relies on state that goes over chunks; a lone carriage return becomes a line break, as it could hide what stands
// before. Each place of the text leads back to the bytes that it came from.
import Wire

struct PlainText {
  private enum State {
    case text
    case escape
    /// CSI: until a byte of 0x40 to 0x7e.
    case control
    /// OSC, DCS and their like: until BEL or ESC \.
    case string
    case stringEscape
  }

  /// A string sequence that does not end here was none.
  private static let stringBytesMax = 4096
  private static let isPlain = ByteTable(where: { $0 == 0x0a || $0 == 0x09 || (0x20..<0x7f).contains($0) })

  /// Text of more turns than this keeps the way back for its newest part only, which is longer than any passage.
  private static let turnsMax = 1 << 15

  private let readsStrings: Bool
  private let isLatin: Bool
  private var state = State.text
  private var stringBytes = 0
  /// The beginning of a character whose end has not come.
  private var character: [UInt8] = []
  private var missing = 0
  private var hasReturn = false
  private(set) var removed = 0
  /// True if all bytes so far are valid in their charset.
  private(set) var isValid = true
  /// Bytes of the text, and of the source, before the current chunk.
  private var textBase = 0
  private var sourceBase = 0
  /// From each `text` on, in bytes of the text, the source goes on at `source`.
  private var turns: [(text: Int, source: Int)] = [(0, 0)]

  /// `isLatin`: the bytes are windows-1252, and the text is UTF-8 all the same.
  init(readsStrings: Bool = false, isLatin: Bool = false) {
    (self.readsStrings, self.isLatin) = (readsStrings, isLatin)
  }

  /// Where a place of the text stands in the source.
  func source(of offset: Int) -> Int {
    var low = 0
    var high = turns.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if turns[middle].text <= offset { low = middle } else { high = middle }
    }
    return max(turns[low].source + offset - turns[low].text, 0)
  }

  mutating func append(_ chunk: Span<UInt8>, to text: inout [UInt8]) {
    let before = text.count
    textBase -= before
    read(chunk, &text)
    textBase += text.count
    sourceBase += chunk.count
    if turns.count > Self.turnsMax { turns.removeFirst(Self.turnsMax / 2) }
  }

  private mutating func read(_ chunk: Span<UInt8>, _ text: inout [UInt8]) {
    let isPlain = Self.isPlain
    var place = 0
    while place < chunk.count {
      if state == .text && missing == 0 && !hasReturn {
        let start = place
        place = isPlain.endOfMarked(chunk, place..<chunk.count)
        if place > start { text.append(chunk.extracting(start..<place)) }
        guard place < chunk.count else { return }
      }
      see(chunk[place], &text)
      place += 1
      noteTurn(textBase + text.count, sourceBase + place)
    }
  }

  /// Where text and source have come apart further, or less far.
  private mutating func noteTurn(_ text: Int, _ source: Int) {
    guard state == .text, missing == 0, !hasReturn, let last = turns.last,
      text - source != last.text - last.source
    else { return }
    if last.text == text { turns.removeLast() }
    turns.append((text, source))
  }

  mutating func finish(_ text: inout [UInt8]) {
    endReturn(0, &text)
    endBroken(&text)
  }

  private mutating func see(_ byte: UInt8, _ text: inout [UInt8]) {
    switch state {
    case .text: seeText(byte, &text)
    case .escape:
      switch byte {
      case UInt8(ascii: "["): state = .control
      case UInt8(ascii: "]"), UInt8(ascii: "P"), UInt8(ascii: "_"), UInt8(ascii: "^"), UInt8(ascii: "X"):
        start(readsStrings ? .text : .string)
      case 0x20...0x2f: break
      default: state = .text
      }
    case .control:
      if (0x40...0x7e).contains(byte) || byte < 0x20 { state = .text }
      if byte == 0x0a { text.append(byte) }
    case .string:
      stringBytes += 1
      if byte == 0x07 || byte == 0x9c || stringBytes > Self.stringBytesMax { state = .text }
      if byte == 0x1b { state = .stringEscape }
    case .stringEscape: state = byte == UInt8(ascii: "\\") ? .text : .escape
    }
    if state != .text { removed += 1 }
  }

  private mutating func start(_ next: State) {
    state = next
    stringBytes = 0
  }

  private mutating func seeText(_ byte: UInt8, _ text: inout [UInt8]) {
    if missing > 0 {
      if byte & 0xc0 == 0x80 {
        character.append(byte)
        missing -= 1
        if missing == 0 { endCharacter(&text) }
        return
      }
      endBroken(&text)
    }
    endReturn(byte, &text)
    switch byte {
    case 0x80... where isLatin: seeLatin(byte, &text)
    case 0x1b: state = .escape
    case 0x0d: hasReturn = true
    case 0x0a, 0x09, 0x20..<0x7f: text.append(byte)
    case 0..<0x20, 0x7f: removed += 1
    case 0xc2..<0xf5:
      character = [byte]
      missing = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3
    default: endBroken(&text, byte)
    }
  }

  private mutating func seeLatin(_ byte: UInt8, _ text: inout [UInt8]) {
    let scalar = Latin.scalar(byte)
    if (0x80..<0xa0).contains(scalar.value) {
      removed += 1
    } else {
      text += UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter
    }
  }

  private mutating func endReturn(_ next: UInt8, _ text: inout [UInt8]) {
    if hasReturn && next != 0x0a { text.append(0x0a) }
    hasReturn = false
  }

  private mutating func endCharacter(_ text: inout [UInt8]) {
    let value = character.dropFirst().reduce(UInt32(character[0]) & (0x7f >> UInt32(character.count))) {
      $0 << 6 | UInt32($1 & 0x3f)
    }
    let least: UInt32 = character.count == 2 ? 0x80 : character.count == 3 ? 0x800 : 0x10000
    if (0x80..<0xa0).contains(value) {
      removed += 1
    } else if value < least || Unicode.Scalar(value) == nil {
      text += Self.replacement
      isValid = false
    } else {
      text += character
    }
    character = []
  }

  private mutating func endBroken(_ text: inout [UInt8], _ byte: UInt8? = nil) {
    if missing > 0 || byte != nil {
      text += Self.replacement
      isValid = false
    }
    (character, missing) = ([], 0)
  }

  private static let replacement: [UInt8] = [0xef, 0xbf, 0xbd]
}
