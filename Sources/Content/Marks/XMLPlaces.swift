// Text between the tags of XML or HTML. It relies on the text being well-formed, or on the leniency of whoever reads
// HTML.

struct XMLPlaces {
  private enum State: Equatable {
    case text
    case open
    /// `quote`: the sign that ends a value, or 0.
    case tag(quote: UInt8)
    case bang
    case comment(dashes: Int)
    case cdataOpening(Int)
    case cdata(brackets: Int)
    case declaration(depth: Int, quote: UInt8)
    case instruction(isMark: Bool)
    case reference(Int)
    /// Inside of an element whose text is no text: until its end tag.
    case raw(matched: Int)
  }

  private static let cdata = Array("[CDATA[".utf8)
  private static let rawNames: Set<String> = [
    "script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "template",
  ]
  private static let referenceBytesMax = 12

  private let isHTML: Bool
  private var state = State.text
  private var name = ""
  private var isNamed = false
  private var isEnd = false
  private var last: UInt8 = 0
  /// Open elements; of HTML, whether any tag has been seen.
  private var depth = 0
  private var rawEnd: [UInt8] = []

  init(isHTML: Bool) { self.isHTML = isHTML }

  var isText: Bool { state == .text && depth > 0 }

  mutating func pass(_ byte: UInt8) {
    switch state {
    case .text:
      if byte == UInt8(ascii: "<") { state = .open }
      if byte == UInt8(ascii: "&") { state = .reference(0) }
    case .reference(let count):
      if byte == UInt8(ascii: "<") {
        state = .open
      } else if !(byte.isAlphanumeric || byte == UInt8(ascii: "#")) || count == Self.referenceBytesMax {
        state = .text
      } else {
        state = .reference(count + 1)
      }
    case .open: passOpen(byte)
    case .tag(let quote): passTag(byte, quote)
    case .bang: passBang(byte)
    case .comment(let dashes):
      state =
        byte == UInt8(ascii: ">") && dashes >= 2
        ? .text : .comment(dashes: byte == UInt8(ascii: "-") ? dashes + 1 : 0)
    case .cdataOpening(let count):
      state =
        byte != Self.cdata[count]
        ? .declaration(depth: 1, quote: 0)
        : count + 1 == Self.cdata.count ? .cdata(brackets: 0) : .cdataOpening(count + 1)
    case .cdata(let brackets):
      state =
        byte == UInt8(ascii: ">") && brackets >= 2
        ? .text : .cdata(brackets: byte == UInt8(ascii: "]") ? brackets + 1 : 0)
    case .declaration(let depth, let quote): passDeclaration(byte, depth, quote)
    case .instruction(let isMark):
      state =
        byte == UInt8(ascii: ">") && (isMark || isHTML) ? .text : .instruction(isMark: byte == UInt8(ascii: "?"))
    case .raw(let matched): passRaw(byte, matched)
    }
  }

  private mutating func passOpen(_ byte: UInt8) {
    (name, isNamed, isEnd, last) = ("", false, false, 0)
    switch byte {
    case UInt8(ascii: "!"): state = .bang
    case UInt8(ascii: "?"): state = .instruction(isMark: false)
    case UInt8(ascii: "/"): (isEnd, state) = (true, .tag(quote: 0))
    case 0x80...: state = .tag(quote: 0)
    default:
      if byte.isAlphanumeric || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ":") {
        state = .tag(quote: 0)
        addToName(byte)
      } else {
        state = .text
      }
    }
  }

  private mutating func addToName(_ byte: UInt8) {
    guard !isNamed, byte.isAlphanumeric, name.utf8.count < 12 else {
      isNamed = true
      return
    }
    name.unicodeScalars.append(Unicode.Scalar((0x41...0x5a).contains(byte) ? byte | 0x20 : byte))
  }

  private mutating func passTag(_ byte: UInt8, _ quote: UInt8) {
    defer { last = byte }
    if quote != 0 {
      if byte == quote { state = .tag(quote: 0) }
      return
    }
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "'"): if isNamed || !isHTML { state = .tag(quote: byte) }
    case UInt8(ascii: ">"): endTag()
    default: addToName(byte)
    }
  }

  private mutating func endTag() {
    state = .text
    if isHTML {
      depth = 1
      guard !isEnd, Self.rawNames.contains(name) else { return }
      rawEnd = Array("</\(name)".utf8)
      state = .raw(matched: 0)
    } else if isEnd {
      depth -= 1
    } else if last != UInt8(ascii: "/") {
      depth += 1
    }
  }

  private mutating func passBang(_ byte: UInt8) {
    switch (byte, last) {
    case (UInt8(ascii: "-"), 0): last = byte
    // `<!-->` is an empty comment in HTML.
    case (UInt8(ascii: "-"), UInt8(ascii: "-")): state = .comment(dashes: isHTML ? 2 : 0)
    case (UInt8(ascii: "["), 0): state = .cdataOpening(1)
    case (UInt8(ascii: ">"), _): state = .text
    default: state = .declaration(depth: 0, quote: 0)
    }
  }

  private mutating func passDeclaration(_ byte: UInt8, _ depth: Int, _ quote: UInt8) {
    if quote != 0 {
      if byte == quote { state = .declaration(depth: depth, quote: 0) }
      return
    }
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "'"): state = .declaration(depth: depth, quote: isHTML ? 0 : byte)
    case UInt8(ascii: "["), UInt8(ascii: "<"): state = .declaration(depth: depth + 1, quote: 0)
    case UInt8(ascii: "]"): state = .declaration(depth: max(depth - 1, 0), quote: 0)
    case UInt8(ascii: ">"):
      state = depth == 0 || isHTML ? .text : .declaration(depth: depth - 1, quote: 0)
    default: break
    }
  }

  private mutating func passRaw(_ byte: UInt8, _ matched: Int) {
    let letter = (0x41...0x5a).contains(byte) ? byte | 0x20 : byte
    if matched == rawEnd.count {
      if byte.isAlphanumeric {
        state = .raw(matched: 0)
      } else {
        (isEnd, name, isNamed, state) = (true, "", true, .tag(quote: 0))
        passTag(byte, 0)
      }
    } else if letter == rawEnd[matched] {
      state = .raw(matched: matched + 1)
    } else {
      state = .raw(matched: byte == UInt8(ascii: "<") ? 1 : 0)
    }
  }
}
