// Exact byte strings, any number of them, found in one pass: two bytes say how far the next place is at
// which a needle could end, and where one could end here, it is compared backwards (after Wu and Manber). It relies on
// a needle being no longer than the window's history.

/// A secret that must not pass, such as a credential of the gate.
public struct GivenSecret: Sendable {
  public var name: String
  public var value: [UInt8]

  /// Shorter values would be found in any text.
  public static let bytesMin = 8
  public static let bytesMax = 2048

  /// Nil when the value is too short or too long to be looked for.
  public init?(name: String, value: [UInt8]) {
    guard (Self.bytesMin...Self.bytesMax).contains(value.count) else { return nil }
    self.name = name
    self.value = value
  }
}

/// What is looked for, prepared once.
final class NeedleTable: Sendable {
  struct Needle {
    var bytes: [UInt8]
    /// The id of the finding.
    var id: String
  }

  static let pemMark = "PRIVATE KEY-----"
  let needles: [Needle]
  let bytesMax: Int
  /// As long as the shortest needle: so many bytes of each one's end are looked at.
  private let suffix: Int
  /// For each pair of bytes, how much further a needle can end at the earliest; 0 where one may end.
  private let shifts: [UInt8]
  private let byPair: [UInt16: [Int]]
  private let byFirst: [[Int]]

  init(_ secrets: [GivenSecret]) {
    var all = [Needle(bytes: Array(Self.pemMark.utf8), id: Self.pemMark)]
    for secret in secrets {
      for form in Set(Encodings.all(of: secret.value)) { all.append(Needle(bytes: form, id: "given:\(secret.name)")) }
    }
    needles = all
    bytesMax = all.map(\.bytes.count).max() ?? 0
    let suffix = min(all.map(\.bytes.count).min() ?? 2, 64)
    var shifts = [UInt8](repeating: UInt8(suffix - 1), count: 1 << 16)
    var byPair: [UInt16: [Int]] = [:]
    for (number, needle) in all.enumerated() {
      let end = Array(needle.bytes.suffix(suffix))
      for place in 1..<suffix {
        let pair = UInt16(end[place - 1]) << 8 | UInt16(end[place])
        shifts[Int(pair)] = min(shifts[Int(pair)], UInt8(suffix - 1 - place))
        if place == suffix - 1 { byPair[pair, default: []].append(number) }
      }
    }
    (self.suffix, self.shifts, self.byPair) = (suffix, shifts, byPair)
    byFirst = (0..<256).map { first in all.indices.filter { Int(all[$0].bytes[0]) == first } }
  }

  /// Each needle that ends in `bytes[next...]`, with its range in the text; moves `next`, a place of the text, to where
  /// the next one can end.
  func scan(_ bytes: Span<UInt8>, base: Int, next: inout Int, _ found: (Needle, Range<Int>) -> Void) {
    let shifts = shifts
    var last = max(next - base, 1)
    while last < bytes.count {
      let pair = UInt16(bytes[last - 1]) << 8 | UInt16(bytes[last])
      let shift = shifts[Int(pair)]
      guard shift == 0 else {
        last += Int(shift)
        continue
      }
      last += 1
      for number in byPair[pair] ?? [] where Self.ends(bytes, at: last, with: needles[number].bytes) {
        found(needles[number], (base + last - needles[number].bytes.count)..<(base + last))
      }
    }
    next = base + last
  }

  /// How many of the last bytes may be the beginning of a needle.
  func openBytes(_ bytes: Span<UInt8>) -> Int {
    var start = max(bytes.count - bytesMax + 1, 0)
    while start < bytes.count {
      for number in byFirst[Int(bytes[start])] where Self.begins(bytes, at: start, needles[number].bytes) {
        return bytes.count - start
      }
      start += 1
    }
    return 0
  }

  private static func begins(_ bytes: Span<UInt8>, at start: Int, _ needle: [UInt8]) -> Bool {
    let count = bytes.count - start
    guard count < needle.count else { return false }
    for offset in 0..<count where bytes[start + offset] != needle[offset] { return false }
    return true
  }

  private static func ends(_ bytes: Span<UInt8>, at end: Int, with needle: [UInt8]) -> Bool {
    guard end >= needle.count else { return false }
    for (offset, byte) in needle.enumerated() where bytes[end - needle.count + offset] != byte { return false }
    return true
  }
}

/// The forms in which a value leaves: as it is, in base64 at each of three alignments, in hex, percent-encoded once
/// more.
enum Encodings {
  static func all(of value: [UInt8]) -> [[UInt8]] {
    var forms = [value, unescaped(value), percent(value, upper: true), percent(value, upper: false)]
    forms += [hex(value, upper: false), hex(value, upper: true)]
    for alignment in 0..<3 {
      let standard = base64(value, alignment: alignment)
      forms.append(standard)
      forms.append(
        standard.map { $0 == UInt8(ascii: "+") ? UInt8(ascii: "-") : $0 == UInt8(ascii: "/") ? UInt8(ascii: "_") : $0 })
    }
    return forms.filter { $0.count >= GivenSecret.bytesMin }
  }

  /// The value as the window shows it: what looks like an escape in it is undone there.
  private static func unescaped(_ value: [UInt8]) -> [UInt8] {
    var window = Window()
    var unescape = Unescape()
    unescape.append(value.span, to: &window, isLast: true) { _ in }
    return window.bytes
  }

  private static func percent(_ value: [UInt8], upper: Bool) -> [UInt8] {
    value.flatMap { byte in byte.isAlphanumeric || byte.isDashed ? [byte] : [UInt8(ascii: "%")] + digits(byte, upper) }
  }

  private static func hex(_ value: [UInt8], upper: Bool) -> [UInt8] { value.flatMap { digits($0, upper) } }

  private static func digits(_ byte: UInt8, _ upper: Bool) -> [UInt8] {
    let letters = Array((upper ? "0123456789ABCDEF" : "0123456789abcdef").utf8)
    return [letters[Int(byte >> 4)], letters[Int(byte & 15)]]
  }

  /// The letters that depend on the value alone, when `alignment` bytes of something else stand before it.
  static func base64(_ value: [UInt8], alignment: Int) -> [UInt8] {
    let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    let bytes = [UInt8](repeating: 0, count: alignment) + value
    let first = (alignment * 8 + 5) / 6
    let end = bytes.count * 8 / 6
    return (first..<end).map { letter in
      let bit = letter * 6
      let high = UInt32(bytes[bit / 8]) << 8
      let low = bit / 8 + 1 < bytes.count ? UInt32(bytes[bit / 8 + 1]) : 0
      return letters[Int((high | low) >> UInt32(10 - bit % 8) & 0x3f)]
    }
  }
}
