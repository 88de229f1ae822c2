// The A-label form of a Unicode host name and back, to be printed and compared for a reader, never to be judged or
// dialled. It relies on RFC 3492 alone: mapping is lower-casing and the dots of RFC 3490, not the whole of UTS 46.

package enum Punycode {
  /// The name with each Unicode label encoded, or nil where it is not valid UTF-8, not a name then either, or where
  /// simple lower-casing would print another A-label than UTS 46 does (decomposed letters need normalisation).
  static func asciiHost(_ text: Span<UInt8>) -> String? {
    guard text.count <= 1024 else { return nil }
    let bytes = [UInt8](capacity: text.count) { output in
      for index in text.indices { output.append(text[index]) }
    }
    guard let decoded = String(validating: bytes, as: UTF8.self) else { return nil }
    var labels: [[Unicode.Scalar]] = [[]]
    for scalar in decoded.unicodeScalars {
      switch scalar.value {
      case 0x2e, 0x3002, 0xff0e, 0xff61: labels.append([])
      case 0x300...0x36f, 0xff00...0xffef: return nil
      default: labels[labels.count - 1] += Array(scalar.properties.lowercaseMapping.unicodeScalars)
      }
    }
    var encoded: [String] = []
    for label in labels {
      guard let part = encode(label) else { return nil }
      encoded.append(part)
    }
    let name = encoded.joined(separator: ".")
    // A name that would be refused again is no advice.
    guard let checked = try? HostName(name) else { return nil }
    return checked.description
  }

  /// Text of an A-label, from the part after its `xn--` (RFC 3492 section 6.2); nil where that is not Punycode.
  package static func decode(_ text: [UInt8]) -> String? {
    guard text.count <= 59, text.allSatisfy({ $0 < 0x80 }) else { return nil }
    let hyphen = text.lastIndex(of: UInt8(ascii: "-"))
    var scalars = hyphen.map { text[..<$0].map { Unicode.Scalar($0) } } ?? []
    var (value, place, bias): (UInt32, UInt32, UInt32) = (0x80, 0, 72)
    var index = hyphen.map { $0 + 1 } ?? 0
    while index < text.count {
      let before = place
      var (weight, position): (UInt32, UInt32) = (1, 36)
      while true {
        guard index < text.count, let digit = digitValue(text[index]) else { return nil }
        index += 1
        let (product, overflow) = digit.multipliedReportingOverflow(by: weight)
        let (sum, carry) = place.addingReportingOverflow(product)
        if overflow || carry { return nil }
        place = sum
        let threshold = position <= bias ? 1 : min(position - bias, 26)
        if digit < threshold { break }
        let (heavier, tooHeavy) = weight.multipliedReportingOverflow(by: 36 - threshold)
        if tooHeavy { return nil }
        weight = heavier
        position += 36
      }
      let points = UInt32(scalars.count + 1)
      bias = adapted(place - before, points: points, isFirst: before == 0)
      let (next, overflow) = value.addingReportingOverflow(place / points)
      guard !overflow, let scalar = Unicode.Scalar(next) else { return nil }
      value = next
      place %= points
      scalars.insert(scalar, at: Int(place))
      place += 1
    }
    var decoded = ""
    decoded.unicodeScalars.append(contentsOf: scalars)
    return decoded
  }

  private static func digitValue(_ byte: UInt8) -> UInt32? {
    if byte.isDigit { return UInt32(byte) - 0x30 + 26 }
    let letter = byte.lowercased &- 0x61
    return letter < 26 ? UInt32(letter) : nil
  }

  private static func encode(_ label: [Unicode.Scalar]) -> String? {
    var text = ""
    text.unicodeScalars.append(contentsOf: label.filter(\.isASCII))
    let basicCount = text.unicodeScalars.count
    guard basicCount < label.count else { return text }
    // Longer can never fit 63 octets; it also keeps the quadratic loop below short.
    guard label.count <= 63 else { return nil }
    if basicCount > 0 { text += "-" }
    var handled = basicCount
    var (next, delta, bias): (UInt32, UInt32, UInt32) = (0x80, 0, 72)
    while handled < label.count {
      guard let smallest = label.lazy.map(\.value).filter({ $0 >= next }).min() else { return nil }
      delta += (smallest - next) * UInt32(handled + 1)
      next = smallest
      for scalar in label {
        if scalar.value < next { delta += 1 }
        guard scalar.value == next else { continue }
        appendVariableLength(delta, bias: bias, to: &text)
        bias = adapted(delta, points: UInt32(handled + 1), isFirst: handled == basicCount)
        delta = 0
        handled += 1
      }
      delta += 1
      next += 1
    }
    return "xn--" + text
  }

  /// RFC 3492 section 6.3: the generalised variable-length integer, thresholds from the bias.
  private static func appendVariableLength(_ delta: UInt32, bias: UInt32, to text: inout String) {
    var rest = delta
    var position: UInt32 = 36
    while true {
      let threshold = position <= bias ? 1 : min(position - bias, 26)
      guard rest >= threshold else { break }
      text.append(digit(threshold + (rest - threshold) % (36 - threshold)))
      rest = (rest - threshold) / (36 - threshold)
      position += 36
    }
    text.append(digit(rest))
  }

  private static func digit(_ value: UInt32) -> Character {
    Character(Unicode.Scalar(UInt8(value < 26 ? 0x61 + value : 0x30 + value - 26)))
  }

  /// RFC 3492 section 6.1.
  private static func adapted(_ delta: UInt32, points: UInt32, isFirst: Bool) -> UInt32 {
    var rest = isFirst ? delta / 700 : delta / 2
    rest += rest / points
    var position: UInt32 = 0
    while rest > 455 {
      rest /= 35
      position += 36
    }
    return position + 36 * rest / (rest + 38)
  }
}
