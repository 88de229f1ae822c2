// How much of a file an answer has, and whether a part of it may be text of a page. Only the beginning of a file says
// whether it is a page, so a part from the middle is judged by its bytes, or by a beginning that was seen before.
// It relies on the upstream's head for where a part stands.
import Content
import Policy
import Wire

enum AnswerExtent: Equatable {
  case whole
  /// A part that has the first byte.
  case opening
  case middle

  /// `asksForBytes`: the request has a range of bytes.
  init(_ head: MessageHead, asksForBytes: Bool) {
    let ranges = head.values("content-range")
    let isPartial = head.status == 206
    guard isPartial || (200..<300).contains(head.status) && !ranges.isEmpty else {
      self = .whole
      return
    }
    let start = ranges.count == 1 ? Self.start(ranges[0]) : nil
    // Rows and items (PostgREST) come as a whole document each time.
    if isPartial, !asksForBytes, ranges.count == 1, start == nil, !Self.hasUnitOfBytes(ranges[0]) {
      self = .whole
    } else if start == 0 {
      self = isPartial ? .opening : .whole
    } else {
      self = .middle
    }
  }

  private static func hasUnitOfBytes(_ value: [UInt8]) -> Bool {
    String(decoding: value.prefix(6), as: UTF8.self).lowercased() == "bytes "
  }

  /// Of `bytes 0-99/900`.
  private static func start(_ value: [UInt8]) -> Int? {
    guard hasUnitOfBytes(value) else { return nil }
    return Int(String(decoding: value.dropFirst(6).prefix { $0 != UInt8(ascii: "-") }, as: UTF8.self))
  }
}

/// Looks at the first bytes of a part from the middle of a file: binary data has control bytes all over, a page has
/// none or few. A text inside of a binary file is taken for text where it is longer than what is looked at.
struct PartSniffer {
  private static let windowBytes = 512
  private static let bytesMax = 64 << 10
  /// One control byte in so many makes a window binary.
  private static let controlDistance = 64

  private var judged = 0

  /// Nil when more must be seen. `bytes` is all that came so far.
  mutating func mayBeText(_ bytes: Span<UInt8>, isLast: Bool) -> Bool? {
    if isLast && bytes.count == 0 { return false }
    while judged < bytes.count {
      let end = min(judged + Self.windowBytes, bytes.count)
      guard end - judged == Self.windowBytes || isLast else { return nil }
      if Self.isBinary(bytes.extracting(judged..<end)) { return false }
      judged = end
    }
    return isLast || judged >= Self.bytesMax ? true : nil
  }

  private static func isBinary(_ window: Span<UInt8>) -> Bool {
    var (controls, even, odd) = (0, Zeros(), Zeros())
    for place in window.indices {
      let byte = window[place]
      if isControl(byte) { controls += 1 }
      if place & 1 == 0 { even.add(byte) } else { odd.add(byte) }
    }
    if even.isOneByteOfTwo(odd) || odd.isOneByteOfTwo(even) { return false }
    if controls * controlDistance >= window.count { return true }
    // So few bytes may have no control byte by chance.
    return window.count < controlDistance && !BodyKind.isUTF8(window.withoutCutCharacter)
  }

  fileprivate static func isControl(_ byte: UInt8) -> Bool {
    byte < 0x20 && byte != 0x09 && byte != 0x0a && byte != 0x0c && byte != 0x0d && byte != 0x1b || byte == 0x7f
  }

  /// Every second byte of a window.
  private struct Zeros {
    var (count, zeros, controls) = (0, 0, 0)

    mutating func add(_ byte: UInt8) {
      count += 1
      if byte == 0 { zeros += 1 } else if isControl(byte) { controls += 1 }
    }

    /// UTF-16 of a western text has a zero in every second place, and letters in the others.
    func isOneByteOfTwo(_ others: Zeros) -> Bool {
      count > 1 && zeros * 10 >= count * 9 && others.zeros * 10 < others.count
        && others.controls * controlDistance < others.count
    }
  }
}

extension Span where Element == UInt8 {
  /// A part may begin inside of a character.
  fileprivate var withoutCutCharacter: [UInt8] {
    var start = 0
    while start < min(3, count), self[start] & 0xc0 == 0x80 { start += 1 }
    return (start..<count).map { self[$0] }
  }
}

/// One version of one file, and whether its client has seen that it does not open like a page.
struct FileOpening {
  private let known: ClientFingerprints
  private let client: String
  private let fingerprint: Int

  /// Nil where the head has nothing that names the version.
  init?(_ head: MessageHead, of request: FilteredRequest, path: [UInt8], in known: ClientFingerprints) {
    let tags = head.values("etag")
    let (version, isStrong) = (tags.first ?? [], tags.count == 1 && tags[0].first == UInt8(ascii: "\""))
    guard isStrong, version.count > 2 else { return nil }
    var text: [UInt8] = []
    request.target.host.append(to: &text)
    text += Array(":\(request.target.port) ".utf8) + path + [0x20] + version
    // The bytes of a coding differ from those of the file.
    for coding in head.values("content-encoding") { text += [0x20] + coding }
    (self.known, client, fingerprint) = (known, request.client, Fingerprint.of(text[...]))
  }

  var isNoPage: Bool { known.has(fingerprint, client: client) }
  func rememberNoPage() { known.add([fingerprint], client: client) }
}
