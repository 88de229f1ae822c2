// One request looked through for secrets on its way out: URL, fields, body. What must not leave is held back or
// refused. It relies on SecretWatch for known shapes and on EchoSearch for the gate's own credentials, of which no copy
// is made.
import Content
import Policy
import Wire

/// A value that the gate has, by its name.
package struct OwnSecret {
  let name: String
  let spelled: [SpelledValue]

  package init(name: String, value: CredentialValue) { (self.name, spelled) = (name, value.spelled) }
}

final class RequestCheck {
  /// What a piece of a body came to.
  struct Seen {
    var findings: [Finding] = []
    /// Why the rest of it is not looked into.
    var unchecked: String?
    /// False: more of what came is to be undone: ask again.
    var isThrough = true
  }

  private let rules: ContentRules
  private let own: [OwnSecret]
  private let blocks: Bool
  /// Tokens that came from the other side, or are made for it.
  private let isIssued: (Finding) -> Bool
  private var body: Body?

  init(
    _ rules: ContentRules, own: [OwnSecret], blocks: Bool, isIssued: @escaping (Finding) -> Bool = { _ in false }
  ) {
    (self.rules, self.own, self.blocks, self.isIssued) = (rules, own, blocks, isIssued)
  }

  // MARK: - The head

  struct Place {
    var finding: Finding
    var place: String
  }

  /// `skipping`: fields that the gate writes itself. Placeholders look like keys, and are none.
  func look(at head: MessageHead, skipping: [[UInt8]], placeholders: [[UInt8]]) -> [Place] {
    var text = head.method
    text.append(0x0a)
    var places = [(end: text.count, name: "method")]
    text += head.path
    text.append(0x0a)
    places.append((text.count, "url"))
    for field in head.fields where !skipping.contains(field.name) {
      text += field.name
      text.append(": ")
      text += field.value
      text.append(0x0a)
      places.append((text.count, "header \(String(decoding: field.name, as: UTF8.self))"))
    }
    for placeholder in placeholders { text.blank(placeholder) }
    return whole(text).map { finding in
      Place(finding: finding, place: places.first { finding.offset < $0.end }?.name ?? "url")
    }
  }

  /// What stands in a text that is there whole.
  func whole(_ text: [UInt8]) -> [Finding] {
    var findings = SecretWatch(rules).append(text.span, isLast: true).filter { !isIssued($0) }
    for secret in own {
      var search = EchoSearch(secret.spelled)
      var copy = text
      search.scrub(&copy, isLast: true)
      if let offset = search.firstOffset { findings.append(secret.finding(at: offset)) }
    }
    return findings
  }

  /// What stands in a message that is there whole.
  func look(at message: [UInt8], placeholders: [[UInt8]]) -> [Finding] {
    var text = message
    for placeholder in placeholders { text.blank(placeholder) }
    return whole(text)
  }

  // MARK: - The body

  /// What the body's fields say decides how it is looked through; why it cannot be, where that is so.
  func begin(_ head: MessageHead) -> String? {
    let kind = BodyKind(contentType: head["content-type"])
    if case .unknown(let name) = kind.characters { return "characters \(name)" }
    if kind.form == .rpc, let coding = head["grpc-encoding"], !coding.elementsEqual("identity".utf8) {
      // Messages say for themselves whether they are compressed.
      body = Body(rules, own, isRPC: true, nil)
      return nil
    }
    let isAWSChunked = head.isAWSChunked
    switch BodyCodings(head, withoutAWSChunks: isAWSChunked) {
    case .plain where isAWSChunked:
      body = Body(rules, own, isRPC: false, try? BodyDecoder([], isAWSChunked: true))  // Needs no memory.
    case .plain: body = Body(rules, own, isRPC: kind.form == .rpc, nil)
    case .unknown(let word): return "coding \(word)"
    case .known(let codings):
      // Without memory for a decoder it cannot be looked into.
      guard let decoder = try? BodyDecoder(codings, isAWSChunked: isAWSChunked) else { return "no memory" }
      body = Body(rules, own, isRPC: false, decoder)
    }
    return nil
  }

  /// Bytes of the body that have come and have not gone on.
  var heldCount: Int { body?.rest.count ?? 0 }

  var windowBytes: Int { body?.decoder?.windowBytes ?? 0 }

  /// The rest of the body is not looked into; what of it is held goes on.
  func giveUp(_ chunk: inout [UInt8]) {
    chunk += body?.rest ?? []
    body = nil
  }

  /// What may go on takes the chunk's place.
  func take(_ chunk: inout [UInt8], isLast: Bool) -> Seen {
    guard var body else { return Seen() }
    self.body = nil
    let seen = body.take(&chunk, isLast: isLast, holdsBack: blocks, isIssued)
    // What could not be looked into is not looked into further on.
    if seen.unchecked != nil { chunk += body.rest } else { self.body = body }
    return seen
  }

  private struct Body {
    /// A coding may come to no text for ever, while what came before might still become a secret.
    private static let heldBytesMax = 2 << 20

    let rules: ContentRules
    let own: [OwnSecret]
    var decoder: BodyDecoder?
    var messages: MessageFrames?
    private var watch: SecretWatch
    private var scrubbers: [EchoSearch]
    /// Bytes of the text that came before the watch.
    private var base = 0
    private var seen = 0
    /// What its text begins with.
    private var firstBytes: [UInt8] = []
    /// Bytes that came and have not gone on, and how many did.
    private var held: [UInt8] = []
    private var gone = 0
    /// Of a compressed body: once so much of its text is settled, so many bytes may go.
    private var marks: [(text: Int, bytes: Int)] = []

    init(_ rules: ContentRules, _ own: [OwnSecret], isRPC: Bool, _ decoder: BodyDecoder?) {
      (self.rules, self.own, self.decoder) = (rules, own, decoder)
      messages = isRPC ? MessageFrames() : nil
      watch = SecretWatch(rules)
      scrubbers = own.map { EchoSearch($0.spelled) }
    }

    var rest: [UInt8] { held }

    mutating func take(
      _ chunk: inout [UInt8], isLast: Bool, holdsBack: Bool, _ isIssued: (Finding) -> Bool
    ) -> Seen {
      let came = chunk
      held += came
      chunk = []
      var result = Seen()
      if decoder == nil {
        result.unchecked = look(at: came, isLast: isLast, &result.findings)
      } else {
        result = undo(came, isLast: isLast)
      }
      result.findings.removeAll(where: isIssued)
      if result.unchecked != nil || !result.findings.isEmpty && holdsBack { return result }
      if result.isThrough { letGo(&chunk, all: isLast || !holdsBack) }
      if held.count > Self.heldBytesMax { result.unchecked = "too much held back" }
      return result
    }

    private mutating func undo(_ came: [UInt8], isLast: Bool) -> Seen {
      var result = Seen()
      decoder?.append(came)
      do throws(DecompressProblem) {
        let (piece, isDone) = try decoder?.next() ?? ([], true)
        result.isThrough = isDone
        result.unchecked = look(at: piece, isLast: isDone && isLast, &result.findings)
        if isDone && isLast { try decoder?.finish() }
      } catch {
        return Seen(
          findings: result.findings, unchecked: error == .tooLarge ? "too dense a coding" : "broken coding")
      }
      guard result.isThrough else { return result }
      if marks.last?.text == seen { marks.removeLast() }
      marks.append((seen, gone + held.count))
      return result
    }

    /// Why it cannot be looked into; nil where it can.
    private mutating func look(at text: [UInt8], isLast: Bool, _ findings: inout [Finding]) -> String? {
      if firstBytes.count < 4 {
        firstBytes += text.prefix(4 - firstBytes.count)
        if BodyKind.opensWide(firstBytes) { return "characters" }
      }
      guard messages != nil else {
        scan(text, isLast: isLast, &findings)
        return nil
      }
      for piece in messages?.split(text) ?? [] {
        if piece.isCompressed { return "compressed messages" }
        scan(Array(text[piece.range]), isLast: piece.isEnd, &findings)
        // Each message is a text: what its end may be the beginning of is not waited for.
        if piece.isEnd {
          findings += watch.append([0x0a].span, isLast: true)
          base -= 1
        }
      }
      return nil
    }

    private mutating func scan(_ text: [UInt8], isLast: Bool, _ findings: inout [Finding]) {
      findings += watch.append(text.span, isLast: isLast)
      seen += text.count
      for index in scrubbers.indices {
        let before = scrubbers[index].count
        var copy = text
        scrubbers[index].scrub(&copy, isLast: isLast)
        if scrubbers[index].count > before { findings.append(own[index].finding(at: seen)) }
      }
    }

    private var settled: Int { min(base + watch.settled, seen - (scrubbers.map(\.heldCount).max() ?? 0)) }

    private mutating func letGo(_ chunk: inout [UInt8], all: Bool) {
      var end = all ? gone + held.count : settled
      if !all && decoder != nil {
        let settled = settled
        end = marks.last { $0.text <= settled }?.bytes ?? gone
        marks.removeAll { $0.bytes <= end }
      }
      let count = max(end - gone, 0)
      chunk = count == held.count ? held : Array(held[..<count])
      held.removeFirst(count)
      gone += count
    }
  }
}

extension OwnSecret {
  fileprivate func finding(at offset: Int) -> Finding {
    Finding(kind: .secret, id: "credential \(name)", offset: offset, length: 0)
  }
}

/// Messages of gRPC as they follow one another: a byte that says whether it is compressed, four of length, the message.
struct MessageFrames {
  struct Piece {
    var range: Range<Int>
    var isCompressed: Bool
    /// The message ends with it.
    var isEnd: Bool
  }

  private var prefix: [UInt8] = []
  private var left = 0

  mutating func split(_ bytes: [UInt8]) -> [Piece] {
    var pieces: [Piece] = []
    var place = 0
    while place < bytes.count {
      let start = place
      while prefix.count < 5, place < bytes.count {
        prefix.append(bytes[place])
        place += 1
        if prefix.count == 5 { left = prefix[1...].reduce(0) { $0 << 8 | Int($1) } }
      }
      let count = prefix.count == 5 ? min(left, bytes.count - place) : 0
      place += count
      left -= count
      let isEnd = prefix.count == 5 && left == 0
      pieces.append(Piece(range: start..<place, isCompressed: prefix[0] & 1 == 1, isEnd: isEnd))
      if isEnd { prefix = [] }
    }
    return pieces
  }
}

extension [UInt8] {
  /// Blanks in the place of each `part`.
  fileprivate mutating func blank(_ part: [UInt8]) {
    var place = 0
    while let first = part.first, let start = self[place...].firstIndex(of: first), start + part.count <= count {
      place = start + 1
      guard self[start..<(start + part.count)].elementsEqual(part) else { continue }
      place = start + part.count
      for index in start..<place { self[index] = 0x20 }
    }
  }
}
