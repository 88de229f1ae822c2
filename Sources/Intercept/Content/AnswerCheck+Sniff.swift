// A body whose first bytes decide about it: a page, a part that may be one of a page, text, or something else.
// It relies on AnswerCheck to hold the head and the bytes back until that is known.
import Content
import Policy

extension AnswerCheck {
  /// Nil: go on.
  func sniff(_ piece: [UInt8], isLast: Bool, _ out: inout [UInt8]) -> FilterVerdict? {
    text += piece
    guard let isPage = seekPage(isLast: isLast) else { return nil }
    // True if it is text takes more of it to say.
    let isKnown =
      kind.form != .other || flags != .annotate || text.count >= BodyOpening.firstBytesMax || isNoText || isLast
    guard isPage || isKnown else { return nil }
    if isPage && facts.isPart { return refusePart() }
    let all = text
    text = []
    if isPage {
      work = .collecting
    } else {
      chooseFlagging(isText: kind.form != .other || !isNoText)
    }
    return look(at: all, &out)
  }

  /// Nil until it is known; of a part from the middle, true where it may be one of a page.
  private func seekPage(isLast: Bool) -> Bool? {
    let text = text
    if seeksPageOfPart && facts.extent == .middle { return part.mayBeText(text.span, isLast: isLast) }
    guard strips || seeksPageOfPart else { return false }
    let isPage = PageSniffer.looksLikePage(text.span)
    if isPage == false { around.opening?.rememberNoPage() }
    return isPage ?? (isLast ? PageSniffer.looksLikePage(text.span, isLast: true) : nil)
  }

  private func refusePart() -> FilterVerdict {
    if kind.form == .other && decoder == nil { around.reporter.unchecked("part of a whole", in: "answer") }
    return refuse(
      facts.extent == .opening
        ? "It is a part of a page; ask for all of it, without Range"
        : "It is a part of a text that may be a page; ask for all of it, without Range")
  }
}
