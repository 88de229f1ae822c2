// Text from the log as a terminal may get it: nothing but printable ASCII, all else shown by its number.
// It relies on nothing of the text: escapes, controls, bidirectional marks and look-alike letters come out as `\u{…}`.
import Wire

package enum TerminalText {
  /// `\` is doubled, so that what is shown as an escape was one.
  package static func append(_ text: some Collection<UInt8>, to out: inout [UInt8]) {
    // Nearly all that a gate writes: a decoder would take half of the time of a line.
    if text.allSatisfy({ (0x20..<0x7f).contains($0) && $0 != 0x5c }) {
      out += text
      return
    }
    var decoder = UTF8()
    var bytes = text.makeIterator()
    while true {
      switch decoder.decode(&bytes) {
      case .scalarValue(let scalar): append(scalar, to: &out)
      case .emptyInput: return
      case .error: append("\u{fffd}", to: &out)
      }
    }
  }

  package static func safe(_ text: some Collection<UInt8>) -> String {
    var out: [UInt8] = []
    append(text, to: &out)
    return String(decoding: out, as: UTF8.self)
  }

  /// At most `width` columns, padded to it; what is cut is marked by `~`. Of a host name the end counts, so its front
  /// is cut.
  package static func column(_ text: String, _ width: Int, cutsFront: Bool = false, alignsRight: Bool = false) -> String
  {
    let count = text.utf8.count
    if count > width {
      if width <= 1 { return String(text.prefix(width)) }
      return cutsFront ? "~" + text.suffix(width - 1) : text.prefix(width - 1) + "~"
    }
    let padding = String(repeating: " ", count: width - count)
    return alignsRight ? padding + text : text + padding
  }

  /// A line of JSON that means the same and is ASCII alone.
  package static func appendJSON(_ line: Span<UInt8>, to out: inout [UInt8]) {
    var index = 0
    while index < line.count {
      let start = index
      while index < line.count, (0x20..<0x7f).contains(line[index]) { index += 1 }
      if index > start { out.append(line.extracting(start..<index)) }
      guard index < line.count else { return }
      if line[index] < 0x80 {
        // Tabs and returns between two values are the only control bytes that JSON has room for in a line.
        let isBlank = line[index] == 0x09 || line[index] == 0x0d
        out += isBlank ? " ".utf8 : escape(UInt16(line[index])).utf8
        index += 1
        continue
      }
      var beyond: [UInt8] = []
      while index < line.count, line[index] >= 0x80 {
        beyond.append(line[index])
        index += 1
      }
      for unit in String(decoding: beyond, as: UTF8.self).utf16 { out += escape(unit).utf8 }
    }
  }

  private static func escape(_ unit: UInt16) -> String {
    let digits = String(unit, radix: 16)
    return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
  }

  private static func append(_ scalar: Unicode.Scalar, to out: inout [UInt8]) {
    switch scalar.value {
    case 0x5c: out += "\\\\".utf8
    case 0x20..<0x7f: out.append(UInt8(scalar.value))
    default: out += "\\u{\(String(scalar.value, radix: 16))}".utf8
    }
  }
}
