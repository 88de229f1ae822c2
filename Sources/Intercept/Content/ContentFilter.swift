// The checks of content of one request and its answer, as a filter: secrets on the way out, pages and instructions on
// the way
// back. It relies on RequestCheck and AnswerCheck for the looking; here is what is asked of the upstream, and what is
// refused.
import Content
import Policy
import Wire

package final class ContentFilter: RequestFilter {
  /// Of 64 KiB, as BodyDecoder gives them.
  private static let wholePiecesMax = 64
  private static let collectedBytesMax = 1 << 20

  let plan: ContentPlan
  let request: FilteredRequest
  private let around: ContentSurroundings
  let outgoing: RequestCheck?
  private let reporter: ContentReporter
  let review: ExchangeReview?
  /// Digests of secrets that a person has let out, and of those that are asked about.
  var (released, asked): (Set<Int>, [Int]) = ([], [])
  /// Bytes of the request's body that came, or were looked through, while a person was asked.
  var heldBody: [UInt8] = []
  /// Why the rest of the body is not looked into, where a person is asked about what came before.
  private var heldUnchecked: String?
  /// The body has been looked through to its end.
  private var isBodySeen = false
  private let issued: IssuedTokenWatch?
  private var answer: AnswerCheck?
  private var (hasLookedAtUpgrade, hasLookedAtHead, hasTakenBody, hasLookedAtBody) = (false, false, false, false)
  private var hasPassedHead = false
  /// Messages of a WebSocket; in HTTP/2 (RFC 8441) they are the body of its stream.
  private var messages: WebSocketMessages?
  private var isWebSocketStream = false
  private var isHEAD = false
  private var (asksForPart, asksForBytes) = (false, false)
  private(set) var path: [UInt8] = []
  private var toldOfRequest: Set<String> = []
  /// Report mode let it out.
  package private(set) var wouldRefuseRequest = false
  /// What of the request is held back, as it is accounted for.
  private var reserved = 0
  private var reservedWindow = 0

  package init(_ plan: ContentPlan, _ request: FilteredRequest, _ around: ContentSurroundings) {
    (self.plan, self.request, self.around) = (plan, request, around)
    reporter = ContentReporter(ordinal: request.ordinal, tell: around.report)
    review =
      plan.policy.asksPeople && !request.isReportOnly ? around.review.map { ExchangeReview($0, request) } : nil
    let tokens = around.held.issued
    var host: [UInt8] = []
    request.target.host.append(to: &host)
    let (client, name) = (request.client, Fingerprint.of(host[...]))
    issued = plan.policy.secrets == nil ? nil : IssuedTokenWatch(tokens, client: client, plan.issued)
    outgoing = plan.policy.secrets.map { mode in
      RequestCheck(plan.outgoing, own: around.own, blocks: mode != .log && !request.isReportOnly) { finding in
        IssuedTokenWatch.mayBeIssued(finding.id)
          && (finding.audiences.contains(name) || tokens.has(finding.fingerprint, client: client))
      }
    }
  }

  package var changesRequestLength: Bool { false }
  package var changesAnswerLength: Bool { answer?.changesLength ?? false }
  package var holdsAnswerHead: Bool { answer?.holdsHead ?? false }

  // MARK: - Out

  package func requestHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict {
    isHEAD = head.method.elementsEqual("HEAD".utf8)
    asksForPart = head["range"] != nil
    asksForBytes = head["range"].map { String(decoding: $0.prefix(6), as: UTF8.self).lowercased() } == "bytes="
    path = head.path
    if let verdict = answeredByPerson() { return verdict }
    // A head may be shown again, for a credential that was waited for.
    if !hasLookedAtHead, let refusal = lookAtHead(head, hasBody: hasBody) { return refusal }
    hasLookedAtHead = true
    if let body = head.body, !hasLookedAtBody, let refusal = lookAtWhole(body) { return refusal }
    if mustCollect(head, hasBody: hasBody) { return .collect(bytesMax: Self.collectedBytesMax) }
    hasPassedHead = true
    // Compressed frames could not be looked into; where they are only logged, the request stays as it is.
    if messages != nil, blocksSecrets { head.remove("sec-websocket-extensions") }
    guard blocksAnswers else { return .pass }
    let accepted = head.values("accept-encoding")
    if !accepted.isEmpty {
      head.remove("accept-encoding")
      head.add("accept-encoding", BodyCodings.acceptable(accepted))
    }
    return .pass
  }

  /// In report mode a body is looked at before a key goes with its head, where it is small enough to be kept.
  private func mustCollect(_ head: MessageHead, hasBody: Bool) -> Bool {
    guard hasBody, head.body == nil, head.mayCollect, around.hasCredential, !wouldRefuseRequest,
      request.isReportOnly && plan.policy.stopsSecrets,
      let stated = head["content-length"].flatMap({ Int(String(decoding: $0, as: UTF8.self)) })
    else { return false }
    return stated <= Self.collectedBytesMax
  }

  private func lookAtHead(_ head: MessageHead, hasBody: Bool) -> FilterVerdict? {
    isWebSocketStream = head.method.elementsEqual("CONNECT".utf8)
    let isUpgrade = isWebSocketStream || head.values("upgrade").contains { !$0.isEmpty }
    if isUpgrade, !hasLookedAtUpgrade, let refusal = lookAtUpgrade() { return refusal }
    hasLookedAtUpgrade = true
    guard let outgoing else { return nil }
    let places = outgoing.look(
      at: head, skipping: around.fieldsOfTheGate, placeholders: around.placeholders.texts)
    if let verdict = told(places.map { ($0.finding, "request \($0.place)") }, mayWait: true) { return verdict }
    if hasBody, !isWebSocketStream, let why = outgoing.begin(head) {
      return unchecked(why, "request body", blocks: blocksSecrets, .secretRefused)
    }
    return nil
  }

  /// Messages of a WebSocket are looked through for secrets, and for nothing else.
  private func lookAtUpgrade() -> FilterVerdict? {
    let acts = plan.actsOnAnswers || plan.policy.maxResponseBytes != nil
    if acts { return unchecked("websocket", "answer", blocks: !request.isReportOnly, .contentRefused) }
    if outgoing != nil { messages = WebSocketMessages() }
    // What comes back is not looked into, and nothing would have been done about it.
    return plan.looksIntoAnswers ? unchecked("websocket", "answer", blocks: false, .contentRefused) : nil
  }

  package var watchesRelay: Bool { messages != nil }

  package func relayed(_ bytes: inout [UInt8], fromClient: Bool) -> FilterVerdict {
    guard fromClient, let outgoing else { return .pass }
    switch messages?.take(bytes) {
    case nil: return .pass
    case .texts(let texts, let released):
      for text in texts {
        let findings = outgoing.look(at: text, placeholders: around.placeholders.texts)
        if let refusal = told(findings.map { ($0, "request message") }, mayWait: false) { return refusal }
      }
      guard blocksSecrets else { return .pass }
      bytes = released
      return reserve(messages?.waiting.count ?? 0) ? .pass : tooMuch
    case .tooLarge: return unreadMessages("a message of more than 1 MiB")
    case .unreadable: return unreadMessages("compressed or malformed frames")
    }
  }

  /// What follows is not looked into either.
  private func unreadMessages(_ why: String) -> FilterVerdict {
    messages = nil
    return unchecked(why, "request message", blocks: blocksSecrets, .secretRefused) ?? .pass
  }

  private var blocksSecrets: Bool { plan.policy.stopsSecrets && !request.isReportOnly }

  package func requestBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict {
    if isWebSocketStream { return relayed(&chunk, fromClient: true) }
    guard let outgoing else { return .pass }
    if let verdict = answeredByPerson() {
      heldBody += chunk
      chunk = []
      return reserve(outgoing.heldCount + heldBody.count) ? verdict : tooMuch
    }
    chunk = heldBody + chunk
    heldBody = []
    if let why = heldUnchecked, let refusal = unchecked(why, "request body", blocks: blocksSecrets, .secretRefused) {
      return refusal
    }
    if isBodySeen {
      outgoing.giveUp(&chunk)
      return .pass
    }
    let seen = outgoing.take(&chunk, isLast: isLast)
    if let verdict = verdict(on: seen, isLast: isLast) {
      (heldBody, chunk) = (chunk, [])
      return reserve(outgoing.heldCount + heldBody.count) ? verdict : tooMuch
    }
    guard !blocksSecrets || reserve(outgoing.heldCount) else { return tooMuch }
    if !around.held.reserveWindow(outgoing.windowBytes, &reservedWindow) {
      if let refusal = unchecked("too much at once", "request body", blocks: blocksSecrets, .tooMany) { return refusal }
      outgoing.giveUp(&chunk)
      return .pass
    }
    if seen.isThrough { return .pass }
    around.wake()
    return .wait
  }

  private var tooMuch: FilterVerdict {
    .refuse(.tooMany, detail: "Too much is held back for the checks of content; send less at once")
  }

  private func reserve(_ count: Int) -> Bool {
    if count > reserved, !around.held.reserve(count - reserved) { return false }
    if count < reserved { around.held.release(reserved - count) }
    reserved = count
    return true
  }

  /// nil: it goes on. `isLast`: nothing of the body follows what was seen.
  private func verdict(on seen: RequestCheck.Seen, isLast: Bool) -> FilterVerdict? {
    if let verdict = told(seen.findings.map { ($0, "request body") }, mayWait: true) {
      if case .wait = verdict { (isBodySeen, heldUnchecked) = (isLast && seen.isThrough, seen.unchecked) }
      return verdict
    }
    return seen.unchecked.flatMap { unchecked($0, "request body", blocks: blocksSecrets, .secretRefused) }
  }

  /// A body that is there whole; what it comes to is bounded, as it is undone in one turn.
  private func lookAtWhole(_ body: [UInt8]) -> FilterVerdict? {
    guard let outgoing else { return nil }
    var chunk = hasTakenBody ? [] : body
    (hasTakenBody, hasLookedAtBody) = (true, true)
    for _ in 0..<Self.wholePiecesMax where !isBodySeen {
      let seen = outgoing.take(&chunk, isLast: true)
      if let verdict = verdict(on: seen, isLast: true) {
        if case .wait = verdict { hasLookedAtBody = false }
        return verdict
      }
      if seen.isThrough { return nil }
      chunk = []
    }
    if isBodySeen {
      return heldUnchecked.flatMap { unchecked($0, "request body", blocks: blocksSecrets, .secretRefused) }
    }
    return unchecked("too dense a coding", "request body", blocks: blocksSecrets, .secretRefused)
  }

  package func requestTrailers(_ trailers: MessageHead) -> FilterVerdict {
    guard let outgoing else { return .pass }
    let places = outgoing.look(at: trailers, skipping: [], placeholders: around.placeholders.texts)
    return told(places.map { ($0.finding, "request trailers") }, mayWait: false) ?? .pass
  }

  /// Each kind once a place, however often it is there; the refusal, where it blocks. `mayWait`: none of it has left.
  private func told(_ found: [(finding: Finding, place: String)], mayWait: Bool) -> FilterVerdict? {
    guard let first = found.first else { return nil }
    let new = found.filter { toldOfRequest.insert("\($0.finding.id) \($0.place)").inserted }
    for (finding, place) in new {
      reporter.found([finding], in: place, wouldDeny: request.isReportOnly && plan.policy.stopsSecrets)
    }
    if wouldRefuse(!new.isEmpty) {
      return .refuse(
        .secretRefused, detail: "A key of the gate went with its head, and what looks like a secret follows")
    }
    guard blocksSecrets else { return nil }
    if plan.policy.secrets == .review, let review { return ask(review, found, mayWait: mayWait) }
    return .refuse(.secretRefused, detail: Self.reads(first))
  }

  static func reads(_ found: (finding: Finding, place: String)) -> String {
    "What looks like a secret (\(found.finding.id)) stands in its \(found.place.dropFirst(8))"
  }

  /// True where report mode cannot let it go on: it has a key of the gate with it already, and enforcing would end it
  /// here.
  private func wouldRefuse(_ isFound: Bool) -> Bool {
    guard isFound, request.isReportOnly, plan.policy.stopsSecrets else { return false }
    defer { wouldRefuseRequest = true }
    return hasPassedHead && around.hasCredential && !wouldRefuseRequest
  }

  private func unchecked(_ why: String, _ place: String, blocks: Bool, _ reason: Reason) -> FilterVerdict? {
    reporter.unchecked(why, in: place)
    if place.hasPrefix("request"), wouldRefuse(true) {
      return .refuse(
        reason, detail: "A key of the gate went with its head, and what follows cannot be looked into: \(why)")
    }
    guard blocks || plan.policy.onUnchecked == .refuse && !request.isReportOnly else { return nil }
    return .refuse(reason, detail: "The checks of its rule cannot look into it: \(why)")
  }

  // MARK: - Back

  package func answerHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict {
    issued?.look(at: head, hasBody: hasBody)
    head.keepFirst("content-type")
    let hasNone = head.status == 204 || head.status == 304
    guard (hasBody || isHEAD) && !hasNone else { return .pass }
    let facts = AnswerFacts(head, asksForBytes: asksForBytes)
    let kind = BodyKind(contentType: head["content-type"])
    let codings = BodyCodings(head)
    if let refusal = tooLong(facts.statedBytes, codings) { return refusal }
    var looksInto = plan.looksIntoAnswers
    if looksInto, let why = whatHidesIt(head, kind, codings, facts) {
      if let refusal = unchecked(why, "answer", blocks: blocksAnswers, .contentRefused) { return refusal }
      looksInto = false
    }
    let opening = plan.policy.stripsHTML ? FileOpening(head, of: request, path: path, in: around.held.openings) : nil
    if looksInto, facts.isPart {
      let isNoPage = opening?.isNoPage == true
      if let refusal = lookAtPart(kind, &looksInto, codings, facts, isNoPage: isNoPage) { return refusal }
    }
    var decoder: BodyDecoder?
    // Without its beginning a coding cannot be undone.
    if looksInto, facts.extent != .middle, case .known(let codings) = codings {
      do throws(DecompressProblem) { decoder = try BodyDecoder(codings) } catch {
        return .refuse(.tooMany, detail: "No memory to look into it")
      }
    }
    let check = AnswerCheck(
      plan, kind, looksInto: looksInto, decoder: decoder, facts,
      AnswerCheck.Surroundings(
        held: around.held, review: plan.policy.flagInstructions == .review ? review : nil,
        isReportOnly: request.isReportOnly, path: path, opening: opening, wake: around.wake, reporter: reporter))
    if hasBody {
      answer = check
      if !check.holdsHead { check.putRight(&head) }
    } else {
      check.putRight(&head, hasBody: false)
    }
    return .pass
  }

  /// A part of what is no text passes. Of a text, what lies across two parts is not found, and a page is no page in
  /// parts. Whether a part may be one of a page that its type hides, AnswerCheck sees by its bytes.
  private func lookAtPart(
    _ kind: BodyKind, _ looksInto: inout Bool, _ codings: BodyCodings, _ facts: AnswerFacts, isNoPage: Bool
  ) -> FilterVerdict? {
    let (isCoded, isInParts) = (codings != .plain, kind.type == "multipart/byteranges")
    if kind.form == .other && !isCoded && !isInParts { return nil }
    let isPage = plan.policy.stripsHTML && (kind.form == .html || isInParts && !isNoPage)
    let isHidden = isCoded && kind.form != .other
    if isCoded { looksInto = !isHidden && (facts.extent == .opening || plan.policy.stripsHTML) }
    return unchecked("part of a whole", "answer", blocks: blocksAnswers && (isPage || isHidden), .contentRefused)
  }

  /// Known before anything of it is read. What is compressed is counted as it comes out.
  private func tooLong(_ stated: Int?, _ codings: BodyCodings) -> FilterVerdict? {
    guard let stated, let most = plan.policy.maxResponseBytes, stated > most, plan.policy.onTooLarge == .cut,
      !request.isReportOnly
    else { return nil }
    reporter.found([Finding(kind: .limit, id: "max_response_bytes", offset: 0, length: 0)], in: "answer")
    return .refuse(.contentRefused, detail: "It has \(stated) bytes, and the limit is \(most)")
  }

  /// Why it cannot be looked into; nil where it can.
  private func whatHidesIt(_ head: MessageHead, _ kind: BodyKind, _ codings: BodyCodings, _ facts: AnswerFacts)
    -> String?
  {
    if head.status == 206, facts.isPart, !asksForPart { return "part of a whole" }
    if case .unknown(let name) = kind.characters { return "characters \(name)" }
    if kind.form == .rpc, let coding = head["grpc-encoding"], !coding.elementsEqual("identity".utf8) {
      return "compressed messages"
    }
    if case .unknown(let name) = codings { return "coding \(name)" }
    return nil
  }

  private var blocksAnswers: Bool { plan.actsOnAnswers && !request.isReportOnly }

  package func answerHeadLeaves(_ head: inout MessageHead) { answer?.putRight(&head) }

  package var answerPauseMs: UInt64? { answer?.pauseMs }

  package func answerPaused(_ chunk: inout [UInt8]) -> FilterVerdict { answer?.paused(&chunk) ?? .pass }

  package func answerBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict {
    issued?.look(at: chunk, isLast: isLast)
    return answer?.take(&chunk, isLast: isLast) ?? .pass
  }

  /// Digests there are of the bytes that came.
  package func answerTrailers(_ trailers: inout MessageHead) {
    if answer?.isEdited == true { AnswerFacts.dropPromises(&trailers) }
  }

  /// A page that is being parsed is not waited for.
  package func ended() {
    answer = nil
    heldBody = []
    review?.withdraw()
    _ = reserve(0)
    _ = around.held.reserveWindow(0, &reservedWindow)
  }
}

extension MessageHead {
  /// Two of them are read in two ways.
  fileprivate mutating func keepFirst(_ name: StaticString) {
    var isFirst = true
    fields.removeAll { field in
      guard field.name.span.isText(name) else { return false }
      defer { isFirst = false }
      return !isFirst
    }
  }
}
