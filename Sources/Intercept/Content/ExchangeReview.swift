// The questions of one exchange to a person, about what was flagged in its request or its answer: one at a time.
// It relies on ReviewDesk for the registry; the content itself stays where it is held, and its bytes never come here.
import Flow
import Policy

final class ExchangeReview {
  private struct Question {
    let subject: ApprovalSubject
    let reason: Reason
    let sheet: ReviewSheet
  }

  private let desk: any ReviewDesk
  private let request: FilteredRequest
  private var asked: Question?
  /// There is an answer, which has not been taken.
  private var answer: ReviewAnswer?

  init(_ desk: any ReviewDesk, _ request: FilteredRequest) { (self.desk, self.request) = (desk, request) }

  /// From the question to when its answer is taken.
  var isAsking: Bool { asked != nil }
  var askedKind: FlaggedContent.Kind? { asked?.subject.content?.kind }
  /// Patterns, or kinds of secrets.
  var askedFound: [String] { asked?.sheet.found ?? [] }

  /// `waits` false: the content is not held; a decision is for the next attempt.
  func ask(_ content: FlaggedContent, _ reason: Reason, _ sheet: ReviewSheet, waits: Bool) -> ReviewAnswer {
    let question = Question(
      subject: ApprovalSubject(request.target, content: content), reason: reason, sheet: sheet)
    let answer = ask(question, waits: waits)
    if case .waiting = answer { (asked, self.answer) = (question, nil) }
    return answer
  }

  private func ask(_ question: Question, waits: Bool) -> ReviewAnswer {
    desk.ask(
      question.subject, question.reason, question.sheet, client: request.client, ordinal: request.ordinal, waits: waits)
  }

  /// nil where nobody is asked, or there is an answer.
  func awaitsUntilMs() -> UInt64? {
    guard let asked, answer == nil else { return nil }
    let now = ask(asked, waits: true)
    if case .waiting(_, let untilMs) = now { return untilMs }
    answer = now
    return nil
  }

  /// nil while there is none.
  func takeAnswer() -> ReviewAnswer? {
    guard isAsking, awaitsUntilMs() == nil else { return nil }
    defer { (asked, answer) = (nil, nil) }
    return answer
  }

  /// A reload has settled the question.
  func settle(_ answer: ReviewAnswer) {
    guard isAsking, self.answer == nil else { return }
    desk.withdraw(ordinal: request.ordinal)
    self.answer = answer
  }

  /// The exchange is over.
  func withdraw() {
    if isAsking, answer == nil { desk.withdraw(ordinal: request.ordinal) }
    (asked, answer) = (nil, nil)
  }
}

extension ReviewAnswer {
  /// For the refused client: whether a person was asked, and under which number.
  var detail: String {
    switch self {
    case .refused(let id?): "; no person let it through (\(id))"
    case .refused(nil): "; no person was asked, as too many questions wait"
    case .waiting, .decided: ""
    }
  }
}
