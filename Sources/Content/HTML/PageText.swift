// A page to text: what a reader sees, and beside it what is hidden. The walk keeps its own stack, so depth costs
// memory alone. It relies on PageGuard and a bound of memory; a page past them is read flat, tag by tag.

struct PageText {
  var visible: [UInt8] = []
  /// Text that the page holds and does not show: hidden elements, comments, descriptions.
  var hidden: [UInt8] = []
  /// Which limits the page met.
  var limits: [String] = []

  /// A tree takes 20 to 40 times its page; one that takes much more is made to.
  private static let memoryPerByte = 128
  private static let memoryMin = 4 << 20
  private static let memoryMost = 256 << 20
  private static let hiddenBytesMax = 1 << 20

  static func read(_ bytes: [UInt8]) -> PageText {
    guard PageGuard.accepts(bytes.span),
      let page = Page(bytes, memoryMax: min(memoryMin + memoryPerByte * bytes.count, memoryMost))
    else {
      return PageText(visible: FlatText.read(bytes.span), limits: ["page-too-deep"])
    }
    return page.withDocument { document in
      var walk = PageWalk(document)
      walk.run()
      return PageText(visible: walk.visible.finish(), hidden: Array(walk.hidden.finish().prefix(hiddenBytesMax)))
    }
  }
}

/// The way through a tree, in the order of the page.
private struct PageWalk {
  /// What an element hands down to what it holds.
  private struct State {
    var isHidden = false
    var isKept = false
    var ink: TextColor?
    var ground: TextColor
  }

  private struct Frame {
    var node: PageNode
    var next = 0
    var state: State
    /// Written when the element ends.
    var link: String?
    var isBlock = false
  }

  private static let silent: Set<String> = ["script", "style"]
  private static let unseen: Set<String> = [
    "template", "noscript", "iframe", "noembed", "noframes", "datalist", "object", "audio", "video", "canvas",
  ]
  private static let blocks: Set<String> = [
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "dialog", "div", "dl", "dt",
    "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "legend", "li",
    "main", "nav",
    "ol", "option", "p", "pre", "section", "summary", "table", "title", "tr", "ul", "caption", "textarea",
  ]
  private static let described = ["alt", "title", "aria-label", "content", "placeholder", "summary", "value"]

  private let document: PageNode
  private var sheet = StyleSheet()
  private var hasLinkedSheet = false
  var visible = PageWriter()
  var hidden = PageWriter()

  init(_ document: PageNode) { self.document = document }

  mutating func run() {
    readStyles()
    // Where other sheets may colour the ground it is not known.
    var stack = [Frame(node: document, state: State(ground: hasLinkedSheet ? .unknown : .white))]
    while var frame = stack.popLast() {
      guard let child = frame.node.child(frame.next) else {
        end(frame)
        continue
      }
      frame.next += 1
      let state = frame.state
      stack.append(frame)
      if let text = child.text {
        write(text, state)
      } else if let comment = child.comment {
        hidden.block()
        hidden.text(comment, isKept: false)
      } else if let frame = begin(child, state) {
        stack.append(frame)
      }
    }
  }

  /// All that style sheets of the page itself say, also those further down.
  private mutating func readStyles() {
    var stack = [(document, 0)]
    while let (node, next) = stack.popLast() {
      guard let child = node.child(next) else { continue }
      stack.append((node, next + 1))
      let tag = child.tag
      if tag == "style" {
        var text = ""
        var index = 0
        while let part = child.child(index)?.text {
          text += String(decoding: part, as: UTF8.self)
          index += 1
        }
        sheet.add(text)
      } else if tag == "link" {
        hasLinkedSheet = hasLinkedSheet || child.attribute("rel")?.lowercased().contains("stylesheet") == true
      } else if !tag.isEmpty {
        stack.append((child, 0))
      }
    }
  }

  private mutating func begin(_ node: PageNode, _ above: State) -> Frame? {
    let tag = node.tag
    if Self.silent.contains(tag) { return nil }
    var state = above
    if node.hasAttributes {
      apply(style(of: node, tag), to: &state)
      if node.attribute("hidden") != nil || node.attribute("aria-hidden")?.lowercased() == "true" {
        state.isHidden = true
      }
      describe(node)
    } else if !sheet.isEmpty {
      apply(sheet.style(tag: tag, id: nil, classes: nil), to: &state)
    }
    if Self.unseen.contains(tag) || (tag == "dialog" && node.attribute("open") == nil) { state.isHidden = true }
    if tag == "pre" || tag == "textarea" { state.isKept = true }
    var frame = Frame(node: node, state: state)
    guard !state.isHidden else {
      hidden.block()
      return frame
    }
    if tag == "br" { visible.lineBreak() }
    if tag == "td" || tag == "th" { visible.cell() }
    frame.isBlock = Self.blocks.contains(tag)
    if frame.isBlock { visible.block() }
    if tag == "li" { visible.text(Array("- ".utf8), isKept: true) }
    if tag == "a" { frame.link = node.attribute("href") }
    return frame
  }

  /// Texts that a page keeps in attributes, for readers that do not see it or before they point at it.
  private mutating func describe(_ node: PageNode) {
    for name in Self.described {
      guard let value = node.attribute(name), value.utf8.count > 3 else { continue }
      hidden.block()
      hidden.text(Array(value.utf8), isKept: false)
    }
  }

  private mutating func end(_ frame: Frame) {
    guard !frame.state.isHidden else { return }
    if let link = frame.link { visible.link(link) }
    if frame.isBlock { visible.block() }
  }

  private mutating func write(_ text: [UInt8], _ state: State) {
    let isUnseen = state.isHidden || state.ink.map { $0.isLike(state.ground) } ?? false
    if isUnseen {
      hidden.text(text, isKept: false)
    } else {
      visible.text(text, isKept: state.isKept)
    }
  }

  private func apply(_ style: Style, to state: inout State) {
    state.isHidden = state.isHidden || style.hides
    state.ink = style.ink ?? state.ink
    // A transparent ground shows the one below.
    if let ground = style.ground, ground != .transparent { state.ground = ground }
  }

  private func style(of node: PageNode, _ tag: String) -> Style {
    var style =
      sheet.isEmpty ? Style("") : sheet.style(tag: tag, id: node.attribute("id"), classes: node.attribute("class"))
    if let color = node.attribute("color") ?? node.attribute("text") { style.ink = TextColor(color) }
    if let ground = node.attribute("bgcolor") { style.ground = TextColor(ground) }
    if !node.isHTML {
      for name in ["display", "visibility", "opacity", "font-size"] {
        if let value = node.attribute(name) { style.add(Style("\(name):\(value)")) }
      }
    }
    if let own = node.attribute("style") { style.add(Style(own)) }
    return style
  }
}

/// Text with its blanks made few.
struct PageWriter {
  private var bytes: [UInt8] = []
  private var hasBlank = false

  mutating func text(_ text: [UInt8], isKept: Bool) {
    for byte in text {
      if !isKept && (byte == 0x20 || byte == 0x0a || byte == 0x09 || byte == 0x0d || byte == 0x0c) {
        hasBlank = true
        continue
      }
      if hasBlank, let last = bytes.last, last != 0x0a, last != 0x20 { bytes.append(0x20) }
      hasBlank = false
      bytes.append(byte)
    }
  }

  /// What follows stands on a line of its own.
  mutating func block() {
    hasBlank = false
    if let last = bytes.last, last != 0x0a { bytes.append(0x0a) }
  }

  mutating func lineBreak() {
    hasBlank = false
    bytes.append(0x0a)
  }

  mutating func cell() {
    hasBlank = false
    if let last = bytes.last, last != 0x0a { bytes.append(0x09) }
  }

  /// Where a link leads; one to a place of the same page, or of a script, leads nowhere.
  mutating func link(_ address: String) {
    let clean = address.unicodeScalars.filter { $0.value > 0x20 && $0.value != 0x7f }
    let text = String(String.UnicodeScalarView(clean.prefix(2048)))
    guard !text.isEmpty, !text.hasPrefix("#"), !text.lowercased().hasPrefix("javascript:") else { return }
    self.text(Array(" (\(text))".utf8), isKept: false)
  }

  func finish() -> [UInt8] {
    guard let last = bytes.last, last != 0x0a else { return bytes }
    return bytes + [0x0a]
  }
}

/// A page without a tree: what stands between its tags.
enum FlatText {
  static func read(_ bytes: Span<UInt8>) -> [UInt8] {
    var writer = PageWriter()
    var place = 0
    while place < bytes.count {
      let start = bytes.firstIndex(of: UInt8(ascii: "<"), in: place..<bytes.count) ?? bytes.count
      writer.text((place..<start).map { bytes[$0] }, isKept: false)
      guard start < bytes.count else { break }
      place = bytes.index(after: ">", from: start) ?? bytes.count
      writer.text([0x20], isKept: false)
      for name in ["<script", "<style"] as [StaticString] where bytes.hasBytes(name, at: start) {
        place = bytes.index(after: "</s", from: place).flatMap { bytes.index(after: ">", from: $0) } ?? bytes.count
      }
    }
    return writer.finish()
  }
}
