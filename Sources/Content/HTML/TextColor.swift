// Colours as style sheets write them, as far as it takes to see that text has the colour of its ground.
// It relies on nothing; what it cannot read is unknown, and unknown hides nothing.

enum TextColor: Equatable {
  case unknown
  case transparent
  case color(red: Int, green: Int, blue: Int)

  private static let names: [String: TextColor] = [
    "white": .color(red: 255, green: 255, blue: 255), "black": .color(red: 0, green: 0, blue: 0),
    "red": .color(red: 255, green: 0, blue: 0), "lime": .color(red: 0, green: 255, blue: 0),
    "green": .color(red: 0, green: 128, blue: 0), "blue": .color(red: 0, green: 0, blue: 255),
    "yellow": .color(red: 255, green: 255, blue: 0), "gray": .color(red: 128, green: 128, blue: 128),
    "grey": .color(red: 128, green: 128, blue: 128), "silver": .color(red: 192, green: 192, blue: 192),
    "navy": .color(red: 0, green: 0, blue: 128), "snow": .color(red: 255, green: 250, blue: 250),
    "ivory": .color(red: 255, green: 255, blue: 240), "whitesmoke": .color(red: 245, green: 245, blue: 245),
    "ghostwhite": .color(red: 248, green: 248, blue: 255), "transparent": .transparent,
  ]

  static let white = color(red: 255, green: 255, blue: 255)

  init(_ text: String) {
    let word = text.lowercased()
    if let known = Self.names[word] {
      self = known
    } else if word.first == "#" {
      self = Self.hex(Array(word.dropFirst().utf8))
    } else if word.hasPrefix("rgb") {
      self = Self.function(word)
    } else {
      self = .unknown
    }
  }

  /// Too close to be told apart: a difference of 12 in each channel is under 1.1 to 1 in contrast.
  func isLike(_ other: TextColor) -> Bool {
    guard case .color(let red, let green, let blue) = self, case .color(let r, let g, let b) = other else {
      return false
    }
    return abs(red - r) <= 12 && abs(green - g) <= 12 && abs(blue - b) <= 12
  }

  private static func hex(_ digits: [UInt8]) -> TextColor {
    let values = digits.compactMap(\.hexValue).map(Int.init)
    guard values.count == digits.count else { return .unknown }
    switch values.count {
    case 3, 4:
      if values.count == 4, values[3] == 0 { return .transparent }
      return .color(red: values[0] * 17, green: values[1] * 17, blue: values[2] * 17)
    case 6, 8:
      if values.count == 8, values[6] * 16 + values[7] < 8 { return .transparent }
      return .color(
        red: values[0] * 16 + values[1], green: values[2] * 16 + values[3], blue: values[4] * 16 + values[5])
    default: return .unknown
    }
  }

  private static func function(_ text: String) -> TextColor {
    guard let open = text.firstIndex(of: "("), text.last == ")" else { return .unknown }
    let parts = text[text.index(after: open)...].dropLast().split { " ,/".contains($0) }.map(String.init)
    guard parts.count == 3 || parts.count == 4 else { return .unknown }
    if parts.count == 4, let alpha = CSSNumber(parts[3])?.value, alpha < 0.03 { return .transparent }
    let channels = parts.prefix(3).compactMap { Int($0) }
    guard channels.count == 3, channels.allSatisfy({ (0...255).contains($0) }) else { return .unknown }
    return .color(red: channels[0], green: channels[1], blue: channels[2])
  }
}

/// A number of a style sheet, with its unit.
struct CSSNumber {
  var value: Double
  var unit: String

  init?(_ text: String) {
    let digits = text.prefix { "+-.0123456789".contains($0) }
    guard !digits.isEmpty, digits.utf8.count < 20,
      let value = Double(digits.hasPrefix(".") ? "0\(digits)" : String(digits))
    else { return nil }
    self.value = value
    unit = String(text.dropFirst(digits.count)).lowercased()
  }

  /// Roughly in pixels; good enough to tell a place on the page from one far off it.
  var pixels: Double {
    switch unit {
    case "em", "rem", "ch", "ex": value * 16
    case "vw", "vh", "%": value * 10
    case "in", "cm", "pt", "mm": value
    default: value
    }
  }
}
