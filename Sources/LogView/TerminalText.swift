// Text from the log as a terminal may get it: nothing but printable ASCII, all else shown by its number.
// It relies on nothing of the text: escapes, controls, bidirectional marks and look-alike letters come out as `\u{…}`.

import Wire

package enum TerminalText {
  /// `\` is doubled, so that what is shown as an escape was one.
  package static func append(_ text: some Sequence<UInt8>, to out: inout [UInt8]) {
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

  package static func safe(_ text: some Sequence<UInt8>) -> String {
    var out: [UInt8] = []
    append(text, to: &out)
    return String(decoding: out, as: UTF8.self)
  }

  /// At most `width` columns, padded to it; what is cut is marked by `~`. Of a host name the end counts, so its front is cut.
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
    var start = 0
    for index in 0..<line.count where !(0x20..<0x7f).contains(line[index]) {
      guard index >= start else { continue }
      out.append(line.extracting(start..<index))
      start = appendEscaped(line, index, to: &out)
    }
    if start < line.count { out.append(line.extracting(start..<line.count)) }
  }

  /// One scalar, or one byte that is none; answers where the next begins.
  private static func appendEscaped(_ line: Span<UInt8>, _ index: Int, to out: inout [UInt8]) -> Int {
    let lead = line[index]
    let length = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
    var bytes: [UInt8] = []
    for place in index..<min(index + length, line.count) { bytes.append(line[place]) }
    var value: UInt32 = 0xfffd
    var taken = 1
    if lead < 0x80 {
      value = UInt32(lead)
    } else if let text = String(validating: bytes, as: UTF8.self), let scalar = text.unicodeScalars.first {
      value = scalar.value
      taken = bytes.count
    }
    // A tab between two values is the only control byte that JSON has room for in a line.
    if value == 0x09 {
      out.append(UInt8(ascii: " "))
    } else {
      for unit in String(Character(Unicode.Scalar(value) ?? "\u{fffd}")).utf16 { out += escape(unit).utf8 }
    }
    return index + taken
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
