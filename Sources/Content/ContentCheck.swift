// One text through all checks, chunk by chunk: bytes in, bytes that may go on out, findings beside them. Start reading
// here. It relies on TextLayer for what is found and on Editor for what becomes of it; it opens no file and knows no
// clock.
import Wire

public final class ContentCheck {
  /// More findings of one text are only counted.
  public static let findingsMax = 1000
  private static let perPatternMax = 20

  private let rules: ContentRules
  private var page: PageBuffer?
  private var limit: ResponseLimit?
  private var plain: PlainText
  private let layer: TextLayer
  private var editor: Editor
  private var score: InstructionScore
  private var clean: [UInt8] = []
  private var instructions: [Finding] = []
  private var others: [Finding] = []
  private var decisiveCount: Int?
  /// The passages of `instructions`, in bytes of the text as it came.
  package private(set) var passages: [Passage] = []
  /// Findings beyond `findingsMax`.
  public private(set) var findingsDropped = 0
  /// For a person who decides about the text; nil where nobody is asked.
  package private(set) var excerpts: Excerpts?
  /// Text that a page hides is checked, and goes nowhere.
  private var hidden: [UInt8] = []
  private var isFinished = false

  public convenience init(_ rules: ContentRules) { self.init(rules, isLatin: false) }

  /// `isLatin`: the text is windows-1252.
  package init(_ rules: ContentRules, isLatin: Bool) {
    self.rules = rules
    limit = rules.settings.bytesMax.map { ResponseLimit(bytesMax: $0, mode: .cut) }
    page = rules.settings.html == .never ? nil : PageBuffer(rules.settings)
    plain = PlainText(readsStrings: rules.settings.readsStrings, isLatin: isLatin)
    layer = TextLayer(rules, layer: .plain)
    editor = Editor(rules.settings)
    score = InstructionScore(threshold: rules.settings.threshold)
    excerpts = rules.settings.keepsExcerpts ? Excerpts() : nil
  }

  /// True if what reads like instructions weighs enough to count.
  public var isFlagged: Bool { score.isFlagged }
  /// True if all bytes so far are valid in their charset.
  package var isValid: Bool { plain.isValid }
  /// The sum of the weights of the patterns that were found.
  public var instructionScore: Int { score.sum }
  /// True if the text was withheld, wholly or from some place on.
  public var isBlocked: Bool { editor.isCut }

  /// What was found, in the order of the text. Instructions count only in a text that is flagged.
  public var findings: [Finding] {
    (others + (isFlagged ? instructions : [])).sorted { ($0.offset, $0.id) < ($1.offset, $1.id) }
  }

  /// Of a text that is flagged, what it was flagged for: those up to the one that the threshold was met with.
  public var decisiveFindings: [Finding] { Array(instructions[..<(decisiveCount ?? 0)]) }

  /// The next bytes of the text; gives those that may go on now.
  public func append(_ chunk: Span<UInt8>) -> [UInt8] {
    precondition(!isFinished, "nothing follows the end")
    var taken = chunk.count
    if limit != nil { taken = limit?.take(chunk.count) ?? 0 }
    let allowed = chunk.extracting(0..<taken)
    switch page?.append(allowed) {
    case nil: check(allowed, isLast: false)
    case .waits: return []
    case .isNoPage(let bytes):
      page = nil
      check(bytes.span, isLast: false)
    }
    return editor.take(upTo: layer.settled, isFlagged: isFlagged, instructions)
  }

  public func append(_ chunk: [UInt8]) -> [UInt8] { append(chunk.span) }

  /// The end of the text; gives the rest of what may go on.
  public func finish() -> [UInt8] {
    precondition(!isFinished, "a text ends once")
    isFinished = true
    let nothing: [UInt8] = []
    switch page?.finish() {
    case nil: check(nothing.span, isLast: true)
    case .text(let bytes): check(bytes.span, isLast: true)
    case .page(let result):
      report(result)
      checkHidden(result.hidden)
      check(result.visible.span, isLast: true)
    }
    if limit?.isExceeded == true { add(Finding(kind: .limit, id: "max-bytes", offset: editor.end, length: 0)) }
    return editor.finish(isFlagged: isFlagged, instructions, isExceeded: limit?.isExceeded == true)
  }

  private func report(_ page: PageText) {
    if !page.hidden.isEmpty {
      add(Finding(kind: .hiddenText, id: "hidden-text", offset: 0, length: page.hidden.count, layer: .hidden))
    }
    for limit in page.limits { add(Finding(kind: .limit, id: limit, offset: page.visible.count, length: 0)) }
  }

  private func check(_ chunk: Span<UInt8>, isLast: Bool) {
    clean.removeAll(keepingCapacity: true)
    plain.append(chunk, to: &clean)
    if isLast { plain.finish(&clean) }
    editor.append(clean.span)
    excerpts?.append(clean.span)
    layer.append(clean.span, isLast: isLast)
    for hit in layer.takeHits() { see(hit, in: hit.layer) }
  }

  private func checkHidden(_ text: [UInt8]) {
    guard !text.isEmpty else { return }
    if excerpts != nil { hidden = text }
    let layer = TextLayer(rules, layer: .hidden)
    layer.append(text.span, isLast: true)
    // A secret in text that is dropped goes nowhere; an instruction there says what kind of page this is.
    for hit in layer.takeHits() {
      guard case .phrase = hit.what else { continue }
      see(hit, in: .hidden)
    }
    hidden = []
  }

  private func see(_ hit: LayerHit, in layer: Finding.Layer) {
    switch hit.what {
    case .secret(let id):
      add(Finding(kind: .secret, id: id, offset: hit.range.lowerBound, length: hit.range.count, layer: layer))
      if rules.secrets == .block { editor.remove(hit.range, "[secret removed: \(id)]") }
    case .phrase(let number, let isDisguised):
      let pattern = number == PhraseMatcher.tagPattern ? nil : rules.patterns.patterns[number]
      let weight = (pattern?.weight ?? rules.settings.threshold) * (isDisguised ? 2 : 1)
      let id = pattern?.id ?? PatternSet.tagsID
      guard !rules.settings.muted.contains(id) else { return }
      if layer == .hidden {
        excerpts?.found(id, layer, at: hit.range, in: hidden)
      } else {
        excerpts?.found(id, layer, at: hit.range)
      }
      let count = score.add(id, weight)
      guard count <= Self.perPatternMax, instructions.count < Self.findingsMax else {
        findingsDropped += 1
        return
      }
      instructions.append(
        Finding(
          kind: .instruction, id: id, offset: hit.range.lowerBound, length: hit.range.count, layer: layer,
          weight: weight))
      passages.append(
        Passage(
          id: id, range: plain.source(of: hit.range.lowerBound)..<plain.source(of: hit.range.upperBound), layer: layer))
      if isFlagged && decisiveCount == nil { decisiveCount = instructions.count }
    }
  }

  private func add(_ finding: Finding) {
    guard others.count < Self.findingsMax else {
      findingsDropped += 1
      return
    }
    others.append(finding)
  }
}

/// Where a text as it came reads like an instruction.
package struct Passage {
  package var id: String
  package var range: Range<Int>
  package var layer: Finding.Layer
}

/// What the patterns found so far weigh together: each counts once, with the heaviest of its finds.
struct InstructionScore {
  let threshold: Int
  private var weights: [String: Int] = [:]
  private var counts: [String: Int] = [:]
  private(set) var sum = 0

  init(threshold: Int) { self.threshold = threshold }

  var isFlagged: Bool { sum >= threshold }

  /// How often the pattern was found by now.
  mutating func add(_ id: String, _ weight: Int) -> Int {
    let before = weights[id] ?? 0
    if weight > before {
      weights[id] = weight
      sum += weight - before
    }
    counts[id, default: 0] += 1
    return counts[id] ?? 0
  }
}
