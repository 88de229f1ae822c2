// The time of a line as one number that orders as time does, without reading the line.
// It relies on the gate's form of a time, which is the same width always; a line of another form has no rank.
import Wire

enum LogTime {
  /// The field stands at the line's beginning: beyond this it is not looked for.
  private static let searchMax = 200
  private static let key = Array(#""time""#.utf8)

  /// Digits of `2026-01-02T03:04:05.678Z` as one decimal number; milliseconds that are not there are 0.
  static func rank(_ line: Span<UInt8>) -> UInt64? {
    guard var index = place(line) else { return nil }
    while index < line.count, line[index] == 0x20 || line[index] == UInt8(ascii: ":") { index += 1 }
    guard index + 21 <= line.count, line[index] == UInt8(ascii: "\"") else { return nil }
    index += 1
    var rank: UInt64 = 0
    for (offset, kind) in form.enumerated() {
      let byte = line[index + offset]
      if kind == UInt8(ascii: "0") {
        guard byte.isDigit else { return nil }
        rank = rank * 10 + UInt64(truncatingIfNeeded: byte & 0x0f)
      } else if byte != kind {
        return nil
      }
    }
    index += form.count
    let hasMs = index + 4 <= line.count && line[index] == UInt8(ascii: ".")
    for offset in 1...3 {
      let byte = hasMs ? line[index + offset] : UInt8(ascii: "0")
      guard byte.isDigit else { return nil }
      rank = rank * 10 + UInt64(truncatingIfNeeded: byte & 0x0f)
    }
    return rank
  }

  private static let form = Array("0000-00-00T00:00:00".utf8)

  /// Behind the key.
  private static func place(_ line: Span<UInt8>) -> Int? {
    let end = min(line.count, searchMax) - key.count
    var index = 0
    while index <= end {
      if line[index] == key[0], (1..<key.count).allSatisfy({ line[index + $0] == key[$0] }) { return index + key.count }
      index += 1
    }
    return nil
  }
}
