// Collects a page until its end, since only a whole page can be parsed; what is no page is handed on as it came.
// It relies on the first bytes saying which it is.
import Wire

struct PageBuffer {
  enum Step {
    case waits
    /// All that came so far.
    case isNoPage([UInt8])
  }

  enum End {
    case text([UInt8])
    case page(PageText)
  }

  private let bytesMax: Int
  private var isPage: Bool
  private var bytes: [UInt8] = []
  private var isCut = false

  init(_ settings: ContentSettings) {
    bytesMax = settings.pageBytesMax
    isPage = settings.html == .always
  }

  mutating func append(_ chunk: Span<UInt8>) -> Step {
    let room = bytesMax - bytes.count
    if chunk.count > room { isCut = true }
    bytes.append(chunk.extracting(0..<min(chunk.count, room)))
    if isPage { return .waits }
    switch PageSniffer.looksLikePage(bytes.span) {
    case nil where bytes.count < bytesMax: return .waits
    case true?:
      isPage = true
      return .waits
    default:
      var all = bytes
      all.append(chunk.extracting(min(chunk.count, room)..<chunk.count))
      return .isNoPage(all)
    }
  }

  func finish() -> End {
    guard isPage || PageSniffer.looksLikePage(bytes.span, isLast: true) == true else { return .text(bytes) }
    var page = PageText.read(bytes)
    if isCut { page.limits.append("page-too-large") }
    return .page(page)
  }
}

/// True if a text opens like a page: with a tag of HTML, or a comment and then one.
package enum PageSniffer {
  private static let tags: Set<String> = [
    "!doctype", "html", "head", "body", "title", "meta", "link", "script", "style", "div", "p", "span", "h1", "h2",
    "h3",
    "table", "ul", "ol", "li", "section", "article", "main", "header", "footer", "nav", "a", "b", "i", "br", "img",
    "center",
    "form", "iframe", "noscript", "template", "font", "pre", "svg", "base", "details", "em", "strong", "blockquote",
    "dl", "hr",
  ]
  /// So much of a leading comment or blank space is waited for.
  private static let bytesMax = 4096

  /// Nil when more must be seen.
  package static func looksLikePage(_ bytes: Span<UInt8>, isLast: Bool = false) -> Bool? {
    let more: Bool? = isLast || bytes.count > bytesMax ? false : nil
    var place = bytes.count >= 3 && bytes[0] == 0xef && bytes[1] == 0xbb && bytes[2] == 0xbf ? 3 : 0
    while place < bytes.count, bytes[place] <= 0x20 { place += 1 }
    guard place < bytes.count else { return more }
    guard bytes[place] == UInt8(ascii: "<") else { return false }
    var name = ""
    for index in (place + 1)..<bytes.count {
      let byte = bytes[index]
      if name == "!--" { return isLast || bytes.count > bytesMax ? true : commentEnd(bytes, index, isLast) }
      guard byte.isAlphanumeric || byte == UInt8(ascii: "!") || byte == UInt8(ascii: "-") else {
        return tags.contains(name)
      }
      name.unicodeScalars.append(Unicode.Scalar((0x41...0x5a).contains(byte) ? byte | 0x20 : byte))
      if name.utf8.count > 12 { return false }
    }
    return more
  }

  private static func commentEnd(_ bytes: Span<UInt8>, _ start: Int, _ isLast: Bool) -> Bool? {
    var place = start
    while place + 3 <= bytes.count {
      if bytes[place] == 0x2d, bytes[place + 1] == 0x2d, bytes[place + 2] == 0x3e {
        return looksLikePage(bytes.extracting((place + 3)..<bytes.count), isLast: isLast)
      }
      place += 1
    }
    return nil
  }
}
