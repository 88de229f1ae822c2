// Two filters as one: the checks of content see a request before its credential is put in, and an answer once that is
// scrubbed. It relies on each of them to bear being shown a head or an empty chunk again.
package import Policy

package final class FilterChain: RequestFilter {
  private let content: any RequestFilter
  private let credential: CredentialFilter

  package init(content: any RequestFilter, credential: CredentialFilter) {
    (self.content, self.credential) = (content, credential)
  }

  package var changesRequestLength: Bool { content.changesRequestLength || credential.changesRequestLength }
  package var changesAnswerLength: Bool { content.changesAnswerLength || credential.changesAnswerLength }
  package var holdsAnswerHead: Bool { content.holdsAnswerHead || credential.holdsAnswerHead }

  package func requestHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict {
    let verdict = content.requestHead(&head, hasBody: hasBody)
    guard case .pass = verdict else { return verdict }
    // Report mode refuses nothing, and so must know first whether enforcing would have.
    if content.wouldRefuseRequest { credential.withhold() }
    return credential.requestHead(&head, hasBody: hasBody)
  }

  package func requestBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict {
    let verdict = content.requestBody(&chunk, isLast: isLast)
    if case .refuse = verdict { return verdict }
    let isWaiting = if case .wait = verdict { true } else { false }
    let other = credential.requestBody(&chunk, isLast: isLast && !isWaiting)
    if case .refuse = other { return other }
    return verdict
  }

  package func requestTrailers(_ trailers: MessageHead) -> FilterVerdict {
    let verdict = content.requestTrailers(trailers)
    guard case .pass = verdict else { return verdict }
    return credential.requestTrailers(trailers)
  }

  package func answerHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict {
    let verdict = credential.answerHead(&head, hasBody: hasBody)
    guard case .pass = verdict else { return verdict }
    return content.answerHead(&head, hasBody: hasBody)
  }

  package func answerHeadLeaves(_ head: inout MessageHead) { content.answerHeadLeaves(&head) }

  package func interimHead(_ head: inout MessageHead) {
    credential.interimHead(&head)
    content.interimHead(&head)
  }

  package var answerPauseMs: UInt64? { content.answerPauseMs }

  package func answerPaused(_ chunk: inout [UInt8]) -> FilterVerdict { content.answerPaused(&chunk) }

  package func answerBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict {
    let verdict = credential.answerBody(&chunk, isLast: isLast)
    guard case .pass = verdict else { return verdict }
    return content.answerBody(&chunk, isLast: isLast)
  }

  package var watchesRelay: Bool { content.watchesRelay || credential.watchesRelay }

  package func relayed(_ bytes: inout [UInt8], fromClient: Bool) -> FilterVerdict {
    let verdict =
      fromClient
      ? content.relayed(&bytes, fromClient: true) : credential.relayed(&bytes, fromClient: false)
    guard case .pass = verdict else { return verdict }
    return fromClient ? credential.relayed(&bytes, fromClient: true) : content.relayed(&bytes, fromClient: false)
  }

  package func answerTrailers(_ trailers: inout MessageHead) {
    credential.answerTrailers(&trailers)
    content.answerTrailers(&trailers)
  }

  package func awaitsPersonUntilMs() -> UInt64? { content.awaitsPersonUntilMs() }
  package func ruleChanged(to rule: AllowRule?) { content.ruleChanged(to: rule) }
  package func keeps(under rule: AllowRule) -> Bool { content.keeps(under: rule) && credential.isFor(rule) }

  package func ended() {
    content.ended()
    credential.ended()
  }
}
