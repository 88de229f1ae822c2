// One text under all checks at once: phrases, keys, given secrets; and below it the text that its base64 decodes to.
// It relies on the scanners keeping their own state, so that any cut of the text into chunks finds the same.

/// A hit in bytes of the layer's own source.
struct LayerHit {
  enum What {
    case phrase(pattern: Int, isDisguised: Bool)
    case secret(String)
  }

  var what: What
  var range: Range<Int>
  var layer: Finding.Layer
  /// Of a secret, as in `Finding`.
  var fingerprint = 0
  var audiences: [Int] = []
}

final class TextLayer {
  /// Base64 in base64 is still looked into, but no deeper.
  private static let depthMax = 2
  /// A private key is not longer; what goes on is not held back for its end.
  private static let pemBytesMax = 6 * 1024
  private static let pemBegin = Array("-----BEGIN ".utf8)
  private static let pemLineBytesMax = 40 + NeedleTable.pemMark.utf8.count

  private let rules: ContentRules
  private let depth: Int
  private let layer: Finding.Layer
  private var window = Window()
  private var unescape: Unescape
  private var words = WordScanner()
  private var matcher: PhraseMatcher
  private var runs = RunScanner()
  private var needleNext = 0
  private var hits: [LayerHit] = []
  /// Where a private key began that has not ended.
  private var pemStart: Int?
  /// The first run of what may become a JSON web token, and the end of its last run.
  private var token: (start: Int, end: Int, parts: Int)?
  private var decoder = Base64Decoder()
  private var block: (start: Int, end: Int)?
  private var below: TextLayer?
  private var decoded: [UInt8] = []

  init(_ rules: ContentRules, layer: Finding.Layer, depth: Int = 0) {
    self.rules = rules
    self.layer = layer
    self.depth = depth
    unescape = Unescape(dropsInvisible: rules.flagInstructions == .off)
    matcher = PhraseMatcher(rules.patterns.table)
  }

  func append(_ chunk: Span<UInt8>, isLast: Bool = false) {
    unescape.append(chunk, to: &window, isLast: isLast) { scan(&$0, isLast: false) }
    if isLast { scan(&window, isLast: true) }
  }

  /// What was found since the last call.
  func takeHits() -> [LayerHit] {
    defer { hits = [] }
    return hits
  }

  /// Up to here the source can hold no secret that is not found yet.
  var settled: Int {
    var place = window.end
    if rules.secrets != .off {
      place = min(place, window.end - rules.needles.openBytes(window.bytes.span), runs.openFrom)
      place = min(place, pemStart ?? pemOpening)
      if let token { place = min(place, token.start) }
      if let block { place = min(place, max(block.start, window.end - Window.historyBytes)) }
    }
    return window.source(of: max(place, 0))
  }

  private func scan(_ window: inout Window, isLast: Bool) {
    if rules.flagInstructions != .off {
      words.scan(window.bytes.span, base: window.base, isLast: isLast, &matcher)
      for hit in matcher.hits { report(hit, window) }
      matcher.hits = []
    }
    if rules.secrets != .off {
      rules.needles.scan(window.bytes.span, base: window.base, next: &needleNext) { needle, range in
        found(needle, range, window)
      }
      if let start = pemStart, isLast || window.end - start > Self.pemBytesMax { endPEM(window.end, window) }
    }
    var runs: [Run] = []
    self.runs.scan(window.bytes.span, base: window.base, isLast: isLast, &runs)
    for run in runs { look(at: run, window) }
    if let token, isLast || self.runs.openFrom > token.end + 1 { endToken(token, window) }
    if let block, isLast || self.runs.openFrom - block.end > Self.blockGapMax { endBlock(window) }
    collect(window)
  }

  private static let blockGapMax = 32

  private func report(_ hit: PhraseHit, _ window: Window) {
    let range = hit.start..<hit.end
    let source = window.source(of: hit.start)..<window.source(of: hit.end)
    var isDisguised = layer == .base64 || source.count >= 2 * range.count
    if hit.pattern >= 0, rules.patterns.isPlain(hit.pattern), window.has(range) {
      isDisguised =
        isDisguised || Disguise.isLikely(window.bytes.span, (hit.start - window.base)..<(hit.end - window.base))
    }
    hits.append(LayerHit(what: .phrase(pattern: hit.pattern, isDisguised: isDisguised), range: source, layer: layer))
  }

  private func secret(_ id: String, _ range: Range<Int>, _ window: Window) {
    let source = window.source(of: range.lowerBound)..<window.source(of: range.upperBound)
    var hit = LayerHit(what: .secret(id), range: source, layer: layer)
    if window.has(range) {
      let value = (range.lowerBound - window.base)..<(range.upperBound - window.base)
      hit.fingerprint = Fingerprint.of(window.bytes[value])
      if id == TokenShape.id { hit.audiences = TokenShape.audiences(window.bytes[value]) }
    }
    hits.append(hit)
  }

  // MARK: Private keys

  private func found(_ needle: NeedleTable.Needle, _ range: Range<Int>, _ window: Window) {
    guard needle.id == NeedleTable.pemMark else { return secret(needle.id, range, window) }
    if pemStart != nil { return endPEM(range.upperBound, window) }
    // `-----BEGIN RSA PRIVATE KEY-----`: the name of the algorithm stands between.
    for start in stride(from: range.lowerBound - Self.pemBegin.count, through: range.lowerBound - 40, by: -1) {
      let end = start + Self.pemBegin.count
      guard window.has(start..<end) else { return }
      if (0..<Self.pemBegin.count).allSatisfy({ window[start + $0] == Self.pemBegin[$0] }) {
        pemStart = start
        return
      }
    }
  }

  /// Where the line that a private key opens with may have begun; else the end.
  private var pemOpening: Int {
    for start in max(window.end - Self.pemLineBytesMax, window.base)..<window.end where opensPEM(start) { return start }
    return window.end
  }

  private func opensPEM(_ start: Int) -> Bool {
    for (offset, byte) in Self.pemBegin.enumerated() {
      if start + offset == window.end { return true }
      if window[start + offset] != byte { return false }
    }
    // The name of an algorithm, and what the mark begins with.
    return (start + Self.pemBegin.count..<window.end).allSatisfy { window[$0] >= 0x20 && window[$0] < 0x61 }
  }

  private func endPEM(_ end: Int, _ window: Window) {
    if let pemStart { secret("private-key", pemStart..<end, window) }
    pemStart = nil
  }

  // MARK: Runs

  private func look(at run: Run, _ window: Window) {
    let range = (run.start - window.base)..<(run.end - window.base)
    precondition(range.lowerBound >= 0, "a run is no longer than the history")
    if rules.secrets != .off {
      let isKnown = SecretShape.find(window.bytes.span, range) { kind, place in
        secret(kind, (place.lowerBound + window.base)..<(place.upperBound + window.base), window)
      }
      if !isKnown { lookForToken(run, range, window) }
    }
    decodeOther(run, range, window)
    decode(run, range, window)
  }

  /// Base32 and hexadecimal digits, each run for itself.
  private func decodeOther(_ run: Run, _ range: Range<Int>, _ window: Window) {
    guard rules.secrets != .off, depth < Self.depthMax, let text = OtherBases.decode(window.bytes.span, range) else {
      return
    }
    let inner = TextLayer(rules, layer: .base64, depth: depth + 1)
    inner.append(text.span, isLast: true)
    for hit in inner.takeHits() {
      guard case .secret = hit.what else { continue }
      var hit = hit
      hit.range = window.source(of: run.start)..<window.source(of: run.end)
      hits.append(hit)
    }
  }

  /// A JSON web token is three runs with dots between; anything else that looks random needs a word before it.
  private func lookForToken(_ run: Run, _ range: Range<Int>, _ window: Window) {
    if let open = token {
      if run.start == open.end + 1, window[open.end] == UInt8(ascii: ".") {
        token = (open.start, run.end, open.parts + 1)
        return
      }
      endToken(open, window)
    }
    let bytes = window.bytes.span
    if let start = TokenShape.start(bytes, range) {
      token = (start + window.base, run.end, 1)
    } else if run.count >= 20, run.count <= 512, !run.continues,
      rules.settings.findsAllRandom || SecretContext.precedes(bytes, range.lowerBound),
      Randomness.isRandom(bytes, range), !Example.isLikely(bytes, range)
    {
      secret("random-value", run.start..<run.end, window)
    }
  }

  private func endToken(_ token: (start: Int, end: Int, parts: Int), _ window: Window) {
    if token.parts >= 3 { secret(TokenShape.id, token.start..<token.end, window) }
    self.token = nil
  }

  // MARK: Base64

  private func decode(_ run: Run, _ range: Range<Int>, _ window: Window) {
    guard depth < Self.depthMax else { return }
    if let open = block {
      if run.continues {
        block = (open.start, run.end)
      } else {
        endBlock(window)
      }
    }
    if block == nil {
      guard run.count >= Base64Decoder.lettersMin, Base64Decoder.isWorthwhile(window.bytes.span, range) else { return }
      block = (run.start, run.end)
    }
    decoded.removeAll(keepingCapacity: true)
    decoder.decode(window.bytes.span, range, offset: run.start, into: &decoded)
    let below = below ?? TextLayer(rules, layer: .base64, depth: depth + 1)
    self.below = below
    below.append(decoded.span)
    collect(window)
  }

  private func endBlock(_ window: Window) {
    guard block != nil else { return }
    block = nil
    below?.append([0x0a].span, isLast: true)
    collect(window)
    decoder.skipByte()
    decoder.restart()
  }

  /// What was found below stands where it was encoded.
  private func collect(_ window: Window) {
    guard let below else { return }
    for hit in below.takeHits() where !hit.range.isEmpty {
      let place = decoder.source(of: hit.range)
      let source = window.source(of: place.lowerBound)..<window.source(of: min(place.upperBound, window.end))
      var hit = hit
      (hit.range, hit.layer) = (source, .base64)
      hits.append(hit)
    }
  }
}

/// True if text that reads as plain ASCII words is written with something else.
enum Disguise {
  static func isLikely(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
    var odd = 0
    var characters = 0
    var singles = 0
    for place in range {
      let byte = bytes[place]
      // A character of two or more bytes counts once; a digit between letters is leet.
      if byte & 0xc0 == 0x80 { continue }
      characters += 1
      if byte >= 0x80 || (0x30...0x39).contains(byte) || byte == UInt8(ascii: "@") || byte == UInt8(ascii: "$") {
        odd += 1
      }
      let isAlone =
        place > range.lowerBound && place + 1 < range.upperBound && !bytes[place - 1].isAlphanumeric
        && !bytes[place + 1].isAlphanumeric
      if byte.isAlphanumeric && isAlone { singles += 1 }
    }
    return odd >= 3 && odd * 8 >= characters || singles * 3 >= characters
  }
}
