// The text of a git configuration file as its entries, in their order (git-config(1), SYNTAX).
// It relies on nothing. Git gives up at a line that it cannot read; this goes on behind it, so it never sees less than
// git.

struct GitConfigText {
  struct Entry: Equatable {
    /// Lower case, as git compares it.
    let section: String
    /// As written; nil without one.
    let subsection: String?
    /// Lower case.
    let key: String
    /// nil where no `=` follows the key.
    let value: String?
  }

  private(set) var entries: [Entry] = []

  private let bytes: [UInt8]
  private var place = 0
  private var section = ""
  private var subsection: String?

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { place = 3 }
    while place < bytes.count { readNext() }
  }

  private static let newline = UInt8(ascii: "\n")

  private mutating func readNext() {
    switch bytes[place] {
    case UInt8(ascii: "["): readSection()
    case UInt8(ascii: "#"), UInt8(ascii: ";"): skipLine()
    case let byte where Self.isName(byte): readEntry()
    default: place += 1
    }
  }

  private static func isName(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
      true
    default: false
    }
  }

  private static func isBlank(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
  }

  private static func text(_ bytes: some Sequence<UInt8>) -> String { String(decoding: Array(bytes), as: UTF8.self) }

  private static func lowerCase(_ bytes: some Sequence<UInt8>) -> String {
    text(bytes.map { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") ? $0 | 0x20 : $0 })
  }

  private mutating func skipLine() {
    while place < bytes.count, bytes[place] != Self.newline { place += 1 }
  }

  private mutating func skipBlanks() {
    while place < bytes.count, Self.isBlank(bytes[place]) { place += 1 }
  }

  /// `[name]`, `[name "sub"]`, and `[name.sub]` of old.
  private mutating func readSection() {
    place += 1
    var name: [UInt8] = []
    subsection = nil
    while place < bytes.count, Self.isName(bytes[place]) || bytes[place] == UInt8(ascii: ".") {
      name.append(bytes[place])
      place += 1
    }
    skipBlanks()
    if place < bytes.count, bytes[place] == UInt8(ascii: "\"") { readSubsection() }
    if let dot = name.firstIndex(of: UInt8(ascii: ".")), subsection == nil {
      subsection = Self.lowerCase(name[(dot + 1)...])
      name = Array(name[..<dot])
    }
    section = Self.lowerCase(name)
    while place < bytes.count, bytes[place] != Self.newline, bytes[place] != UInt8(ascii: "]") { place += 1 }
    if place < bytes.count, bytes[place] == UInt8(ascii: "]") { place += 1 }
  }

  private mutating func readSubsection() {
    var name: [UInt8] = []
    place += 1
    while place < bytes.count, bytes[place] != UInt8(ascii: "\""), bytes[place] != Self.newline {
      if bytes[place] == UInt8(ascii: "\\"), place + 1 < bytes.count { place += 1 }
      name.append(bytes[place])
      place += 1
    }
    if place < bytes.count, bytes[place] == UInt8(ascii: "\"") { place += 1 }
    subsection = Self.text(name)
  }

  private mutating func readEntry() {
    let start = place
    while place < bytes.count, Self.isName(bytes[place]) { place += 1 }
    let key = Self.lowerCase(bytes[start..<place])
    skipBlanks()
    var value: String?
    if place < bytes.count, bytes[place] == UInt8(ascii: "=") {
      place += 1
      value = readValue()
    } else {
      skipLine()
    }
    entries.append(Entry(section: section, subsection: subsection, key: key, value: value))
  }

  private mutating func readValue() -> String {
    var value: [UInt8] = []
    // Blanks at the end do not count, but for those in quotes.
    var count = 0
    var isQuoted = false
    skipBlanks()
    while place < bytes.count {
      let byte = bytes[place]
      if byte == Self.newline { break }
      place += 1
      switch byte {
      case UInt8(ascii: "\""): isQuoted.toggle()
      case UInt8(ascii: "\\"): if let escaped = readEscape() { value.append(escaped) }
      case UInt8(ascii: "#"), UInt8(ascii: ";"):
        if !isQuoted {
          skipLine()
          return Self.text(value.prefix(count))
        }
        value.append(byte)
      default: value.append(byte)
      }
      if isQuoted || !Self.isBlank(byte) { count = value.count }
    }
    return Self.text(value.prefix(count))
  }

  /// nil where the line goes on in the next one.
  private mutating func readEscape() -> UInt8? {
    guard place < bytes.count else { return nil }
    let byte = bytes[place]
    place += 1
    switch byte {
    case UInt8(ascii: "n"): return Self.newline
    case UInt8(ascii: "t"): return UInt8(ascii: "\t")
    case UInt8(ascii: "b"): return 8
    case Self.newline: return nil
    case UInt8(ascii: "\r") where place < bytes.count && bytes[place] == Self.newline:
      place += 1
      return nil
    default: return byte
    }
  }
}
