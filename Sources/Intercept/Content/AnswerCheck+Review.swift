// An answer that a person decides about: asked, waited for, and let through in the way that was chosen.
// It relies on AnswerCheck for what is held, and on ExchangeReview for the question. What has left cannot be held:
// there the answer is broken off, and a decision is for the next one with the same passages.
import Content
import Flow
import Policy

/// What is flagged of an answer.
struct ReviewedAnswer {
  let findings: [Content.Finding]
  let excerpts: Excerpts
  /// nil for a page, whose text is whole.
  let check: ContentCheck?
  /// Nothing of the body follows.
  let isFinished: Bool
  /// What came while it waited.
  var came: [UInt8] = []
}

extension AnswerCheck {
  /// nil: it goes on, and where it was held it has been let through.
  func review(_ reviewed: ReviewedAnswer, _ out: inout [UInt8]) -> FilterVerdict? {
    let count = reviewed.excerpts.digests.count
    guard let review = around.review, count > passed, let digest = reviewed.excerpts.digests.last else { return nil }
    let isHeld = leaving == .nothing
    let answer = review.ask(
      FlaggedContent(.answer, digest: digest), .contentRefused, sheet(of: reviewed, isHeld: isHeld), waits: isHeld)
    switch answer {
    case .waiting:
      work = .reviewing(reviewed)
      return .wait
    case .refused: return refuse(AnswerFindings.reads(reviewed.findings) + answer.detail)
    case .decided(let decision):
      passed = count
      guard isHeld else { return nil }
      return letThrough(decision, reviewed, &out) ? nil : cannotRemove
    }
  }

  /// Asked again, once there may be an answer.
  func goOn(
    _ reviewed: ReviewedAnswer, _ came: [UInt8], isLast: Bool, _ out: inout [UInt8]
  ) -> FilterVerdict {
    guard let answer = around.review?.takeAnswer() else {
      var reviewed = reviewed
      reviewed.came += came
      work = .reviewing(reviewed)
      return settleHeld() ? .wait : tooMuch
    }
    guard case .decided(let decision) = answer else {
      return refuse(AnswerFindings.reads(reviewed.findings) + answer.detail)
    }
    passed = reviewed.excerpts.digests.count
    guard letThrough(decision, reviewed, &out) else { return cannotRemove }
    guard let check = reviewed.check, !reviewed.isFinished else {
      (work, flagged) = (.over, reviewed.check)
      return settleHeld() ? isCutShort ? .end : .pass : tooMuch
    }
    work = .watching(check)
    return goOn(reviewed.came + came, isLast: isLast, &out)
  }

  private var cannotRemove: FilterVerdict {
    refuse("A passage that was to be removed cannot be taken out of its format")
  }

  // MARK: - What a person sees

  private func sheet(of reviewed: ReviewedAnswer, isHeld: Bool) -> ReviewSheet {
    let ids = Set(reviewed.findings.filter { $0.kind == .instruction }.map(\.id)).sorted()
    return ReviewSheet(
      path: ReviewSheet.shape(around.path), place: "answer", found: ids,
      passages: reviewed.excerpts.kept.map {
        ReviewSheet.Passage(
          pattern: $0.id, layer: $0.layer.rawValue, before: $0.before, text: $0.text, after: $0.after)
      }, leftOut: reviewed.excerpts.leftOut, choices: isHeld ? choices : [.release],
      digests: reviewed.excerpts.digests)
  }

  private var choices: [ReviewDecision] { withoutPassages == nil ? [.release, .mark] : [.release, .mark, .remove] }

  // MARK: - What becomes of what is held

  private func letThrough(_ decision: ReviewDecision, _ reviewed: ReviewedAnswer, _ out: inout [UInt8]) -> Bool {
    switch decision {
    case .release:
      if isPage { edit(to: text, isWhole: true, &out) } else { letGo(&out) }
    case .mark:
      markedIDs = Set(reviewed.findings.filter { $0.kind == .instruction }.map(\.id)).sorted()
      let marker = TextMarker(plan.watched, type: textType, name: textName, isLatin: isLatin)
      marker.append(text)
      if reviewed.isFinished { marker.finish() }
      let marked = marker.giveMarked()
      if !marker.hasMarked && !isPage && !truncates {
        letGo(&out)
      } else {
        edit(to: marked, isWhole: reviewed.isFinished, &out)
      }
    case .remove:
      guard let left = withoutPassages else { return false }
      edit(to: left, isWhole: reviewed.isFinished, &out)
    }
    return true
  }

  func edit(to edited: [UInt8], isWhole: Bool, _ out: inout [UInt8]) {
    (leaving, editedBytes) = (.edited, isWhole ? edited.count : nil)
    (coded, text) = ([], [])
    out += edited
  }

  private var withoutPassages: [UInt8]? {
    PassageRemoval.text(text, without: plan.watched, type: textType, name: textName, isLatin: isLatin)
  }

  /// A page is plain text by then.
  private var textType: String { isPage ? "text/plain" : kind.type }
  private var textName: [UInt8] { isPage ? [] : around.path }
  private var isLatin: Bool { !isPage && kind.characters == .latin }
}
