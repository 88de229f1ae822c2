// One answer's body through the checks of its rule: undone, counted, and then watched, marked, or made text of.
// It relies on ContentCheck for what is found; a page is parsed by PagePool, and the answer waits for it.
import Content
import Policy

/// ```
///   body -> codings undone, a piece a turn -> counted -> passing
///                                                     -> watching    as it is; held back under `block`
///                                                     -> marking     under `annotate`
///                                                     -> sniffing -> one of the others, or
///                                                     -> collecting -> parsing -> over      a page
/// ```
final class AnswerCheck {
  private enum Work {
    case passing
    case watching(ContentCheck)
    case marking(ContentCheck)
    case sniffing
    case collecting
    case parsing(PageJob)
    case over
  }

  /// What reports and refusals need of the exchange.
  struct Surroundings {
    var held: HeldBytes
    var isReportOnly: Bool
    var wake: @Sendable () -> Void
    var reporter: ContentReporter
  }

  /// One turn of the loop undoes no more than this of one answer.
  private static let turnBytesMax = 64 << 10
  private static let stepBytesMin = 8 << 10
  private static let heldBytesMax = 1 << 20
  private static let pageBytesMax = 4 << 20
  /// So much says whether it is text.
  private static let firstBytesMax = 512
  /// What is no text is watched this far.
  private static let otherBytesMax = 1 << 20

  private let plan: ContentPlan
  private let kind: BodyKind
  private let looksInto: Bool
  private let around: Surroundings
  private let strips: Bool
  private let isStream: Bool
  private let flags: ContentPolicy.OnInstructions?
  private var work = Work.passing
  private var decoder: BodyDecoder?
  private var limit: ResponseLimit?
  /// It goes on coded, as it came, since nothing would be done about what is found.
  private let passesCoded: Bool
  /// Its coding could not be undone: the rest of it is not looked into.
  private var isUnread = false
  private var isCutShort = false
  /// A page, or what may become one.
  private var collected: [UInt8] = []
  private var isPageCut = false
  private var isPage = false
  /// An answer under `block`, before its verdict.
  private var held: [UInt8] = []
  private var holds: Bool
  private var reserved = 0
  private var reservedWindow = 0
  private var firstBytes: [UInt8] = []
  private var opensWide = false
  private var watchedBytes = 0
  private var told: Set<Finding> = []

  /// Whether the head has to wait until something of the body is known.
  private(set) var holdsHead = false
  private(set) var changesLength = false

  /// `looksInto` false: it is counted, and that is all.
  init(
    _ plan: ContentPlan, _ kind: BodyKind, looksInto: Bool, decoder: BodyDecoder?, statedBytes: Int?,
    _ around: Surroundings
  ) {
    let policy = plan.policy
    (self.plan, self.kind, self.looksInto, self.decoder, self.around) = (plan, kind, looksInto, decoder, around)
    let flags = around.isReportOnly && policy.flagInstructions != nil ? .log : policy.flagInstructions
    self.flags = flags
    strips = policy.stripsHTML && !around.isReportOnly
    passesCoded =
      decoder != nil && (around.isReportOnly || !plan.actsOnAnswers && policy.maxResponseBytes == nil)
    isStream = kind.form == .events || kind.form == .rpc
    holds = flags == .block && !isStream
    limit = policy.maxResponseBytes.map { ResponseLimit(bytesMax: $0, mode: .cut) }
    if looksInto { chooseWork() }
    let truncates = policy.onTooLarge == .truncate && limit.map { $0.bytesMax < statedBytes ?? .max } ?? false
    changesLength = decoder != nil && !passesCoded || truncates && !around.isReportOnly
    switch work {
    case .passing, .over, .parsing: break
    case .watching: holdsHead = holds
    case .marking:
      holdsHead = !isStream
      changesLength = true
    case .sniffing, .collecting:
      holdsHead = true
      changesLength = true
    }
  }

  deinit {
    switch work {
    case .parsing(let job): job.abandon()
    // Its client, or its upstream, has gone.
    case .watching(let check), .marking(let check): report(check)
    default: break
    }
    around.held.release(reserved)
    _ = around.held.reserveWindow(0, &reservedWindow)
  }

  private func chooseWork() {
    switch kind.form {
    case .html where strips: work = .collecting
    case .text where strips, .other where strips: work = .sniffing
    case .data where strips && kind.isJSON: work = .sniffing
    case .other where flags == .annotate: work = .sniffing
    default: chooseFlagging(isText: false)
    }
  }

  /// `isText`: of what is not said to be.
  private func chooseFlagging(isText: Bool) {
    switch (flags, kind.form) {
    case (nil, _): work = .passing
    case (.annotate?, .text), (.annotate?, .html): work = .marking(ContentCheck(plan.marked))
    case (.annotate?, .data): work = .marking(ContentCheck(plan.markedData))
    case (.annotate?, .events): work = .marking(ContentCheck(plan.markedStream))
    case (.annotate?, .other) where isText: work = .marking(ContentCheck(plan.marked))
    default: work = .watching(ContentCheck(plan.watched))
    }
  }

  // MARK: - The head

  /// The head as it leaves: what it says of the body is put right.
  func putRight(_ head: inout MessageHead) {
    var isChanged = decoder != nil && !passesCoded
    if isChanged { head.remove("content-encoding") }
    switch work {
    case .marking: isChanged = true
    default: isChanged = isChanged || isPage
    }
    // Of an answer without a body it is not known whether it would have been a page.
    if case .collecting = work { isPage = true }
    if isPage {
      head.remove("content-type")
      head.add("content-type", Array("text/plain; charset=utf-8".utf8))
    } else if case .marking = work, kind.characters == .latin, let type = head["content-type"] {
      head.remove("content-type")
      head.add("content-type", type.prefix { $0 != UInt8(ascii: ";") } + Array("; charset=utf-8".utf8))
    }
    guard isChanged || isPage else { return }
    for name in Self.ofTheBytes { head.remove(name) }
  }

  /// Fields that are about the very bytes of the body.
  private static let ofTheBytes: [StaticString] = [
    "etag", "content-md5", "digest", "content-digest", "repr-digest", "accept-ranges", "x-content-type-options",
  ]

  // MARK: - The body

  func take(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict {
    if isUnread { return .pass }
    let came = chunk
    chunk = []
    switch work {
    case .over: return isCutShort ? .end : .pass
    case .parsing(let job): return parsed(job, &chunk)
    default: break
    }
    guard decoder != nil else {
      return feed(came, &chunk) ?? (isLast ? finish(&chunk) : .pass)
    }
    if passesCoded {
      var text: [UInt8] = []
      let verdict = undo(came, isLast: isLast, &text)
      chunk = came
      return verdict
    }
    return undo(came, isLast: isLast, &chunk)
  }

  private func undo(_ came: [UInt8], isLast: Bool, _ out: inout [UInt8]) -> FilterVerdict {
    decoder?.append(came)
    var left = Self.turnBytesMax
    do throws(DecompressProblem) {
      while let (piece, isDone) = try decoder?.next() {
        if let verdict = feed(piece, &out) { return verdict }
        if !around.held.reserveWindow(decoder?.windowBytes ?? 0, &reservedWindow) {
          if !passesCoded { return tooMuch }
          return passUnread("too much at once")
        }
        // Where a coding stands on another, a step may have come to nothing.
        left -= max(piece.count, Self.stepBytesMin)
        if isDone { break }
        if left <= 0 {
          // Others have their turn first.
          around.wake()
          return .wait
        }
      }
      if isLast { try decoder?.finish() }
    } catch {
      return undoingFailed(error)
    }
    return isLast ? finish(&out) : .pass
  }

  private func undoingFailed(_ problem: DecompressProblem) -> FilterVerdict {
    let why = problem == .tooLarge ? "too dense a coding" : "broken coding"
    if passesCoded { return passUnread(why) }
    around.reporter.unchecked(why, in: "answer")
    return refuse(problem == .tooLarge ? "It expands to more than 200 times its size" : "Its coding is broken")
  }

  private func passUnread(_ why: String) -> FilterVerdict {
    around.reporter.unchecked(why, in: "answer")
    if case .watching(let check) = work { report(check) }
    (isUnread, work, decoder) = (true, .over, nil)
    _ = around.held.reserveWindow(0, &reservedWindow)
    return .pass
  }

  /// nil: go on.
  private func feed(_ piece: [UInt8], _ out: inout [UInt8]) -> FilterVerdict? {
    if piece.isEmpty { return nil }
    if let verdict = lookAtFirst(piece) { return verdict }
    var piece = piece
    if let allowed = limit?.take(piece.count), allowed < piece.count {
      tell([Finding(kind: .limit, id: "max_response_bytes", offset: 0, length: 0)], wouldDeny: around.isReportOnly)
      if around.isReportOnly {
        limit = nil
      } else if plan.policy.onTooLarge == .cut {
        return refuse("It is longer than \(plan.policy.maxResponseBytes ?? 0) bytes, which is the limit")
      } else {
        isCutShort = true
        piece.removeLast(piece.count - allowed)
      }
    }
    if let verdict = look(at: piece, &out) { return verdict }
    return isCutShort ? finish(&out) : nil
  }

  /// UTF-16 and its like begin with a mark, whatever the type says.
  private func lookAtFirst(_ piece: [UInt8]) -> FilterVerdict? {
    guard looksInto, firstBytes.count < Self.firstBytesMax else { return nil }
    firstBytes += piece.prefix(Self.firstBytesMax - firstBytes.count)
    if !opensWide, BodyKind.opensWide(firstBytes) {
      opensWide = true
      around.reporter.unchecked("characters", in: "answer")
      if plan.actsOnAnswers && !around.isReportOnly {
        return refuse("It is UTF-16 or UTF-32, which the gate does not look into")
      }
    }
    if firstBytes.count == Self.firstBytesMax { tellIfNoText() }
    guard strips && isStream, case true? = PageSniffer.looksLikePage(firstBytes.span) else { return nil }
    return refuse("It is said to be a stream, and opens like a page")
  }

  private func tellIfNoText() {
    guard looksInto, kind.form == .other, !BodyKind.looksLikeText(firstBytes), !opensWide else { return }
    around.reporter.unchecked("not text", in: "answer")
  }

  private func look(at piece: [UInt8], _ out: inout [UInt8]) -> FilterVerdict? {
    switch work {
    case .passing, .over, .parsing: out += piece
    case .watching(let check): return watch(piece, check, &out)
    case .marking(let check):
      let text = kind.characters == .latin ? Latin.utf8(piece) : piece
      let marked = check.append(text)
      out += marked
      if !hold(text.count - marked.count) { return tooMuch }
      reportFlag(check)
    case .sniffing: return sniff(piece, isLast: false, &out)
    case .collecting:
      let room = Self.pageBytesMax - collected.count
      if piece.count > room { isPageCut = true }
      if !hold(min(piece.count, room)) { return tooMuch }
      collected += piece.prefix(room)
    }
    return nil
  }

  private func watch(_ piece: [UInt8], _ check: ContentCheck, _ out: inout [UInt8]) -> FilterVerdict? {
    let room = kind.form == .other ? Self.otherBytesMax - watchedBytes : piece.count
    if room > 0 {
      let text = room < piece.count ? Array(piece[..<room]) : piece
      _ = check.append(kind.characters == .latin ? Latin.utf8(text) : text)
    }
    watchedBytes += min(room, piece.count)
    if holds {
      if !hold(piece.count) { return tooMuch }
      held += piece
    } else {
      out += piece
    }
    if let verdict = verdict(of: check) { return verdict }
    // What is longer goes on, and is cut where it is flagged.
    if holds && held.count > Self.heldBytesMax { letGo(&out) }
    return nil
  }

  private func letGo(_ out: inout [UInt8]) {
    holds = false
    out += held
    hold(-held.count)
    held = []
  }

  private func sniff(_ piece: [UInt8], isLast: Bool, _ out: inout [UInt8]) -> FilterVerdict? {
    collected += piece
    guard let isPage = strips ? PageSniffer.looksLikePage(collected.span, isLast: isLast) : false else { return nil }
    // Whether it is text takes more of it to say.
    let isKnown = kind.form != .other || flags != .annotate || collected.count >= Self.firstBytesMax || isLast
    guard isPage || isKnown else { return nil }
    let all = collected
    collected = []
    if isPage { work = .collecting } else { chooseFlagging(isText: BodyKind.looksLikeText(all)) }
    return look(at: all, &out)
  }

  // MARK: - The end

  private func finish(_ out: inout [UInt8]) -> FilterVerdict {
    if firstBytes.count < Self.firstBytesMax { tellIfNoText() }
    if case .sniffing = work, let verdict = sniff([], isLast: true, &out) { return verdict }
    switch work {
    case .watching(let check):
      _ = check.finish()
      if let verdict = verdict(of: check) { return verdict }
      report(check)
      letGo(&out)
    case .marking(let check):
      out += check.finish()
      report(check)
    case .collecting: return parse()
    case .passing, .sniffing, .parsing, .over: break
    }
    work = .over
    return isCutShort ? .end : .pass
  }

  private func parse() -> FilterVerdict {
    isPage = true
    let job = PageJob(plan.page, page: collected, isLatin: kind.characters == .latin, wake: around.wake)
    collected = []
    guard around.held.submit(job) else { return tooMuch }
    work = .parsing(job)
    return .wait
  }

  private func parsed(_ job: PageJob, _ out: inout [UInt8]) -> FilterVerdict {
    guard let result = job.takeResult() else { return .wait }
    work = .over
    var findings = result.findings
    if isPageCut { findings.append(Finding(kind: .limit, id: "page-too-large", offset: result.text.count, length: 0)) }
    tell(findings, wouldDeny: result.isFlagged && wouldBlock)
    if result.isFlagged && flags == .block { return refuse(Self.reads(findings)) }
    out += result.text
    return isCutShort ? .end : .pass
  }

  // MARK: - Verdicts

  private func verdict(of check: ContentCheck) -> FilterVerdict? {
    reportFlag(check)
    return check.isFlagged && flags == .block ? refuse(Self.reads(check.decisiveFindings)) : nil
  }

  /// A stream may never end, and tells at once; of other answers all is told together, however they were cut.
  private func reportFlag(_ check: ContentCheck) {
    if isStream || flags == .block { report(check) }
  }

  /// What has not been told yet.
  private func report(_ check: ContentCheck) {
    guard check.isFlagged else { return }
    // What stands behind the place where it is refused is not read.
    let findings = flags == .block ? check.decisiveFindings : check.findings
    tell(findings.filter { told.insert($0).inserted }, wouldDeny: wouldBlock)
  }

  private var wouldBlock: Bool { around.isReportOnly && plan.policy.flagInstructions == .block }

  private func tell(_ findings: [Finding], wouldDeny: Bool) {
    around.reporter.found(findings, in: "answer", wouldDeny: wouldDeny)
  }

  private static func reads(_ findings: [Finding]) -> String {
    let ids = Set(findings.filter { $0.kind == .instruction }.map(\.id)).sorted().prefix(5)
    return "It reads like instructions to an agent (\(ids.joined(separator: ", ")))"
  }

  private func refuse(_ detail: String) -> FilterVerdict {
    work = .over
    return .refuse(.contentRefused, detail: detail)
  }

  private var tooMuch: FilterVerdict {
    work = .over
    return .refuse(.tooMany, detail: "Too much is held back for the checks of content; ask for less at once")
  }

  /// False where it would be more than may be held.
  @discardableResult
  private func hold(_ count: Int) -> Bool {
    if count < 0 {
      let given = min(-count, reserved)
      around.held.release(given)
      reserved -= given
      return true
    }
    guard around.held.reserve(count) else { return false }
    reserved += count
    return true
  }
}
