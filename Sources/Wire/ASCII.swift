// The character classes of the grammars that this module reads: tokens, digits, hexadecimal, field content.
// It relies on nothing; each class is arithmetic or a bit mask, since a table would be a lazily built global.

extension UInt8 {
  static var tab: UInt8 { 0x09 }
  static var lineFeed: UInt8 { 0x0a }
  static var carriageReturn: UInt8 { 0x0d }
  static var space: UInt8 { 0x20 }

  @inline(__always)
  package var isDigit: Bool { self &- 0x30 < 10 }

  @inline(__always)
  var lowercased: UInt8 { self &- 0x41 < 26 ? self | 0x20 : self }

  /// `tchar` of RFC 9110 section 5.6.2.
  @inline(__always)
  var isToken: Bool {
    let mask: UInt64 = self < 64 ? 0x3ff_6cfa_0000_0000 : 0x57ff_ffff_c7ff_fffe
    return self < 128 && (mask >> UInt64(self & 63)) & 1 == 1
  }

  /// Bytes of a field value, a reason phrase or a chunk extension (RFC 9110 section 5.5): no control byte but
  /// the tab. A NUL, CR or LF in there is how one message is made to read as two.
  @inline(__always)
  var isFieldContent: Bool { (self >= 0x20 && self != 0x7f) || self == .tab }

  /// Visible ASCII, the only bytes of a request target.
  @inline(__always)
  var isVisible: Bool { self &- 0x21 < 0x5e }

  @inline(__always)
  var isBlank: Bool { self == .space || self == .tab }

  @inline(__always)
  var isBlankOrFold: Bool { isBlank || self == .carriageReturn || self == .lineFeed }

  @inline(__always)
  package var hexValue: UInt8? {
    if isDigit { return self &- 0x30 }
    let letter = (self | 0x20) &- 0x61
    return letter < 6 ? letter &+ 10 : nil
  }
}
