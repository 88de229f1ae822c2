// Tells from its first bytes whether a client speaks HTTP/1: a method and a space.
// It relies on nothing; the banner of SSH begins with letters too, and is not mistaken for it.

package enum HTTPOpening {
  /// Longer methods exist on paper only.
  private static let methodBytesMax = 24

  /// True also where the method has not come to its end.
  package static func isRequest(_ bytes: Span<UInt8>) -> Bool {
    var index = 0
    while index < bytes.count, bytes[index].isLetter {
      index += 1
      if index > methodBytesMax { return false }
    }
    return index > 0 && (index == bytes.count || bytes[index] == .space)
  }
}

extension UInt8 {
  fileprivate var isLetter: Bool { (self | 0x20) &- 0x61 < 26 }
}
