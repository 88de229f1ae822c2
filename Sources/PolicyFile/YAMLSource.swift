// The bytes of a YAML file by line and column, and the ends of its blocks and brackets.
// It relies on marks of YAMLDocument, whose columns count characters.
import YAML

struct YAMLSource {
  let bytes: [UInt8]
  let newline: String
  private var starts: [Int]

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    starts = [0] + bytes.indices.filter { bytes[$0] == UInt8(ascii: "\n") }.map { $0 + 1 }
    let first = bytes.firstIndex(of: UInt8(ascii: "\n")) ?? 0
    newline = first > 0 && bytes[first - 1] == UInt8(ascii: "\r") ? "\r\n" : "\n"
  }

  var endsWithNewline: Bool { bytes.last == UInt8(ascii: "\n") || bytes.isEmpty }

  func lines(_ texts: [String]) -> String { texts.map { $0 + newline }.joined() }

  func offset(_ mark: Mark) -> Int {
    var offset = start(of: mark.line)
    var left = mark.column - 1
    while left > 0, offset < bytes.count {
      offset += 1
      // Continuation bytes of a character do not count.
      while offset < bytes.count, bytes[offset] & 0xc0 == 0x80 { offset += 1 }
      left -= 1
    }
    return offset
  }

  /// The offset for text behind the line; a last line without a line end needs one first.
  func lineEnd(_ line: Int) -> Int { start(of: line + 1) }

  func isFlow(_ node: YAMLNode) -> Bool {
    let offset = offset(node.mark)
    return offset < bytes.count && (bytes[offset] == UInt8(ascii: "[") || bytes[offset] == UInt8(ascii: "{"))
  }

  func indent(of line: Int) -> Int { content(of: line).prefix { $0 == UInt8(ascii: " ") }.count }

  /// The place behind the block whose last entry begins at `line`: the lines that follow it are deeper than `indent`.
  func end(ofBlock line: Int, deeperThan indent: Int) -> Int {
    var last = line
    var next = line + 1
    while next <= starts.count, start(of: next) < bytes.count {
      let text = content(of: next)
      let front = text.prefix { $0 == UInt8(ascii: " ") }.count
      let isBlank = front == text.count || text[text.startIndex + front] == UInt8(ascii: "#")
      if !isBlank {
        // A list may stand as deep as its key, and so may the bracket that closes one.
        let isPart = front == indent && [0x2d, 0x5d, 0x7d].contains(text[text.startIndex + front])
        guard front > indent || isPart else { break }
        last = next
      }
      next += 1
    }
    return lineEnd(last)
  }

  /// The place behind the last content of a flow collection, and whether a comma stands there already.
  func closing(_ node: YAMLNode) -> (lastContent: Int, hasComma: Bool)? {
    var depth = 0
    var index = offset(node.mark)
    var last = index + 1
    while index < bytes.count {
      let byte = bytes[index]
      switch byte {
      case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
      case UInt8(ascii: "]"), UInt8(ascii: "}"):
        depth -= 1
        if depth == 0 { return (last, bytes[last - 1] == UInt8(ascii: ",")) }
      case UInt8(ascii: "\""), UInt8(ascii: "'"): if let end = endOfQuote(index) { index = end }
      case UInt8(ascii: "#") where index > 0 && [0x20, 0x0a, 0x09].contains(bytes[index - 1]):
        while index < bytes.count, bytes[index] != UInt8(ascii: "\n") { index += 1 }
        continue
      default: break
      }
      index += 1
      if byte > 0x20 { last = index }
    }
    return nil
  }

  /// The closing quote; nil where a quote opens nothing, as within a plain text.
  private func endOfQuote(_ start: Int) -> Int? {
    guard start > 0, [0x20, 0x0a, 0x09, 0x5b, 0x7b, 0x2c, 0x3a].contains(bytes[start - 1]) else { return nil }
    let quote = bytes[start]
    var index = start + 1
    while index < bytes.count {
      if quote == UInt8(ascii: "\""), bytes[index] == UInt8(ascii: "\\") {
        index += 2
        continue
      }
      if bytes[index] == quote {
        guard quote == UInt8(ascii: "'"), index + 1 < bytes.count, bytes[index + 1] == quote else { return index }
        index += 1
      }
      index += 1
    }
    return nil
  }

  private func start(of line: Int) -> Int { line - 1 < starts.count ? starts[line - 1] : bytes.count }

  private func content(of line: Int) -> ArraySlice<UInt8> {
    var text = bytes[start(of: line)..<start(of: line + 1)]
    while text.last == UInt8(ascii: "\n") || text.last == UInt8(ascii: "\r") { text = text.dropLast() }
    return text
  }
}
