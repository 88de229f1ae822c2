// Where a mark may stand in a text of one format, byte by byte: it may be cut anywhere, and nothing is kept but a
// state. It relies on MarkFormat for the format; a text that does not read as its format has no place.

/// Follows a text, and says of each place whether a mark there leaves the text in its format.
struct MarkPlaces {
  private enum Reader {
    case anywhere
    case markdown(FrontMatter)
    case json(JSONPlaces)
    case xml(XMLPlaces)
    case csv(CSVPlaces)
    case events(EventPlaces)
    case nowhere
  }

  private var reader: Reader
  private let isLatin: Bool

  init(_ format: MarkFormat, isLatin: Bool) {
    self.isLatin = isLatin
    switch format {
    case .prose: reader = .anywhere
    case .markdown: reader = .markdown(FrontMatter())
    case .json: reader = .json(JSONPlaces())
    case .xml: reader = .xml(XMLPlaces(isHTML: false))
    case .html: reader = .xml(XMLPlaces(isHTML: true))
    case .csv: reader = .csv(CSVPlaces())
    case .events: reader = .events(EventPlaces())
    case .none: reader = .nowhere
    }
  }

  /// True if a mark may stand in front of `next`, which follows what has been passed.
  func allows(before next: UInt8) -> Bool {
    // Never inside a character.
    if !isLatin, next & 0xc0 == 0x80 { return false }
    switch reader {
    case .anywhere: return true
    case .markdown(let reader): return !reader.isInside
    case .json(let reader): return reader.allows(before: next)
    case .xml(let reader): return reader.isText
    case .csv(let reader): return reader.allows(before: next)
    case .events(let reader): return reader.allows(before: next)
    case .nowhere: return false
    }
  }

  /// What has been passed ends within this text of the format: bytes may be taken out of it, as long as it stays the
  /// same number from the first of them to the last. nil: within none.
  var textNumber: Int? {
    switch reader {
    case .anywhere: 0
    case .markdown(let reader): reader.isInside ? nil : 0
    case .json(let reader): reader.textNumber
    case .xml(let reader): reader.isText ? 0 : nil
    case .csv(let reader): reader.textNumber
    case .events, .nowhere: nil
    }
  }

  mutating func pass(_ byte: UInt8) {
    switch reader {
    case .anywhere, .nowhere: return
    case .markdown(var reader):
      reader.pass(byte)
      self.reader = .markdown(reader)
    case .json(var reader):
      self.reader = .nowhere
      reader.pass(byte)
      self.reader = .json(reader)
    case .xml(var reader):
      self.reader = .nowhere
      reader.pass(byte)
      self.reader = .xml(reader)
    case .csv(var reader):
      reader.pass(byte)
      self.reader = .csv(reader)
    case .events(var reader):
      self.reader = .nowhere
      reader.pass(byte)
      self.reader = .events(reader)
    }
  }
}

/// Settings between two lines of `---` at the beginning of a page in Markdown.
struct FrontMatter {
  private var line: [UInt8] = []
  private var lines = 0
  private(set) var isInside = true

  mutating func pass(_ byte: UInt8) {
    guard isInside else { return }
    guard byte == 0x0a else {
      if line.count < 8, byte != 0x0d { line.append(byte) }
      if lines == 0, !Array("---".utf8).starts(with: line.prefix(3)) { isInside = false }
      return
    }
    let isFence = line.elementsEqual("---".utf8)
    if lines == 0 && !isFence || lines > 0 && (isFence || line.elementsEqual("...".utf8)) { isInside = false }
    (line, lines) = ([], lines + 1)
  }
}

/// Values that are strings, in JSON: one value or any number behind each other.
struct JSONPlaces {
  private enum State: Equatable {
    case outside, string, backslash
    /// So many hexadecimal digits to go.
    case unicode(Int)
  }

  private static let depthMax = 512
  /// What stands outside of strings: signs, numbers, `true`, `false`, `null`, and the separator of RFC 7464.
  private static let isOutside = ByteTable(where: { byte in
    [UInt8]("{}[]:,\" \t\r\n0123456789+-.eEtruefalsn\u{1e}".utf8).contains(byte)
  })

  private var state = State.outside
  /// For each open bracket, whether it is an object's.
  private var isObject: [Bool] = []
  private var expectsKey = false
  private var isKey = false
  /// A half of a surrogate pair may stand before.
  private var isBehindUnicode = false
  private(set) var isLost = false

  /// True if all of it, or its beginning, reads as JSON.
  static func reads(_ bytes: Span<UInt8>) -> Bool {
    var places = JSONPlaces()
    for place in 0..<bytes.count {
      places.pass(bytes[place])
      if places.isLost { return false }
    }
    return true
  }

  func allows(before next: UInt8) -> Bool {
    state == .string && !isKey && !isLost && !(isBehindUnicode && next == UInt8(ascii: "\\"))
  }

  /// In the middle of an escape, too.
  var textNumber: Int? { state == .outside || isKey || isLost ? nil : 0 }

  mutating func pass(_ byte: UInt8) {
    guard !isLost else { return }
    switch state {
    case .outside: passOutside(byte)
    case .string:
      isBehindUnicode = false
      switch byte {
      case UInt8(ascii: "\\"): state = .backslash
      case UInt8(ascii: "\""): state = .outside
      // A line break ends no string: it is no JSON.
      case 0..<0x20: isLost = true
      default: break
      }
    case .backslash: state = byte == UInt8(ascii: "u") ? .unicode(4) : .string
    case .unicode(let left):
      state = left == 1 ? .string : .unicode(left - 1)
      isBehindUnicode = left == 1
    }
  }

  private mutating func passOutside(_ byte: UInt8) {
    switch byte {
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      isObject.append(byte == UInt8(ascii: "{"))
      expectsKey = isObject.last == true
      if isObject.count > Self.depthMax { isLost = true }
    case UInt8(ascii: "}"), UInt8(ascii: "]"):
      if isObject.popLast() != (byte == UInt8(ascii: "}")) { isLost = true }
      expectsKey = false
    case UInt8(ascii: ","): expectsKey = isObject.last == true
    case UInt8(ascii: ":"): expectsKey = false
    case UInt8(ascii: "\""): (state, isKey) = (.string, expectsKey)
    default: if Self.isOutside[byte] == 0 && byte != 0xef && byte != 0xbb && byte != 0xbf { isLost = true }
    }
  }
}

/// Fields of a table, with or without quotes; a mark holds no comma, quote or line break.
struct CSVPlaces {
  private enum State { case fieldStart, plain, quoted, quote }

  private var state = State.fieldStart

  var textNumber: Int? {
    switch state {
    case .plain: 0
    case .quoted: 1
    case .fieldStart, .quote: nil
    }
  }

  func allows(before next: UInt8) -> Bool {
    switch state {
    case .fieldStart: next != UInt8(ascii: "\"")
    case .plain, .quoted: true
    case .quote: false
    }
  }

  mutating func pass(_ byte: UInt8) {
    if state == .quoted {
      if byte == UInt8(ascii: "\"") { state = .quote }
      return
    }
    switch byte {
    case UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "|"), 0x09, 0x0a, 0x0d: state = .fieldStart
    case UInt8(ascii: "\""):
      // Doubled inside of quotes, or the first of a field.
      if state != .plain { state = .quoted }
    default: state = .plain
    }
  }
}

/// What `data` lines of an event stream hold: JSON, or text. A mark holds no line break.
struct EventPlaces {
  private enum State {
    case name
    case blank
    case text
    case json(JSONPlaces)
    case other
  }

  private var state = State.name
  private var name: [UInt8] = []

  func allows(before next: UInt8) -> Bool {
    switch state {
    case .text: next != 0x0a && next != 0x0d
    case .json(let places): places.allows(before: next)
    case .name, .blank, .other: false
    }
  }

  mutating func pass(_ byte: UInt8) {
    if byte == 0x0a || byte == 0x0d {
      (state, name) = (.name, [])
      return
    }
    switch state {
    case .name:
      if byte == UInt8(ascii: ":") {
        state = name.elementsEqual("data".utf8) ? .blank : .other
      } else if name.count < 8 {
        name.append(byte)
      }
    case .blank:
      if byte == 0x20 { return }
      guard byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") || byte == UInt8(ascii: "\"") else {
        state = .text
        return
      }
      var places = JSONPlaces()
      places.pass(byte)
      state = .json(places)
    case .json(var places):
      state = .other
      places.pass(byte)
      state = .json(places)
    case .text, .other: return
    }
  }
}
