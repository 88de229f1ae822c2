// What a block of style declarations does to text: whether it hides it, and which colours it sets.
// It relies on each declaration standing alone but for a few pairs; anything it does not know hides nothing.

struct Style: Equatable {
  var hides = false
  var ink: TextColor?
  var ground: TextColor?

  /// `property: value; …`, as in an attribute or between braces.
  init(_ declarations: String) {
    var values: [String: String] = [:]
    for declaration in declarations.split(separator: ";").prefix(64) {
      guard let colon = declaration.firstIndex(of: ":") else { continue }
      let name = Self.trimmed(declaration[..<colon]).lowercased()
      var value = Self.trimmed(declaration[declaration.index(after: colon)...]).lowercased()
      if value.hasSuffix("!important") { value = Self.trimmed(value.dropLast("!important".count)[...]) }
      values[name] = value
    }
    hides = Self.hides(values)
    if let color = values["color"] { ink = TextColor(color) }
    if let color = values["background-color"] ?? values["background"] { ground = TextColor(color) }
    if values["background-image"] != nil { ground = .unknown }
  }

  /// Later rules and attributes win over earlier ones, but what hides keeps hiding.
  mutating func add(_ other: Style) {
    hides = hides || other.hides
    ink = other.ink ?? ink
    ground = other.ground ?? ground
  }

  private static func hides(_ values: [String: String]) -> Bool {
    if values["display"] == "none" || values["visibility"] == "hidden" || values["visibility"] == "collapse" {
      return true
    }
    if values["content-visibility"] == "hidden" || values["color"].map(TextColor.init) == .transparent { return true }
    if let opacity = number(values["opacity"]), opacity.value < (opacity.unit == "%" ? 3 : 0.03) { return true }
    if let size = number(values["font-size"]), size.pixels <= 1 { return true }
    if let font = values["font"],
      font.split(separator: " ").contains(where: { ["0", "0px", "0/0", "0px/0"].contains($0) })
    {
      return true
    }
    return isOffPage(values) || isClipped(values)
  }

  /// So far to the left or above that nobody scrolls there.
  private static func isOffPage(_ values: [String: String]) -> Bool {
    let isPlaced = values["position"] == "absolute" || values["position"] == "fixed"
    let sides = ["left", "top", "right", "bottom"]
    if isPlaced, sides.contains(where: { (number(values[$0])?.pixels ?? 0) <= -400 }) { return true }
    let moves = ["text-indent", "margin-left", "margin-top", "margin-right"]
    if moves.contains(where: { (number(values[$0])?.pixels ?? 0) <= -400 }) { return true }
    guard let transform = values["transform"] else { return false }
    if transform.hasPrefix("scale(0") && !transform.hasPrefix("scale(0.") { return true }
    guard transform.hasPrefix("translate"), let open = transform.firstIndex(of: "(") else { return false }
    return transform[transform.index(after: open)...].split { ",) ".contains($0) }.contains {
      (CSSNumber(String($0))?.pixels ?? 0) <= -400
    }
  }

  private static func isClipped(_ values: [String: String]) -> Bool {
    if let clip = values["clip"], clip.hasPrefix("rect("), values["position"] != nil {
      let parts = clip.dropFirst(5).split { " ,)".contains($0) }.compactMap { CSSNumber(String($0))?.value }
      if parts.allSatisfy({ abs($0) <= 1 }), !parts.isEmpty { return true }
    }
    if let path = values["clip-path"],
      path.hasPrefix("inset(50%") || path.hasPrefix("inset(100%") || path.hasPrefix("circle(0")
    {
      return true
    }
    let cuts = ["overflow", "overflow-x", "overflow-y"].contains { values[$0] == "hidden" || values[$0] == "clip" }
    let sizes = ["height", "width", "max-height", "max-width"]
    return cuts && sizes.contains { number(values[$0]).map { $0.value <= 1 && $0.value >= 0 } ?? false }
  }

  private static func number(_ text: String?) -> CSSNumber? { text.flatMap(CSSNumber.init) }

  private static func trimmed(_ text: Substring) -> String {
    String(text.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
  }
}

/// The rules of a page's own style sheets that name one class, id or tag: the others need a layout to be understood.
struct StyleSheet {
  private static let rulesMax = 5000

  private var classes: [String: Style] = [:]
  private var ids: [String: Style] = [:]
  private var tags: [String: Style] = [:]
  private var count = 0

  var isEmpty: Bool { count == 0 }

  mutating func add(_ text: String) {
    var rest = Self.withoutComments(text)[...]
    while count < Self.rulesMax, let open = rest.firstIndex(of: "{") {
      // A statement such as @charset ends with a semicolon, and says nothing of the rule behind it.
      let selectors = rest[..<open].split(separator: ";", omittingEmptySubsequences: false).last ?? ""
      let body = rest[rest.index(after: open)...]
      // Rules inside of @media and its like hold only sometimes, and are not read.
      if selectors.contains("@") {
        rest = Self.afterBlock(body)
        continue
      }
      guard let close = body.firstIndex(of: "}") else { return }
      let style = Style(String(body[..<close]))
      if style.hides || style.ink != nil || style.ground != nil {
        for selector in selectors.split(separator: ",") { add(selector, style) }
      }
      rest = body[body.index(after: close)...]
    }
  }

  func style(tag: String, id: String?, classes names: String?) -> Style {
    var style = tags[tag] ?? Style("")
    for name in (names ?? "").split(whereSeparator: \.isWhitespace).prefix(32) {
      if let found = classes[String(name)] { style.add(found) }
      if let found = classes["\(tag).\(name)"] { style.add(found) }
    }
    if let id, let found = ids[id] { style.add(found) }
    return style
  }

  private mutating func add(_ selector: Substring, _ style: Style) {
    let text = selector.filter { !$0.isWhitespace }
    // A blank inside parts two elements, and a colon is a state such as :hover.
    guard text.utf8.count < 100, !selector.trimmedContainsBlank, !text.contains(where: { ":[>+~*".contains($0) }) else {
      return
    }
    count += 1
    if text.hasPrefix("#") {
      ids[String(text.dropFirst()), default: Style("")].add(style)
    } else if text.hasPrefix(".") {
      let name = String(text.dropFirst())
      if !name.contains(".") { classes[name, default: Style("")].add(style) }
    } else if text.contains(".") {
      classes[String(text), default: Style("")].add(style)
    } else {
      tags[String(text).lowercased(), default: Style("")].add(style)
    }
  }

  private static func withoutComments(_ text: String) -> String {
    var clean = ""
    var rest = text[...]
    while let open = rest.firstRange(of: "/*") {
      clean += rest[..<open.lowerBound]
      guard let close = rest[open.upperBound...].firstRange(of: "*/") else { return clean }
      rest = rest[close.upperBound...]
    }
    return clean + rest
  }

  /// What follows the brace that closes a block of rules.
  private static func afterBlock(_ body: Substring) -> Substring {
    var depth = 1
    for index in body.indices {
      if body[index] == "{" { depth += 1 }
      if body[index] == "}" { depth -= 1 }
      if depth == 0 { return body[body.index(after: index)...] }
    }
    return ""
  }
}

extension Substring {
  fileprivate var trimmedContainsBlank: Bool { split(whereSeparator: \.isWhitespace).count > 1 }
}
