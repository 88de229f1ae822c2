// The lines of an edited file, with its line endings. Lines are inserted between others, or a few characters within a
// line. It relies on marks that count lines and columns (in characters) from one.
import YAML

struct EditedText {
  /// Without their newlines; the last one is empty where the file ends with one.
  private var lines: [[UInt8]]
  private let returns: [UInt8]

  init(_ bytes: [UInt8]) {
    lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false).map(Array.init)
    returns = lines.first?.last == 0x0d ? [0x0d] : []
  }

  var bytes: [UInt8] { Array(lines.joined(separator: [0x0a])) }

  // MARK: - Whole lines

  /// `line` counts from one.
  mutating func insert(_ new: [String], indent: Int, before line: Int) {
    let space = [UInt8](repeating: 0x20, count: indent)
    let place = min(line - 1, lines.count)
    // The file's last line may lack its newline.
    if place == lines.count, lines.last?.isEmpty == false { lines[lines.count - 1] += returns }
    lines.insert(contentsOf: new.map { space + Array($0.utf8) + returns }, at: place)
    if place + new.count == lines.count, !returns.isEmpty { lines[lines.count - 1].removeLast() }
  }

  mutating func append(_ new: [String]) {
    while lines.last?.isEmpty == true { lines.removeLast() }
    if lines.last?.last != 0x0d, !returns.isEmpty { lines[lines.count - 1] += returns }
    lines += new.map { Array($0.utf8) + returns } + [[]]
  }

  /// The key's own line ends with its colon, or with a comment behind that.
  func endsWithColon(_ line: Int) -> Bool {
    var text = lines[line - 1][...]
    if let hash = text.indices.first(where: { text[$0] == UInt8(ascii: "#") && $0 > 0 && text[$0 - 1] == 0x20 }) {
      text = text[..<hash]
    }
    while let last = text.last, last == 0x20 || last == 0x0d { text = text.dropLast() }
    return text.last == UInt8(ascii: ":")
  }

  /// The position of an item's dash.
  func dash(before mark: Mark) -> (line: Int, column: Int)? {
    var line = mark.line
    var column = mark.column - 1
    while line > 0 {
      let text = lines[line - 1]
      var index = min(column, text.count) - 1
      while index >= 0, text[index] == 0x20 || text[index] == 0x0d { index -= 1 }
      if index >= 0 { return text[index] == UInt8(ascii: "-") ? (line, index + 1) : nil }
      line -= 1
      column = .max
    }
    return nil
  }

  /// The line behind an item: comments and blank lines that follow it are not its own.
  func end(ofItemAt line: Int, indent: Int) -> Int {
    var end = line
    for number in (line + 1)..<(lines.count + 1) {
      let text = lines[number - 1]
      let blank = text.prefix { $0 == 0x20 }.count
      if blank == text.count || text[blank] == 0x0d || text[blank] == UInt8(ascii: "#") { continue }
      guard blank > indent else { break }
      end = number
    }
    return end + 1
  }

  // MARK: - Within brackets

  func isFlow(_ mark: Mark) -> Bool {
    guard let place = place(mark) else { return false }
    return lines[place.line][place.index] == UInt8(ascii: "[") || lines[place.line][place.index] == UInt8(ascii: "{")
  }

  private func place(_ mark: Mark) -> (line: Int, index: Int)? {
    guard lines.indices.contains(mark.line - 1) else { return nil }
    let text = lines[mark.line - 1]
    // Columns are characters.
    var column = 1
    for index in text.indices where text[index] & 0xc0 != 0x80 {
      if column == mark.column { return (mark.line - 1, index) }
      column += 1
    }
    return nil
  }

  /// Inserts behind the last item of the brackets or braces that open at the mark. False if they are not closed.
  mutating func insert(_ item: String, inFlowAt mark: Mark) -> Bool {
    guard let start = place(mark) else { return false }
    var scan = FlowScan()
    for line in start.line..<lines.count {
      let text = lines[line]
      for index in (line == start.line ? start.index : 0)..<text.count where scan.take(text, index, line) {
        let (last, place) = (scan.lastByte, scan.last)
        let isFirst = place.line == start.line && place.index == start.index
        let separator = isFirst ? "" : last == UInt8(ascii: ",") ? " " : ", "
        lines[place.line].insert(contentsOf: Array("\(separator)\(item)".utf8), at: place.index + 1)
        return true
      }
      scan.endLine()
    }
    return false
  }
}

/// Reads over brackets, quotes and comments, byte by byte.
private struct FlowScan {
  private(set) var last = (line: 0, index: 0)
  private(set) var lastByte: UInt8 = 0
  private var depth = 0
  private var quote: UInt8 = 0
  private var isEscaped = false
  private var isComment = false

  /// True at the bracket that closes the first one.
  mutating func take(_ text: [UInt8], _ index: Int, _ line: Int) -> Bool {
    let byte = text[index]
    if isComment { return false }
    if quote != 0 {
      if isEscaped {
        isEscaped = false
      } else if byte == quote {
        quote = 0
      } else if byte == 0x5c, quote == 0x22 {
        isEscaped = true
      }
    } else {
      switch byte {
      case UInt8(ascii: "#") where index == 0 || text[index - 1] == 0x20 || text[index - 1] == 0x09:
        isComment = true
        return false
      case UInt8(ascii: "[") where opens(text, index), UInt8(ascii: "{") where opens(text, index): depth += 1
      case UInt8(ascii: "]"), UInt8(ascii: "}"):
        depth -= 1
        if depth == 0 { return true }
      case 0x22 where opens(text, index), 0x27 where opens(text, index): quote = byte
      case 0x20, 0x09, 0x0d: return false
      default: break
      }
    }
    (last, lastByte) = ((line, index), byte)
    return false
  }

  mutating func endLine() { isComment = false }

  /// Within a plain word a quote or bracket is a character like any other.
  private func opens(_ text: [UInt8], _ index: Int) -> Bool {
    guard let before = text[..<index].last(where: { $0 != 0x20 && $0 != 0x09 }), index > 0 else { return true }
    if text[index - 1] == 0x20 || text[index - 1] == 0x09 { return ":,[{-?".utf8.contains(before) }
    return ":,[{".utf8.contains(before)
  }
}
