// A host name in the canonical form that policy, cache and log compare: ASCII, lower case, no trailing dot.
// It relies on `Punycode` for the A-label that an error about a Unicode name shows.

/// A DNS host name of 1 to 253 octets, labels of 1 to 63 octets out of `a-z 0-9 - _`, no hyphen at a label's ends.
/// A text that a URL parser may read as a number (`127.1`, `0x7f.1`) never becomes one.
package struct HostName: Hashable, Sendable, CustomStringConvertible {
  package let bytes: [UInt8]

  package func hash(into hasher: inout Hasher) { bytes.feed(&hasher) }

  package init(parsing text: Span<UInt8>) throws(HostNameProblem) {
    var end = text.count
    if end > 0, text[end - 1] == UInt8(ascii: ".") { end -= 1 }
    guard end > 0 else { throw .empty }
    let lastLabel = try HostName.lastLabel(of: text, end: end)
    guard end <= 253 else { throw .tooLong }
    // WHATWG URL "ends in a number": a client's resolver or URL parser may read such a text as an IPv4 address, so
    // what was judged as a name would be dialled as an address.
    guard !HostName.isNumber(text, lastLabel) else { throw .endsInNumber }
    var lower = [UInt8](repeating: 0, count: end)
    for index in 0..<end { lower[index] = text[index].lowercased }
    bytes = lower
  }

  package init(_ text: String) throws(HostNameProblem) {
    try self.init(parsing: [UInt8](text.utf8).span)
  }

  package var description: String { String(decoding: bytes, as: UTF8.self) }

  /// Checks each label, and returns the last one.
  private static func lastLabel(of text: Span<UInt8>, end: Int) throws(HostNameProblem) -> Range<Int> {
    var start = 0
    for index in 0..<end {
      let byte = text[index].lowercased
      if byte &- 0x61 < 26 || byte.isDigit || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_") { continue }
      if byte == UInt8(ascii: ".") {
        try check(text, start..<index)
        start = index + 1
        continue
      }
      if byte >= 0x80 { throw .notASCII(aLabel: Punycode.asciiHost(text)) }
      throw .badByte(byte)
    }
    try check(text, start..<end)
    return start..<end
  }

  private static func check(_ text: Span<UInt8>, _ label: Range<Int>) throws(HostNameProblem) {
    guard !label.isEmpty else { throw .emptyLabel }
    guard label.count <= 63 else { throw .labelTooLong }
    let hyphen = UInt8(ascii: "-")
    guard text[label.lowerBound] != hyphen, text[label.upperBound - 1] != hyphen else { throw .hyphenAtEnd }
  }

  private static func isNumber(_ text: Span<UInt8>, _ label: Range<Int>) -> Bool {
    guard text[label.lowerBound].isDigit else { return false }
    if text.hasPrefix("0x", at: label) {
      return label.dropFirst(2).allSatisfy { text[$0].hexValue != nil }
    }
    return label.allSatisfy { text[$0].isDigit }
  }
}

/// The reason why a text is not a host name; `description` is written for the operator.
package enum HostNameProblem: Error, Hashable, Sendable, CustomStringConvertible {
  case empty
  case tooLong
  case emptyLabel
  case labelTooLong
  case hyphenAtEnd
  case badByte(UInt8)
  case endsInNumber
  case notASCII(aLabel: String?)

  package var description: String {
    switch self {
    case .empty: "host name is empty"
    case .tooLong: "host name longer than 253 octets (RFC 1035 section 2.3.4)"
    case .emptyLabel: "empty label: two dots in a row, or one in front"
    case .labelTooLong: "label longer than 63 octets (RFC 1035 section 2.3.4)"
    case .hyphenAtEnd: "label begins or ends with a hyphen (RFC 952)"
    case .badByte(let byte): "\(HostNameProblem.name(byte)) cannot stand in a host name"
    case .endsInNumber: "ends in a number, and so is not a host name; an IPv4 address is written as 192.0.2.1"
    case .notASCII(let aLabel?): "host name is not ASCII; write its A-label form \(aLabel)"
    case .notASCII(nil): "host name is not ASCII; write its A-label form (RFC 5890)"
    }
  }

  private static func name(_ byte: UInt8) -> String {
    guard byte.isVisible else { return byte == .space ? "a space" : "byte 0x" + String(byte, radix: 16) }
    return "'\(Character(Unicode.Scalar(byte)))'"
  }
}
