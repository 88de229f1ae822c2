// Long runs of letters and digits: where keys and base64 are. Words of a text are shorter, and cost one look at a table a byte.
// It relies on a run being whole in the window when it ends; a longer one is cut into pieces of `runBytesMax`.

/// A run in bytes of the unescaped text.
struct Run: Equatable {
  var start: Int
  var end: Int
  /// A piece of a run that went on before it, or the next line of a wrapped one.
  var continues: Bool
  var count: Int { end - start }
}

struct RunScanner {
  /// Shorter runs hold no key and no sentence.
  static let runBytesMin = 16
  /// A multiple of four, so that pieces of base64 fit together.
  static let runBytesMax = 4096
  /// A line break with the indent behind it, in a block of base64.
  private static let wrapBytesMax = 16

  private static let isRun: [Bool] = (0..<256).map { code in
    switch UInt8(code) {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
    case UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "_"), UInt8(ascii: "-"): true
    default: false
    }
  }
  private static let isWrap: [Bool] = (0..<256).map { [0x0a, 0x0d, 0x20, 0x09].contains($0) }

  private var start = 0
  private var isOpen = false
  private var continues = false
  /// The end of the last run that was told, while nothing but a line break came since.
  private var lastEnd: Int?
  private(set) var next = 0

  /// Where the open run began, or the one before it that a wrapped line would go on.
  var openFrom: Int { isOpen ? start : next }

  mutating func scan(_ bytes: Span<UInt8>, base: Int, isLast: Bool, _ runs: inout [Run]) {
    let isRun = Self.isRun
    let end = bytes.count
    var place = next - base
    while place < end {
      if isOpen {
        while place < end, isRun[Int(bytes[place])] { place += 1 }
        while base + place - start >= Self.runBytesMax { cut(&runs) }
        if place < end { close(base + place, bytes, base, &runs) }
      } else {
        while place < end, !isRun[Int(bytes[place])] { place += 1 }
        if place < end {
          isOpen = true
          start = base + place
          continues = isWrapped(bytes, base)
        }
      }
    }
    next = base + place
    guard isLast else { return }
    if isOpen { close(next, bytes, base, &runs) }
    lastEnd = nil
  }

  private mutating func cut(_ runs: inout [Run]) {
    runs.append(Run(start: start, end: start + Self.runBytesMax, continues: continues))
    start += Self.runBytesMax
    continues = true
  }

  private mutating func close(_ end: Int, _ bytes: Span<UInt8>, _ base: Int, _ runs: inout [Run]) {
    isOpen = false
    guard end > start, end - start >= Self.runBytesMin || continues else { return }
    runs.append(Run(start: start, end: end, continues: continues))
    lastEnd = end
  }

  /// Whether only a line break stands between the last run and this one.
  private func isWrapped(_ bytes: Span<UInt8>, _ base: Int) -> Bool {
    guard let lastEnd, start - lastEnd <= Self.wrapBytesMax, lastEnd >= base else { return false }
    var hasBreak = false
    for place in lastEnd..<start {
      let byte = bytes[place - base]
      guard Self.isWrap[Int(byte)] else { return false }
      if byte == 0x0a { hasBreak = true }
    }
    return hasBreak
  }
}
