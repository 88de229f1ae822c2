// Reads one JSON object (RFC 8259) of the log: known fields into a LogLine, the others kept as they stand.
// It relies on nothing that the line says: nesting is bounded, sizes are the line's own, and any error ends it.
// Wire.JSONOutline is the reader for all else: logs have millions of lines, and this one makes no tree and no memory of
// a line's own.
import Wire

struct LineParser {
  private static let depthMax = 16

  private var index: Int
  /// The gate's fields come in order: the next one is looked for from here on.
  private var expected = 0

  init(at index: Int) { self.index = index }

  /// The whole line is one object, or it is no line.
  mutating func read(_ line: Span<UInt8>, into out: inout LogLine) -> Bool {
    skipBlanks(line)
    guard take(UInt8(ascii: "{"), line) else { return false }
    skipBlanks(line)
    if !take(UInt8(ascii: "}"), line) {
      repeat {
        skipBlanks(line)
        guard readField(line, &out) else { return false }
        skipBlanks(line)
      } while take(UInt8(ascii: ","), line)
      guard take(UInt8(ascii: "}"), line) else { return false }
    }
    skipBlanks(line)
    return index == line.count
  }

  private mutating func readField(_ line: Span<UInt8>, _ out: inout LogLine) -> Bool {
    guard let key = readString(line, &out.texts) else { return false }
    skipBlanks(line)
    guard take(UInt8(ascii: ":"), line) else { return false }
    skipBlanks(line)
    guard let field = known(out.texts[key]) else { return keepAside(out.texts[key], line, &out) }
    out.texts.removeLast(key.count)
    guard index < line.count else { return false }
    switch line[index] {
    case UInt8(ascii: "\""):
      guard let range = readString(line, &out.texts) else { return false }
      out.values[field] = .text(range)
    default:
      let start = index
      guard skipValue(line, depth: 0) else { return false }
      out.values[field] = Self.plain(line.extracting(start..<index))
    }
    return true
  }

  /// Another kind of value than a number, true or false means nothing to a view.
  private static func plain(_ text: Span<UInt8>) -> LogLine.Value {
    if text.count == 4, text[0] == UInt8(ascii: "t") { return .flag(true) }
    if text.count == 5, text[0] == UInt8(ascii: "f") { return .flag(false) }
    var value: UInt64 = 0
    for index in 0..<text.count {
      guard text[index].isDigit else { return .absent }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(text[index] & 0x0f))
      if overflow || carry { return .absent }
      value = sum
    }
    return .number(value)
  }

  private mutating func known(_ key: ArraySlice<UInt8>) -> Int? {
    let names = LogField.names
    for step in 0..<names.count {
      let candidate = expected + step < names.count ? expected + step : expected + step - names.count
      guard names[candidate].count == key.count, names[candidate].elementsEqual(key) else { continue }
      expected = candidate + 1
      return candidate
    }
    return nil
  }

  private mutating func keepAside(_ name: ArraySlice<UInt8>, _ line: Span<UInt8>, _ out: inout LogLine) -> Bool {
    let name = Array(name)
    out.texts.removeLast(name.count)
    let start = index
    guard skipValue(line, depth: 0) else { return false }
    if out.others.count < LogLine.othersMax, name.count + index - start <= LogLine.otherBytesMax {
      var json: [UInt8] = []
      json.append(line.extracting(start..<index))
      out.others.append(LogLine.Other(name: name, json: json))
    }
    return true
  }

  // MARK: - Values

  private mutating func skipValue(_ line: Span<UInt8>, depth: Int) -> Bool {
    guard index < line.count, depth < Self.depthMax else { return false }
    switch line[index] {
    case UInt8(ascii: "\""): return skipString(line)
    case UInt8(ascii: "{"): return skipItems(line, depth, closing: UInt8(ascii: "}"), isObject: true)
    case UInt8(ascii: "["): return skipItems(line, depth, closing: UInt8(ascii: "]"), isObject: false)
    case UInt8(ascii: "t"): return skipWord("true", line)
    case UInt8(ascii: "f"): return skipWord("false", line)
    case UInt8(ascii: "n"): return skipWord("null", line)
    default: return skipNumber(line)
    }
  }

  private mutating func skipItems(_ line: Span<UInt8>, _ depth: Int, closing: UInt8, isObject: Bool) -> Bool {
    index += 1
    skipBlanks(line)
    if take(closing, line) { return true }
    repeat {
      skipBlanks(line)
      if isObject {
        guard index < line.count, line[index] == UInt8(ascii: "\""), skipString(line) else { return false }
        skipBlanks(line)
        guard take(UInt8(ascii: ":"), line) else { return false }
        skipBlanks(line)
      }
      guard skipValue(line, depth: depth + 1) else { return false }
      skipBlanks(line)
    } while take(UInt8(ascii: ","), line)
    return take(closing, line)
  }

  private mutating func skipString(_ line: Span<UInt8>) -> Bool {
    var unused: [UInt8] = []
    return readString(line, &unused) != nil
  }

  private mutating func skipWord(_ word: StaticString, _ line: Span<UInt8>) -> Bool {
    for byte in "\(word)".utf8 { guard take(byte, line) else { return false } }
    return true
  }

  private mutating func skipNumber(_ line: Span<UInt8>) -> Bool {
    _ = take(UInt8(ascii: "-"), line)
    let first = index
    guard skipDigits(line), line[first] != UInt8(ascii: "0") || index == first + 1 else { return false }
    if take(UInt8(ascii: "."), line) { guard skipDigits(line) else { return false } }
    if take(UInt8(ascii: "e"), line) || take(UInt8(ascii: "E"), line) {
      _ = take(UInt8(ascii: "+"), line) || take(UInt8(ascii: "-"), line)
      guard skipDigits(line) else { return false }
    }
    return true
  }

  private mutating func skipDigits(_ line: Span<UInt8>) -> Bool {
    let start = index
    while index < line.count, line[index].isDigit { index += 1 }
    return index > start
  }

  /// Appends the text without its escapes, and answers where it stands. Bytes above ASCII go through as they are.
  private mutating func readString(_ line: Span<UInt8>, _ out: inout [UInt8]) -> Range<Int>? {
    guard take(UInt8(ascii: "\""), line) else { return nil }
    let begin = out.count
    while index < line.count {
      let start = index
      while index < line.count, Self.isPlain(line[index]) { index += 1 }
      if index > start { out.append(line.extracting(start..<index)) }
      guard index < line.count else { return nil }
      let byte = line[index]
      index += 1
      if byte == UInt8(ascii: "\"") { return begin..<out.count }
      // A control byte in a string is no JSON.
      guard byte == UInt8(ascii: "\\"), readEscape(line, &out) else { return nil }
    }
    return nil
  }

  @inline(__always)
  private static func isPlain(_ byte: UInt8) -> Bool {
    byte >= 0x20 && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
  }

  private mutating func readEscape(_ line: Span<UInt8>, _ out: inout [UInt8]) -> Bool {
    guard index < line.count else { return false }
    let byte = line[index]
    index += 1
    if byte == UInt8(ascii: "u") { return readUnicodeEscape(line, &out) }
    guard let meant = JSONText.unescaped(byte) else { return false }
    out.append(meant)
    return true
  }

  /// A surrogate without its partner is U+FFFD.
  private mutating func readUnicodeEscape(_ line: Span<UInt8>, _ out: inout [UInt8]) -> Bool {
    guard var value = readHex(line) else { return false }
    if value & 0xfc00 == 0xd800, index + 1 < line.count, line[index] == UInt8(ascii: "\\"),
      line[index + 1] == UInt8(ascii: "u")
    {
      let back = index
      index += 2
      guard let low = readHex(line) else { return false }
      if low & 0xfc00 == 0xdc00 {
        value = 0x10000 + (value & 0x3ff) << 10 + low & 0x3ff
      } else {
        index = back
      }
    }
    out += String(Character(Unicode.Scalar(value) ?? "\u{fffd}")).utf8
    return true
  }

  private mutating func readHex(_ line: Span<UInt8>) -> UInt32? {
    guard index + 4 <= line.count else { return nil }
    var value: UInt32 = 0
    for place in index..<(index + 4) {
      guard let digit = line[place].hexValue else { return nil }
      value = value << 4 | UInt32(digit)
    }
    index += 4
    return value
  }

  // MARK: - Steps

  @inline(__always)
  private mutating func skipBlanks(_ line: Span<UInt8>) {
    while index < line.count, line[index] == 0x20 || line[index] == 0x09 || line[index] == 0x0d { index += 1 }
  }

  @inline(__always)
  private mutating func take(_ byte: UInt8, _ line: Span<UInt8>) -> Bool {
    guard index < line.count, line[index] == byte else { return false }
    index += 1
    return true
  }
}
