// Detects an HTTP/1 client by its first bytes: a method and a space.
// It relies on nothing; the banner of SSH begins with letters too, and is not mistaken for HTTP.

package enum HTTPOpening {
  /// Longer methods exist on paper only.
  private static let methodBytesMax = 24

  /// True also for an incomplete method.
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
