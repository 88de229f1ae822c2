// A page that is there whole: parsed by the pool, and what comes back in its place.
// It relies on AnswerCheck for the page's bytes; nothing of it leaves before its text is known.
import Content
import Policy

extension AnswerCheck {
  func parse() -> FilterVerdict {
    isPage = true
    let characters = PageCharacters.of(text, stated: kind)
    if case .unknown(let name) = characters {
      around.reporter.unchecked("characters \(name)", in: "answer")
      return refuse("The checks of its rule cannot look into it: characters \(name)")
    }
    let job = PageJob(plan.page, page: text, isLatin: characters == .latin, wake: around.wake)
    text = []
    guard around.held.submit(job) else { return tooMuch }
    work = .parsing(job)
    return .wait
  }

  func parsed(_ job: PageJob, _ out: inout [UInt8]) -> FilterVerdict {
    guard let result = job.takeResult() else { return .wait }
    var findings = result.findings
    if isPageCut { findings.append(Finding(kind: .limit, id: "page-too-large", offset: result.text.count, length: 0)) }
    self.findings.tell(findings, wouldDeny: result.isFlagged && self.findings.wouldBlock)
    if result.isFlagged && flags == .block { return refuse(AnswerFindings.reads(findings)) }
    text = result.text
    if result.isFlagged, flags == .review, let excerpts = result.excerpts {
      let reviewed = ReviewedAnswer(findings: findings, excerpts: excerpts, check: nil, isFinished: true)
      if let verdict = review(reviewed, &out) { return settleHeld() ? verdict : tooMuch }
    }
    if leaving == .nothing { edit(to: text, isWhole: true, &out) }
    work = .over
    return settleHeld() ? isCutShort ? .end : .pass : tooMuch
  }
}
