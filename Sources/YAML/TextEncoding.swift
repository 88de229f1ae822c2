// Finds the first byte of a file that is no text in UTF-8.
// Relies on nothing: libyaml says what is wrong with a byte, and not where.

enum TextEncoding {
  /// Nil where all is well.
  static func problem(_ bytes: [UInt8], file: Int) -> (mark: Mark, text: String)? {
    if bytes.starts(with: [0xff, 0xfe]) || bytes.starts(with: [0xfe, 0xff]) {
      return (Mark(line: 1, column: 1, file: file), "the file is UTF-16; save it as UTF-8")
    }
    // Most files are right, and then this is all.
    let isText = String(validating: bytes, as: UTF8.self) != nil
    if isText && !bytes.contains(where: isControl) { return nil }
    var (line, column) = (1, 1)
    var index = 0
    while index < bytes.count {
      let mark = Mark(line: line, column: column, file: file)
      if isControl(bytes[index]) {
        return (mark, "a control character (0x\(hex(bytes[index]))) stands here; delete it")
      }
      let length = lengthOfCharacter(bytes, at: index)
      guard length > 0 else {
        return (mark, "not UTF-8: the byte 0x\(hex(bytes[index])) stands here; save the file as UTF-8")
      }
      (line, column) = bytes[index] == 0x0a ? (line + 1, 1) : (line, column + 1)
      index += length
    }
    return nil
  }

  private static func isControl(_ byte: UInt8) -> Bool {
    byte == 0x7f || (byte < 0x20 && byte != 0x09 && byte != 0x0a && byte != 0x0d)
  }

  /// 0: none begins here.
  private static func lengthOfCharacter(_ bytes: [UInt8], at index: Int) -> Int {
    for length in 1...4 where index + length <= bytes.count {
      if String(validating: bytes[index..<(index + length)], as: UTF8.self) != nil { return length }
    }
    return 0
  }

  private static func hex(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16, uppercase: true)
    return digits.utf8.count == 1 ? "0" + digits : digits
  }
}
