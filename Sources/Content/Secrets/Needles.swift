// Exact byte strings, any number of them, found in one pass: a look at a small table of bits for the last four bytes, and a
// comparison backwards where it says maybe. It relies on a needle being no longer than the window's history.

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
  private static let bitsShift: UInt32 = 18

  let needles: [Needle]
  let bytesMax: Int
  private let bits: [UInt64]
  private let byGram: [UInt32: [Int]]

  init(_ secrets: [GivenSecret]) {
    var all = [Needle(bytes: Array(Self.pemMark.utf8), id: Self.pemMark)]
    for secret in secrets {
      for form in Set(Encodings.all(of: secret.value)) { all.append(Needle(bytes: form, id: "given:\(secret.name)")) }
    }
    needles = all
    bytesMax = all.map(\.bytes.count).max() ?? 0
    var bits = [UInt64](repeating: 0, count: 256)
    var byGram: [UInt32: [Int]] = [:]
    for (number, needle) in all.enumerated() {
      let gram = needle.bytes.suffix(4).reduce(0) { $0 << 8 | UInt32($1) }
      byGram[gram, default: []].append(number)
      let bit = Int((gram &* 0x9e37_79b1) >> Self.bitsShift)
      bits[bit / 64] |= 1 << UInt64(bit % 64)
    }
    self.bits = bits
    self.byGram = byGram
  }

  /// Each needle that ends in `bytes[from...]`, with its range in the text.
  func scan(_ bytes: Span<UInt8>, from: Int, base: Int, _ found: (Needle, Range<Int>) -> Void) {
    let bits = bits
    var gram: UInt32 = 0
    for place in max(from - 3, 0)..<max(from, 0) { gram = gram << 8 | UInt32(bytes[place]) }
    var place = from
    while place < bytes.count {
      gram = gram << 8 | UInt32(bytes[place])
      place += 1
      let bit = Int((gram &* 0x9e37_79b1) >> Self.bitsShift)
      guard bits[bit >> 6] >> UInt64(bit & 63) & 1 != 0 else { continue }
      for number in byGram[gram] ?? [] where Self.ends(bytes, at: place, with: needles[number].bytes) {
        found(needles[number], (base + place - needles[number].bytes.count)..<(base + place))
      }
    }
  }

  private static func ends(_ bytes: Span<UInt8>, at end: Int, with needle: [UInt8]) -> Bool {
    guard end >= needle.count else { return false }
    for (offset, byte) in needle.enumerated() where bytes[end - needle.count + offset] != byte { return false }
    return true
  }
}

/// The forms in which a value leaves: as it is, in base64 at each of three alignments, in hex, percent-encoded once more.
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
