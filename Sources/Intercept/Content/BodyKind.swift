// What the fields of a head say of its body: its form, its characters, its codings. A sender may lie, so what is said
// to be text is text, and what is said to be something else is looked at. It relies on nothing but those fields.
import Content

struct BodyKind: Equatable {
  enum Form: Equatable {
    case html
    /// Text for people: it may be marked anywhere.
    case text
    /// Text for programs: a mark goes between its words, and nothing is put in front.
    case data
    /// Sent piece by piece, and to be read so: never held back.
    case events
    /// Messages of gRPC.
    case rpc
    /// No text, or no type.
    case other
  }

  enum Characters: Equatable {
    case utf8
    /// windows-1252, which is what ISO 8859-1 is read as.
    case latin
    /// Not to be looked into.
    case unknown(String)
  }

  var form: Form
  var characters: Characters
  /// The media type, in lower case and without parameters.
  var type: String
  var statesCharacters: Bool
  /// JSON opens with no tag.
  var isJSON: Bool

  init(contentType: [UInt8]?) {
    let parts = (contentType ?? []).split(separator: UInt8(ascii: ";")).map(Self.word)
    type = parts.first ?? ""
    form = Self.form(type)
    isJSON = form == .data && parts.first?.hasSuffix("json") == true
    let said = parts.dropFirst().compactMap(Self.charset)
    characters = said.first ?? .utf8
    statesCharacters = !said.isEmpty
    // Clients read the first one, or the last.
    if said.contains(where: { $0 != said.first }) { characters = .unknown("said twice") }
  }

  /// True if a body of this kind that opens like a page is one, whatever its type says.
  var mayOpenLikePage: Bool { form != .data && form != .html || isJSON }

  /// Binary files hold none, and are long.
  var mayHoldTokens: Bool { form == .html || form == .text || form == .data }

  private static func charset(_ parameter: String) -> Characters? {
    let pair = parameter.utf8.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
    guard pair.count == 2, word(Array(pair[0])[...]) == "charset" else { return nil }
    return characters(word(Array(pair[1])[...]).filter { $0 != "\"" && $0 != "'" })
  }

  private static func word(_ bytes: ArraySlice<UInt8>) -> String {
    String(decoding: bytes.withoutBlanks, as: UTF8.self).lowercased()
  }

  private static let data: Set<String> = [
    "text/css", "text/csv", "text/javascript", "text/xml", "text/tab-separated-values", "text/calendar", "text/vcard",
  ]
  private static let events: Set<String> = [
    "text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/stream+json",
  ]
  private static let dataSuffixes = ["json", "xml", "yaml", "javascript", "x-www-form-urlencoded", "graphql", "toml"]

  private static func form(_ type: String) -> Form {
    if type == "text/html" || type == "application/xhtml+xml" { return .html }
    if events.contains(type) { return .events }
    if type.hasPrefix("application/grpc") { return .rpc }
    if data.contains(type) { return .data }
    if type.hasPrefix("text/") { return .text }
    let isData = type.hasPrefix("application/") && dataSuffixes.contains { type.hasSuffix($0) }
    return isData || type.hasSuffix("+json") || type.hasSuffix("+xml") ? .data : .other
  }

  static func characters(_ name: String) -> Characters {
    switch name {
    case "", "utf-8", "utf8", "us-ascii", "ascii", "unicode-1-1-utf-8": .utf8
    case "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "l1", "windows-1252", "cp1252": .latin
    default: .unknown(String(name.prefix(40)))
    }
  }

  /// The marks that UTF-16 and UTF-32 begin with.
  static func opensWide(_ bytes: [UInt8]) -> Bool {
    bytes.starts(with: [0xff, 0xfe]) || bytes.starts(with: [0xfe, 0xff]) || bytes.starts(with: [0, 0, 0xfe, 0xff])
  }

  /// The beginning of a body: what people read has no control bytes, and is valid in its characters.
  static func looksLikeText(_ bytes: [UInt8], _ characters: Characters) -> Bool {
    let hasControls = bytes.contains {
      $0 < 0x20 && $0 != 0x09 && $0 != 0x0a && $0 != 0x0d && $0 != 0x0c && $0 != 0x1b || $0 == 0x7f
    }
    return !hasControls && (characters == .latin || isUTF8(bytes))
  }

  /// The last character may be cut.
  static func isUTF8(_ bytes: [UInt8]) -> Bool {
    var end = bytes.count
    let last = bytes.suffix(3).lastIndex { $0 & 0xc0 != 0x80 }
    if let last, bytes[last] >= 0xc0 {
      let length = bytes[last] >= 0xf0 ? 4 : bytes[last] >= 0xe0 ? 3 : 2
      if bytes.count - last < length { end = last }
    }
    return String(validating: bytes[..<end], as: UTF8.self) != nil
  }
}

/// The codings of a body, the last one first: in the order in which they are undone.
enum BodyCodings: Equatable {
  case plain
  case known([ContentCoding])
  case unknown(String)

  /// More of them are made to cost time.
  private static let codingsMax = 2
  static let awsChunked = "aws-chunked"

  /// `withoutAWSChunks`: that framing is undone before.
  init(_ head: MessageHead, withoutAWSChunks: Bool = false) {
    let words = head.values("content-encoding").flatMap { $0.split(separator: UInt8(ascii: ",")) }
      .map { String(decoding: $0.withoutBlanks, as: UTF8.self) }.filter { !$0.isEmpty && $0.lowercased() != "identity" }
      .filter { !withoutAWSChunks || $0.lowercased() != Self.awsChunked }
    var known: [ContentCoding] = []
    for word in words {
      guard let coding = ContentCoding(field: word), known.count < Self.codingsMax else {
        self = .unknown(String(word.prefix(40)))
        return
      }
      known.insert(coding, at: 0)
    }
    self = known.isEmpty ? .plain : .known(known)
  }

  /// Of the codings that a client takes, those that can be undone.
  static func acceptable(_ values: [[UInt8]]) -> [UInt8] {
    let kept = values.flatMap { $0.split(separator: UInt8(ascii: ",")) }.map(\.withoutBlanks).filter { item in
      let word = String(decoding: item.prefix { $0 != UInt8(ascii: ";") }.withoutBlanks, as: UTF8.self)
      return word.lowercased() == "identity" || ContentCoding(field: word) != nil
    }
    return kept.isEmpty ? Array("identity".utf8) : Array(kept.joined(separator: Array(", ".utf8)))
  }
}

extension MessageHead {
  func values(_ name: StaticString) -> [[UInt8]] { fields.filter { $0.name.span.isText(name) }.map(\.value) }
}
