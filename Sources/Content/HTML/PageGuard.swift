// Says of a page whether a tree builder can take it in time: HTML5 looks through all open elements at many tags, so
// depth times
// tags is what it costs. It relies on over-counting: where this reader and the parser may differ, an element counts as
// still open.

struct PageGuard {
  /// Deeper pages are made by no one who wants to be read.
  static let depthMax = 1024
  /// Each attribute is compared with all before it.
  static let attributesMax = 512

  /// Options of a list cost gumbo more the more there are: half a million took it minutes.
  static let optionsMax = 4096

  private static let void: Set<String> = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
  ]
  /// Closed by what follows, so that pages leave their end tags out; not so inside of svg and math.
  private static let implied: Set<String> = [
    "p", "li", "dd", "dt", "option", "td", "th", "tr", "tbody", "thead", "tfoot", "colgroup", "html", "head", "body",
  ]
  private static let raw: Set<String> = [
    "script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes",
  ]

  /// True if the page may be parsed.
  static func accepts(_ bytes: Span<UInt8>) -> Bool {
    var guarding = PageGuard()
    return guarding.read(bytes)
  }

  private var open: [String] = []
  /// Elements that may be open and that no end tag is trusted to close.
  private var stuck = 0
  private var options = 0
  private var hasForeign = false
  private var distrustsEnds = false

  private mutating func read(_ bytes: Span<UInt8>) -> Bool {
    var place = 0
    while let start = bytes.firstIndex(of: UInt8(ascii: "<"), in: place..<bytes.count) {
      place = start + 1
      guard place < bytes.count else { return true }
      let isEnd = bytes[place] == UInt8(ascii: "/")
      if isEnd { place += 1 }
      guard place < bytes.count, bytes[place].isLetter else {
        place = skipMarkup(bytes, start)
        continue
      }
      let name = Self.name(bytes, &place)
      guard let isSelfClosed = Self.skipAttributes(bytes, &place) else { return false }
      if isEnd { close(name) } else { place = opened(name, isSelfClosed, bytes, place) }
      if open.count + stuck > Self.depthMax || options > Self.optionsMax { return false }
    }
    return true
  }

  /// A comment, a doctype, or what the parser takes for a comment.
  private mutating func skipMarkup(_ bytes: Span<UInt8>, _ start: Int) -> Int {
    if bytes.hasBytes("<!--", at: start) {
      // `<!-->` and `<!--->` end at once.
      if bytes.hasBytes(">", at: start + 4) { return start + 5 }
      if bytes.hasBytes("->", at: start + 4) { return start + 6 }
      return bytes.index(after: "-->", from: start + 4) ?? bytes.count
    }
    // In foreign content CDATA is text, elsewhere a comment up to `>`: which one it is depends on the tree.
    if bytes.hasBytes("<![CDATA[", at: start) {
      distrustsEnds = true
      return start + 9
    }
    let isMarkup = bytes.hasBytes("<!", at: start) || bytes.hasBytes("<?", at: start) || bytes.hasBytes("</", at: start)
    guard isMarkup else { return start + 1 }
    return bytes.index(after: ">", from: start + 1) ?? bytes.count
  }

  private static func name(_ bytes: Span<UInt8>, _ place: inout Int) -> String {
    var name = ""
    while place < bytes.count, bytes[place] > 0x20, bytes[place] != UInt8(ascii: "/"), bytes[place] != UInt8(ascii: ">")
    {
      if name.utf8.count < 16 {
        name.unicodeScalars.append(Unicode.Scalar(bytes[place].isLetter ? bytes[place] | 0x20 : bytes[place]))
      }
      place += 1
    }
    return name
  }

  /// Moves past `>`; nil when there are too many attributes.
  private static func skipAttributes(_ bytes: Span<UInt8>, _ place: inout Int) -> Bool? {
    var count = 0
    var isSelfClosed = false
    while place < bytes.count {
      let byte = bytes[place]
      place += 1
      switch byte {
      case UInt8(ascii: ">"): return isSelfClosed
      case UInt8(ascii: "/"): isSelfClosed = true
      case 0...0x20: break
      default:
        isSelfClosed = false
        count += 1
        if count > attributesMax { return nil }
        skipAttribute(bytes, &place)
      }
    }
    return false
  }

  /// The rest of a name and, behind `=`, its value.
  private static func skipAttribute(_ bytes: Span<UInt8>, _ place: inout Int) {
    while place < bytes.count, bytes[place] > 0x20, ![0x2f, 0x3e, 0x3d].contains(bytes[place]) { place += 1 }
    var value = place
    while value < bytes.count, bytes[value] <= 0x20 { value += 1 }
    guard value < bytes.count, bytes[value] == UInt8(ascii: "=") else { return }
    value += 1
    while value < bytes.count, bytes[value] <= 0x20 { value += 1 }
    guard value < bytes.count else { return place = bytes.count }
    let quote = bytes[value]
    if quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") {
      place = bytes.firstIndex(of: quote, in: (value + 1)..<bytes.count).map { $0 + 1 } ?? bytes.count
      return
    }
    while value < bytes.count, bytes[value] > 0x20, bytes[value] != UInt8(ascii: ">") { value += 1 }
    place = value
  }

  private mutating func opened(_ name: String, _ isSelfClosed: Bool, _ bytes: Span<UInt8>, _ place: Int) -> Int {
    if name == "svg" || name == "math" { hasForeign = true }
    if name == "option" || name == "optgroup" { options += 1 }
    if Self.void.contains(name) && !hasForeign || isSelfClosed && hasForeign { return place }
    if Self.raw.contains(name) { return skipRaw(name, bytes, place) }
    if hasForeign || !Self.implied.contains(name) { open.append(name) }
    return place
  }

  /// Raw text up to its end tag. In foreign content it would be elements: each that opens there counts as open for
  /// good.
  private mutating func skipRaw(_ name: String, _ bytes: Span<UInt8>, _ start: Int) -> Int {
    var place = start
    while let tag = bytes.firstIndex(of: UInt8(ascii: "<"), in: place..<bytes.count) {
      place = tag + 1
      guard place < bytes.count else { return bytes.count }
      if bytes[place].isLetter && hasForeign { stuck += 1 }
      guard bytes[place] == UInt8(ascii: "/") else { continue }
      var end = place + 1
      if Self.name(bytes, &end) == name {
        _ = Self.skipAttributes(bytes, &end)
        return end
      }
    }
    return bytes.count
  }

  /// Only the innermost element is trusted to be closed; spans are stepped over, as sloppy pages leave them open.
  private mutating func close(_ name: String) {
    guard !distrustsEnds, let last = open.last else { return }
    if last == name {
      open.removeLast()
      if name == "svg" || name == "math" { hasForeign = open.contains("svg") || open.contains("math") }
      return
    }
    guard name == "div", !hasForeign, let place = open.suffix(8).lastIndex(of: name) else { return }
    if open[(place + 1)...].allSatisfy({ $0 == "span" || $0 == "label" }) { open.removeSubrange(place...) }
  }
}

extension UInt8 {
  var isLetter: Bool { (0x61...0x7a).contains(self | 0x20) }
}

extension Span where Element == UInt8 {
  func hasBytes(_ text: StaticString, at place: Int) -> Bool {
    let bytes = "\(text)".utf8
    guard place + bytes.count <= count else { return false }
    for (offset, byte) in bytes.enumerated() where self[place + offset] != byte { return false }
    return true
  }

  /// The place behind the first `text` at or behind `start`.
  func index(after text: StaticString, from start: Int) -> Int? {
    guard let first = "\(text)".utf8.first else { return start }
    var place = start
    while place < count, let found = firstIndex(of: first, in: place..<count) {
      if hasBytes(text, at: found) { return found + text.utf8CodeUnitCount }
      place = found + 1
    }
    return nil
  }

  func firstIndex(of byte: UInt8, in range: Range<Int>) -> Int? {
    for place in range where self[place] == byte { return place }
    return nil
  }
}
