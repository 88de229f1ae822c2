// One answer's body through the checks of its rule: undone, counted, and then watched, marked, or made text of.
// It relies on ContentCheck for what is found and on TextMarker for marks; a page is parsed by PagePool, and the answer
// waits for it. Until something is edited, the bytes that leave are those that came, still in their coding.
import Content
import Policy

/// ```
///   body -> codings undone, a piece a turn -> counted -> passing
///                                                     -> watching    held back under `block` and `review`
///                                                      \-> reviewing, and back     a person is asked
///                                                     -> marking     under `annotate`
///                                                     -> sniffing -> one of the others, or
///                                                     -> collecting -> parsing -> over      a page
///
///   leaving:  nothing --- whole, paused, or too long ---> original      the bytes that came
///                                                    \--> edited        text, with marks or of a page
/// ```
final class AnswerCheck {
  enum Work {
    case passing
    case watching(ContentCheck)
    case marking(TextMarker)
    case sniffing
    case collecting
    case parsing(PageJob)
    case reviewing(ReviewedAnswer)
    case over
  }

  enum Leaving { case nothing, original, edited }

  /// What reports and refusals need of the exchange.
  struct Surroundings {
    var held: HeldBytes
    /// nil where nobody can be asked.
    var review: ExchangeReview?
    var isReportOnly: Bool
    /// Path and query of the request.
    var path: [UInt8] = []
    /// Nil where it cannot be remembered, or pages stay as they are.
    var opening: FileOpening?
    var wake: @Sendable () -> Void
    var reporter: ContentReporter
  }

  /// One turn of the loop undoes no more than this of one answer.
  private static let (turnBytesMax, stepBytesMin) = (64 << 10, 8 << 10)
  private static let heldBytesMax = 1 << 20
  private static let pageBytesMax = 4 << 20
  /// A body that is no text is watched this far.
  private static let otherBytesMax = 1 << 20
  /// No client waits longer for a first byte.
  private static let heldMs: UInt64 = 250
  /// The rest of a line follows at once, as a rule.
  private static let lineMs: UInt64 = 50

  let plan: ContentPlan
  let kind: BodyKind
  let facts: AnswerFacts
  private let looksInto: Bool
  let around: Surroundings
  let strips: Bool
  /// Part of what would be a page, if it opens like one.
  let seeksPageOfPart: Bool
  let flags: ContentPolicy.OnInstructions?
  /// A body that cannot be looked into is refused rather than told.
  private let acts: Bool
  let truncates: Bool
  /// The body is sent on, and findings are reported, as they come.
  private var isStream: Bool
  var work = Work.passing
  var leaving = Leaving.original
  private(set) var decoder: BodyDecoder?
  private var limit: ResponseLimit?
  /// The body's coding could not be undone: the rest of it is not looked into.
  private var isUnread = false
  /// As it came, in its coding, while it may still leave so.
  var coded: [UInt8] = []
  /// Text that waits: for what it is, for its verdict, for the rest of its page.
  var text: [UInt8] = []
  var (isPageCut, isPage) = (false, false)
  private(set) var isCutShort = false
  var editedBytes: Int?
  /// Of a person: how many passages may pass, and patterns to be marked.
  var (passed, markedIDs): (Int, [String]) = (0, [])
  private var (reserved, reservedWindow) = (0, 0)
  private var opening = BodyOpening()
  var part = PartSniffer()
  private var hasToldNoText = false
  private var watchedBytes = 0
  let findings: AnswerFindings

  /// `looksInto` false: it is counted, and that is all.
  init(
    _ plan: ContentPlan, _ kind: BodyKind, looksInto: Bool, decoder: BodyDecoder?, _ facts: AnswerFacts,
    _ around: Surroundings
  ) {
    let policy = plan.policy
    (self.plan, self.kind, self.looksInto, self.decoder, self.around) = (plan, kind, looksInto, decoder, around)
    self.facts = facts
    let acting = policy.flagInstructions == .review && around.review == nil ? .block : policy.flagInstructions
    flags = around.isReportOnly && acting != nil ? .log : acting
    strips = policy.stripsHTML && !around.isReportOnly && !facts.isPart
    seeksPageOfPart =
      policy.stripsHTML && !around.isReportOnly && kind.mayOpenLikePage
      && (facts.extent == .opening || facts.extent == .middle && around.opening?.isNoPage != true)
    findings = AnswerFindings(plan.policy, flags, around)
    acts = !around.isReportOnly && (plan.actsOnAnswers || policy.maxResponseBytes != nil)
    isStream = kind.form == .rpc || kind.form == .events && !facts.hasPromises
    limit = policy.maxResponseBytes.map { ResponseLimit(bytesMax: $0, mode: .cut) }
    truncates =
      policy.onTooLarge == .truncate && !around.isReportOnly
      && limit.map { $0.bytesMax < facts.statedBytes ?? .max } ?? false
    if looksInto { chooseWork() }
    if case .passing = work, truncates { leaving = .edited }
  }

  deinit {
    switch work {
    case .parsing(let job): job.abandon()
    // The client, or the upstream, has gone.
    case .watching(let check): findings.report(check)
    case .marking(let marker): findings.report(marker.check)
    default: break
    }
    around.held.release(reserved)
    _ = around.held.reserveWindow(0, &reservedWindow)
  }

  private func chooseWork() {
    switch kind.form {
    case .html where strips: work = .collecting
    case .text where strips, .other where strips, .data where strips && kind.isJSON: work = .sniffing
    case _ where seeksPageOfPart: work = .sniffing
    case .other where flags == .annotate: work = .sniffing
    default: return chooseFlagging(isText: kind.form != .other)
    }
    leaving = .nothing
  }

  func chooseFlagging(isText: Bool) {
    let isLatin = kind.characters == .latin
    switch flags {
    case nil: (work, leaving) = (.passing, .original)
    case .annotate? where isText && !facts.isPart && kind.form != .rpc:
      work = .marking(TextMarker(plan.watched, type: kind.type, name: around.path, isLatin: isLatin))
      leaving = isStream ? .edited : .nothing
    case .annotate? where isText && kind.form != .rpc, .block? where !isStream, .review? where !isStream:
      (work, leaving) = (.watching(ContentCheck(plan.watched, isLatin: isLatin)), .nothing)
    default: (work, leaving) = (.watching(ContentCheck(plan.watched, isLatin: isLatin)), .original)
    }
    if truncates && leaving == .original { leaving = .edited }
  }

  // MARK: - The head

  /// True if the head has to wait until something of the body is known.
  var holdsHead: Bool { leaving == .nothing }
  var isEdited: Bool { leaving == .edited }
  var changesLength: Bool { leaving != .original || truncates }

  /// How long it may be held back while nothing comes; nil: for as long as it takes, as a page is parsed whole.
  var pauseMs: UInt64? {
    switch work {
    case .marking(let marker) where leaving == .edited: marker.isInsideLine ? Self.lineMs : nil
    // The rest of a part is there, and follows.
    case .sniffing where seeksPageOfPart: nil
    case .sniffing, .watching, .marking: leaving == .nothing ? Self.heldMs : nil
    case .passing, .collecting, .parsing, .reviewing, .over: nil
    }
  }

  /// The head as it leaves: what it says of the body is put right.
  func putRight(_ head: inout MessageHead, hasBody: Bool = true) {
    // Of an answer without a body it is not known whether it would have been flagged, but what has the type of a page
    // is one.
    if !hasBody, case .collecting = work { (isPage, leaving) = (true, .edited) }
    if isPage {
      head.remove("content-type")
      head.remove("x-content-type-options")
      head.add("content-type", Array("text/plain; charset=utf-8".utf8))
    }
    switch work {
    case .marking(let marker): findings.say(marker.check, &head)
    case .watching(let check): findings.say(check, &head)
    default: if let check = flagged { findings.say(check, &head) }
    }
    if !markedIDs.isEmpty { AnswerFindings.name(markedIDs, in: &head) }
    if hasBody ? leaving == .edited : isPage { dropPromises(&head) }
    if !hasBody { return }
    if truncates { head.remove("content-length") }
    if let editedBytes { head.add("content-length", Array("\(editedBytes)".utf8)) }
  }

  /// Of a body that is over.
  var flagged: ContentCheck?

  private func dropPromises(_ head: inout MessageHead) {
    AnswerFacts.dropPromises(&head)
    if decoder != nil { head.remove("content-encoding") }
  }

  // MARK: - The body

  func take(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict {
    if isUnread { return .pass }
    let came = chunk
    chunk = []
    switch work {
    case .over: return isCutShort ? .end : .pass
    case .parsing(let job): return parsed(job, &chunk)
    case .reviewing(let reviewed): return goOn(reviewed, came, isLast: isLast, &chunk)
    case .passing, .watching, .marking, .sniffing, .collecting: return goOn(came, isLast: isLast, &chunk)
    }
  }

  /// Of a body that nothing holds up.
  func goOn(_ came: [UInt8], isLast: Bool, _ chunk: inout [UInt8]) -> FilterVerdict {
    var verdict: FilterVerdict
    if decoder == nil {
      verdict = feed(came, &chunk) ?? (isLast ? finish(&chunk) : .pass)
    } else {
      coded += came
      verdict = undo(came, isLast: isLast, &chunk)
    }
    if case .refuse = verdict { return verdict }
    if !settleHeld() { verdict = tooMuch }
    return verdict
  }

  /// Nothing comes: a held answer is a stream from now on, and a line that has not ended goes on.
  func paused(_ out: inout [UInt8]) -> FilterVerdict {
    if leaving == .edited, case .marking(let marker) = work {
      out += marker.flush()
      reportFlag(marker.check)
      return .pass
    }
    if case .sniffing = work, let verdict = sniff([], isLast: true, &out) { return verdict }
    if case .collecting = work { return .wait }
    isStream = true
    switch work {
    case .marking(let marker): release(marker, isPromised: false, &out)
    case .watching(let check):
      if let verdict = verdict(of: check, &out) { return settleHeld() ? verdict : tooMuch }
      if leaving == .nothing { letGo(&out) }
    default: break
    }
    if leaving == .original { out += takeCoded() }
    return settleHeld() ? .pass : tooMuch
  }

  private func undo(_ came: [UInt8], isLast: Bool, _ out: inout [UInt8]) -> FilterVerdict {
    decoder?.append(came)
    var left = Self.turnBytesMax
    do throws(DecompressProblem) {
      while let (piece, isDone) = try decoder?.next() {
        if let verdict = feed(piece, &out) { return verdict }
        if !around.held.reserveWindow(decoder?.windowBytes ?? 0, &reservedWindow) {
          return acts ? tooMuch : passUnread("too much at once", &out)
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
      if isLast && !facts.isPart { try decoder?.finish() }
    } catch {
      let why = error == .tooLarge ? "too dense a coding" : "broken coding"
      if !acts { return passUnread(why, &out) }
      around.reporter.unchecked(why, in: "answer")
      return refuse(error == .tooLarge ? "It expands to more than 200 times its size" : "Its coding is broken")
    }
    if leaving == .original { out += takeCoded() }
    if leaving == .edited { coded = [] }
    return isLast ? finish(&out) : .pass
  }

  private func takeCoded() -> [UInt8] {
    defer { coded = [] }
    return coded
  }

  private func passUnread(_ why: String, _ out: inout [UInt8]) -> FilterVerdict {
    around.reporter.unchecked(why, in: "answer")
    if refusesUnchecked { return refuse("It cannot be looked into: \(why)") }
    if case .watching(let check) = work { findings.report(check) }
    out += takeCoded()
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
      findings.tell(
        [Finding(kind: .limit, id: "max_response_bytes", offset: 0, length: 0)], wouldDeny: around.isReportOnly)
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
    guard looksInto, opening.append(piece) else { return nil }
    if opening.becomesWide() {
      around.reporter.unchecked("characters", in: "answer")
      if acts && plan.actsOnAnswers || refusesUnchecked {
        return refuse("It is UTF-16 or UTF-32, which the gate does not look into")
      }
    }
    if opening.saysWhetherText, let verdict = tellIfNoText() { return verdict }
    // A stream is not waited for: a comment that has only begun makes it a page.
    guard strips, isStream, PageSniffer.looksLikePage(opening.bytes.span, isLast: true) == true else { return nil }
    return refuse("It came as a stream, and opens like a page")
  }

  private var refusesUnchecked: Bool { plan.policy.onUnchecked == .refuse && !around.isReportOnly }
  var isNoText: Bool { opening.isNoText(kind) }

  private func tellIfNoText() -> FilterVerdict? {
    guard looksInto, !hasToldNoText, isNoText, !opening.isWide else { return nil }
    hasToldNoText = true
    around.reporter.unchecked("not text", in: "answer")
    return refusesUnchecked ? refuse("It is no text, and cannot be looked into") : nil
  }

  func look(at piece: [UInt8], _ out: inout [UInt8]) -> FilterVerdict? {
    switch work {
    case .passing, .over, .parsing, .reviewing: send(piece, &out)
    case .watching(let check): return watch(piece, check, &out)
    case .marking(let marker):
      if leaving == .edited {
        out += marker.stream(piece)
      } else {
        marker.append(piece)
        if leaving == .original { send(marker.giveUnmarked(), &out) }
        if marker.heldCount > Self.heldBytesMax { release(marker, isPromised: facts.hasPromises, &out) }
      }
      reportFlag(marker.check)
    case .sniffing: return sniff(piece, isLast: false, &out)
    case .collecting:
      let room = Self.pageBytesMax - text.count
      if piece.count > room { isPageCut = true }
      text += piece.prefix(room)
      coded = []
    }
    return nil
  }

  /// Text that leaves as it is; where it leaves in its coding, `undo` sends that.
  private func send(_ piece: [UInt8], _ out: inout [UInt8]) {
    if decoder == nil || leaving == .edited { out += piece }
  }

  private func watch(_ piece: [UInt8], _ check: ContentCheck, _ out: inout [UInt8]) -> FilterVerdict? {
    let room = isNoText ? Self.otherBytesMax - watchedBytes : piece.count
    if room > 0 { _ = check.append(room < piece.count ? Array(piece[..<room]) : piece) }
    watchedBytes += piece.count
    if leaving == .nothing {
      if decoder == nil || truncates || flags == .review { text += piece }
      // A person sees all that there is of it.
      if flags == .review && watchedBytes <= Self.heldBytesMax { return nil }
    } else {
      send(piece, &out)
    }
    if let verdict = verdict(of: check, &out) { return verdict }
    // What is longer goes on, and is cut where it is flagged.
    if leaving == .nothing && watchedBytes > Self.heldBytesMax { letGo(&out) }
    return nil
  }

  func letGo(_ out: inout [UInt8]) {
    leaving = truncates ? .edited : .original
    if decoder == nil || truncates {
      out += text
      coded = []
    } else {
      out += takeCoded()
    }
    text = []
  }

  /// Before its end: marks may follow where its head has not promised which bytes come.
  private func release(_ marker: TextMarker, isPromised: Bool, _ out: inout [UInt8]) {
    if !isPromised && marker.hasPlaces() && marker.check.isValid || truncates {
      leaving = .edited
      out += marker.giveMarked()
      coded = []
    } else {
      settle(marker, &out)
      if leaving == .edited { editedBytes = nil }
    }
  }

  /// With its marks, where there are some; else as it came.
  private func settle(_ marker: TextMarker, _ out: inout [UInt8]) {
    let marked = marker.giveMarked()
    if marker.hasMarked || truncates {
      (leaving, editedBytes, coded) = (.edited, marked.count, [])
      out += marked
    } else {
      leaving = .original
      out += decoder == nil ? marked : takeCoded()
    }
  }

  // MARK: - The end

  private func finish(_ out: inout [UInt8]) -> FilterVerdict {
    if let verdict = tellIfNoText() { return verdict }
    if case .sniffing = work, let verdict = sniff([], isLast: true, &out) { return verdict }
    switch work {
    case .watching(let check):
      _ = check.finish()
      if let verdict = verdict(of: check, isFinished: true, &out) { return verdict }
      findings.report(check)
      flagged = check
      if leaving == .nothing { letGo(&out) }
    case .marking(let marker):
      if leaving == .edited { out += marker.flush() }
      marker.finish()
      if leaving == .edited { out += marker.giveMarked() }
      if leaving == .nothing { settle(marker, &out) }
      findings.report(marker.check)
      flagged = marker.check
    case .collecting: return parse()
    case .passing, .sniffing, .parsing, .reviewing, .over: break
    }
    if leaving == .original { out += takeCoded() }
    work = .over
    return isCutShort ? .end : .pass
  }

  // MARK: - Verdicts

  private func verdict(of check: ContentCheck, isFinished: Bool = false, _ out: inout [UInt8]) -> FilterVerdict? {
    reportFlag(check)
    guard check.isFlagged else { return nil }
    if flags == .block { return refuse(AnswerFindings.reads(check.decisiveFindings)) }
    guard flags == .review, let excerpts = check.excerpts else { return nil }
    findings.report(check)
    return review(
      ReviewedAnswer(findings: check.findings, excerpts: excerpts, check: check, isFinished: isFinished), &out)
  }

  /// A stream may never end, and tells at once; of other answers all is told together, however they were cut.
  private func reportFlag(_ check: ContentCheck) {
    if isStream || flags == .block { findings.report(check) }
  }

  func refuse(_ detail: String) -> FilterVerdict {
    work = .over
    return .refuse(.contentRefused, detail: detail)
  }

  var tooMuch: FilterVerdict {
    work = .over
    return .refuse(.tooMany, detail: "Too much is held back for the checks of content; ask for less at once")
  }

  /// Accounts for what is held back now; false where it is more than may be held.
  func settleHeld() -> Bool {
    var count = text.count + coded.count
    if case .marking(let marker) = work { count += marker.heldCount }
    if case .parsing(let job) = work { count += job.heldCount }
    if case .reviewing(let reviewed) = work { count += reviewed.came.count }
    if count > reserved {
      guard around.held.reserve(count - reserved) else { return false }
    } else {
      around.held.release(reserved - count)
    }
    reserved = count
    return true
  }
}
