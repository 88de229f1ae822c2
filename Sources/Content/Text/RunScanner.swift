// Long runs of letters and digits: where keys and base64 are. Words of a text are shorter, and cost one look at a table
// a byte. It relies on a run being whole in the window when it ends; a longer one is cut into pieces of `runBytesMax`.

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

  private static let isRun = ByteTable { byte in
    byte.isAlphanumeric || byte.isDashed || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "/") ? 1 : 0
  }
  private static let isWrap: [Bool] = (0..<256).map { [0x0a, 0x0d, 0x20, 0x09].contains($0) }

  private var start = 0
  private var isOpen = false
  private var continues = false
  /// The end of the last run that was told, while nothing but a line break came since.
  private var lastEnd: Int?
  private var lastCount = 0
  private(set) var next = 0

  /// Where the open run began, or the one before it that a wrapped line would go on.
  var openFrom: Int { isOpen ? start : next }

  mutating func scan(_ bytes: Span<UInt8>, base: Int, isLast: Bool, _ runs: inout [Run]) {
    let isRun = Self.isRun
    let end = bytes.count
    var place = next - base
    while place < end {
      if isOpen {
        place = isRun.endOfMarked(bytes, place..<end)
        while base + place - start >= Self.runBytesMax { cut(&runs) }
        if place < end { close(base + place, bytes, base, &runs) }
      } else if let lastEnd, base + place - lastEnd <= Self.wrapBytesMax {
        // Behind a run that counts, also a short one may be its next line.
        if isRun[bytes[place]] == 0 { place += 1 } else { open(place, bytes, base) }
      } else {
        place = startOfLongRun(bytes, place, isRun)
        if place < end { open(place, bytes, base) }
      }
    }
    next = base + place
    guard isLast else { return }
    if isOpen { close(next, bytes, base, &runs) }
    lastEnd = nil
  }

  private mutating func open(_ place: Int, _ bytes: Span<UInt8>, _ base: Int) {
    isOpen = true
    start = base + place
    continues = isWrapped(bytes, base)
  }

  /// Where a run begins that is long enough, or that what has not come yet may make so: of each stretch of
  /// `runBytesMin` bytes the last one that is in no run says where to go on, and most of the bytes before it are never
  /// looked at.
  private func startOfLongRun(_ bytes: Span<UInt8>, _ from: Int, _ isRun: ByteTable) -> Int {
    var place = from
    while place < bytes.count {
      let stretch = place..<min(place + Self.runBytesMin, bytes.count)
      guard let gap = isRun.lastUnmarked(bytes, stretch) else { return place }
      place = gap + 1
    }
    return place
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
    lastCount = end - start
  }

  /// True if only a line break stands between the last run and this one.
  private func isWrapped(_ bytes: Span<UInt8>, _ base: Int) -> Bool {
    // Behind four letters each a block may go on; another count of them is its end.
    guard let lastEnd, start - lastEnd <= Self.wrapBytesMax, lastEnd >= base, lastCount % 4 == 0 else { return false }
    var hasBreak = false
    for place in lastEnd..<start {
      let byte = bytes[place - base]
      guard Self.isWrap[Int(byte)] else { return false }
      if byte == 0x0a { hasBreak = true }
    }
    return hasBreak
  }
}
