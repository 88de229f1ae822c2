// Percent, JSON, JavaScript and HTML escapes, undone on the way into the window: what hides behind them reads as text.
// Where keys alone are looked for, letters that nobody sees are left out, and wide ones are narrow.
// It relies on an escape being short: at the end of a chunk the beginning of one waits for the rest.
import Wire

struct Unescape {
  /// The longest escape that is waited for: a surrogate pair in JSON.
  private static let escapeBytesMax = 13
  private static let isLiteral = ByteTable(where: { $0 != 0x25 && $0 != 0x5c && $0 != 0x26 })

  private static let isVisible = ByteTable(where: {
    ![0x25, 0x5c, 0x26, 0x00, 0xc2, 0xe1, 0xe2, 0xef].contains($0)
  })

  private let dropsInvisible: Bool
  private var pending: [UInt8] = []
  /// The offset of the next byte in the source.
  private(set) var source = 0

  init(dropsInvisible: Bool = false) { self.dropsInvisible = dropsInvisible }

  /// Appends `chunk` to `window`, and calls `scan` whenever the window is full, and at the end.
  mutating func append(
    _ chunk: Span<UInt8>, to window: inout Window, isLast: Bool = false, scan: (inout Window) -> Void
  ) {
    if pending.isEmpty {
      work(chunk, &window, isLast, scan)
    } else {
      var joined = pending
      joined.append(chunk)
      pending = []
      work(joined.span, &window, isLast, scan)
    }
    scan(&window)
  }

  private mutating func work(
    _ input: Span<UInt8>, _ window: inout Window, _ isLast: Bool, _ scan: (inout Window) -> Void
  ) {
    let isLiteral = dropsInvisible ? Self.isVisible : Self.isLiteral
    var index = 0
    while index < input.count {
      if window.room < 16 {
        scan(&window)
        window.slide()
      }
      let stop = min(input.count, index + window.room)
      let end = isLiteral.endOfMarked(input, index..<stop)
      if end > index {
        window.append(input.extracting(index..<end))
        source += end - index
        index = end
        continue
      }
      switch Escape.read(input.extracting(index..<min(index + Self.escapeBytesMax, input.count)), isLast: isLast) {
      case .incomplete:
        for place in index..<input.count { pending.append(input[place]) }
        return
      case .decoded(let meaning, let length):
        source += length
        index += length
        window.append(meaning, sourceEnd: source)
      case .nothing(let length):
        source += length
        index += length
        window.skip(sourceEnd: source)
      case .literal:
        window.append(input.extracting(index..<(index + 1)))
        source += 1
        index += 1
      }
    }
  }
}

/// What stands at a place that opens like an escape.
enum Escape {
  enum Meaning {
    case byte(UInt8)
    case scalar(UInt32)
  }

  /// The byte stands for itself.
  case literal
  /// What follows decides.
  case incomplete
  case decoded(Meaning, length: Int)
  case nothing(length: Int)

  /// `input` begins with the byte that opens, and ends with the chunk or past the longest escape.
  static func read(_ input: Span<UInt8>, isLast: Bool) -> Escape {
    let escape =
      switch input[0] {
      case UInt8(ascii: "%"): percent(input)
      case UInt8(ascii: "\\"): backslash(input)
      case 0: zeros(input)
      case 0x80...: unseen(input)
      default: reference(input, isLast: isLast)
      }
    if case .incomplete = escape, isLast { return .literal }
    return escape
  }

  /// Between letters in UTF-16.
  private static func zeros(_ input: Span<UInt8>) -> Escape {
    var count = 1
    while count < input.count, input[count] == 0 { count += 1 }
    return .nothing(length: count)
  }

  /// Zero-width letters and their like, and the full-width letters of ASCII.
  private static func unseen(_ input: Span<UInt8>) -> Escape {
    let length = input[0] == 0xc2 ? 2 : 3
    guard input.count >= length else { return .incomplete }
    var value = UInt32(input[0]) & (length == 2 ? 0x1f : 0x0f)
    for place in 1..<length { value = value << 6 | UInt32(input[place] & 0x3f) }
    switch value {
    case 0xad, 0x180e, 0x200b...0x200f, 0x202a...0x202e, 0x2060...0x2064, 0x2066...0x2069, 0xfeff:
      return .nothing(length: length)
    case 0xff01...0xff5e: return .decoded(.scalar(value - 0xfee0), length: length)
    default: return .literal
    }
  }

  private static func percent(_ input: Span<UInt8>) -> Escape {
    hex(input, at: 1, count: 2) { .decoded(.byte(UInt8($0)), length: 3) }
  }

  private static func backslash(_ input: Span<UInt8>) -> Escape {
    guard input.count > 1 else { return .incomplete }
    switch input[1] {
    case UInt8(ascii: "n"): return .decoded(.byte(0x0a), length: 2)
    case UInt8(ascii: "r"): return .decoded(.byte(0x0d), length: 2)
    case UInt8(ascii: "t"), UInt8(ascii: "b"), UInt8(ascii: "f"): return .decoded(.byte(0x09), length: 2)
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "'"):
      return .decoded(.byte(input[1]), length: 2)
    case UInt8(ascii: "x"): return hex(input, at: 2, count: 2) { .decoded(.byte(UInt8($0)), length: 4) }
    case UInt8(ascii: "u"): return hex(input, at: 2, count: 4) { unicode(input, $0) }
    default: return .literal
    }
  }

  private static func unicode(_ input: Span<UInt8>, _ high: UInt32) -> Escape {
    let alone = Escape.decoded(.scalar(high), length: 6)
    guard (0xd800..<0xdc00).contains(high) else { return alone }
    // The other half follows as a second escape, or this one means nothing.
    guard input.count > 6 else { return .incomplete }
    guard input[6] == UInt8(ascii: "\\") else { return alone }
    guard input.count > 7 else { return .incomplete }
    guard input[7] == UInt8(ascii: "u") else { return alone }
    let pair = hex(input, at: 8, count: 4) { low in
      guard (0xdc00..<0xe000).contains(low) else { return alone }
      return .decoded(.scalar(0x10000 + (high - 0xd800) << 10 + (low - 0xdc00)), length: 12)
    }
    if case .literal = pair { return alone }
    return pair
  }

  /// `&amp;`, `&#105;`, `&#x69;`, the numbers also without a semicolon, as browsers read them.
  private static func reference(_ input: Span<UInt8>, isLast: Bool) -> Escape {
    guard input.count > 1 else { return .incomplete }
    guard input[1] == UInt8(ascii: "#") else { return named(input) }
    guard input.count > 2 else { return .incomplete }
    let isHex = input[2] | 0x20 == UInt8(ascii: "x")
    let first = isHex ? 3 : 2
    var place = first
    var value: UInt32 = 0
    while place < min(first + 8, input.count), let digit = input[place].hexValue, isHex || digit < 10 {
      value = value &* (isHex ? 16 : 10) &+ UInt32(digit)
      place += 1
    }
    if place == input.count && !isLast { return .incomplete }
    guard place > first else { return .literal }
    let isClosed = place < input.count && input[place] == UInt8(ascii: ";")
    return .decoded(.scalar(value), length: isClosed ? place + 1 : place)
  }

  private static func named(_ input: Span<UInt8>) -> Escape {
    var name = ""
    for place in 1..<input.count where place < 10 {
      let byte = input[place]
      if byte == UInt8(ascii: ";") {
        guard let value = names[name] else { return .literal }
        return .decoded(.scalar(value), length: place + 1)
      }
      guard (0x61...0x7a).contains(byte | 0x20) else { return .literal }
      name.unicodeScalars.append(Unicode.Scalar(byte))
    }
    return input.count < 10 ? .incomplete : .literal
  }

  private static let names: [String: UInt32] = [
    "amp": 0x26, "lt": 0x3c, "gt": 0x3e, "quot": 0x22, "apos": 0x27, "nbsp": 0x20, "shy": 0xad, "zwnj": 0x200c,
    "zwj": 0x200d, "Tab": 0x09, "NewLine": 0x0a, "ensp": 0x20, "emsp": 0x20, "thinsp": 0x20, "excl": 0x21,
    "lrm": 0x200e,
    "rlm": 0x200f, "colon": 0x3a, "sol": 0x2f, "period": 0x2e, "comma": 0x2c, "lpar": 0x28, "rpar": 0x29,
  ]

  private static func hex(
    _ input: Span<UInt8>, at start: Int, count: Int, then: (UInt32) -> Escape
  ) -> Escape {
    var value: UInt32 = 0
    for place in start..<(start + count) {
      guard place < input.count else { return .incomplete }
      guard let digit = input[place].hexValue else { return .literal }
      value = value << 4 | UInt32(digit)
    }
    return then(value)
  }
}

extension UInt8 {
  var hexValue: UInt8? {
    switch self {
    case 0x30...0x39: self - 0x30
    case 0x61...0x66: self - 0x61 + 10
    case 0x41...0x46: self - 0x41 + 10
    default: nil
    }
  }
}
