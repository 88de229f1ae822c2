// Where credentials are put into requests and bodies are looked at: the places of one exchange, in order.
// It relies on nothing of the protocol: a filter sees the same of HTTP/1.1 and HTTP/2.
package import Policy
package import Wire

/// Makes a filter for each request that a rule lets out; nil where the rule wants none.
package protocol FilterSource: AnyObject {
  func filter(for rule: AllowRule, _ request: FilteredRequest) -> (any RequestFilter)?
}

/// What is known of a request before its head is shown.
package struct FilteredRequest: Sendable {
  package var target: Target
  package var client: String
  /// Which request of its connection.
  package var ordinal: UInt32
  /// The request goes out only because report mode refuses nothing.
  package var wouldRefuse: Bool
  package var isReportOnly: Bool

  package init(target: Target, client: String, ordinal: UInt32, wouldRefuse: Bool, isReportOnly: Bool) {
    (self.target, self.client, self.ordinal) = (target, client, ordinal)
    (self.wouldRefuse, self.isReportOnly) = (wouldRefuse, isReportOnly)
  }
}

package enum FilterVerdict: Sendable {
  case pass
  /// Refuse the request, or cut what already flows.
  case refuse(Reason, detail: String?)
  /// Of a head: the request waits, and the head is shown again. Of a piece of a body: it was taken, and what follows
  /// waits;
  /// then the filter is asked again, with what has come meanwhile or with nothing. Whoever knows more has the tunnel
  /// take a turn.
  case wait
  /// Of an answer's body: it ends with this piece, and the rest of it is not wanted.
  case end
  /// The head can go out only when the whole body is known: it is shown again with `body` set, up to so many bytes.
  case collect(bytesMax: Int)
}

/// One request and its answer. All calls come on the loop's thread, and none may block.
package protocol RequestFilter: AnyObject {
  /// The head as it is about to go out, once it has been judged. May change it. With `body` true, chunks follow.
  func requestHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict
  /// In report mode, once the head has passed: enforcing would have refused it, or its body where that is there.
  var wouldRefuseRequest: Bool { get }
  /// The next piece of the body, which may be changed. `isLast` may come with an empty chunk.
  func requestBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict
  /// Fields behind the request's body, where they are passed on.
  func requestTrailers(_ trailers: MessageHead) -> FilterVerdict
  /// Fields of an interim answer (1xx), which may be changed, and pass.
  func interimHead(_ head: inout MessageHead)
  /// The final answer's head.
  func answerHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict
  /// True if the head stays here until something of its body may go out, or all of it is there: until then it can be
  /// refused.
  var holdsAnswerHead: Bool { get }
  /// A head that was held, as it leaves. May change it. A length that stays in it is the length of the body that
  /// leaves; without one the body goes out in chunks, or until the connection ends.
  func answerHeadLeaves(_ head: inout MessageHead)
  func answerBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict
  /// How long after its head an answer may be held back while the upstream sends nothing; nil: for as long as it takes.
  var answerPauseMs: UInt64? { get }
  /// The time is over, and nothing of the upstream waits to be read. Bytes in `chunk`, and a head that was held, leave
  /// now unless the verdict is `wait`.
  func answerPaused(_ chunk: inout [UInt8]) -> FilterVerdict
  /// Behind a 101: whether what the two sides say is to be shown (HTTP/1.1).
  var watchesRelay: Bool { get }
  /// The next bytes of one side, as they go on. A refusal ends the connection.
  func relayed(_ bytes: inout [UInt8], fromClient: Bool) -> FilterVerdict
  /// Fields behind the answer's body, where they are passed on.
  func answerTrailers(_ trailers: inout MessageHead)
  /// True if a body may come out longer or shorter than it went in: then its length is not announced.
  var changesRequestLength: Bool { get }
  var changesAnswerLength: Bool { get }
  /// A person is asked: until then, or until there is an answer, nothing is to be shown to the filter. Whoever answers
  /// has the tunnel take a turn. nil where nobody is asked, or there is an answer.
  func awaitsPersonUntilMs() -> UInt64?
  /// The policy has another rule for the request now: what is no question any more is settled.
  func ruleChanged(to rule: AllowRule?)
  /// True if a request that waits for a person may go on with this filter under that rule.
  func keeps(under rule: AllowRule) -> Bool
  /// The exchange is over, in whatever way; called once.
  func ended()
}

/// A head without the framing of its protocol. Names of fields are in lower case.
package struct MessageHead: Sendable {
  package struct Field: Equatable, Sendable {
    package var name: [UInt8]
    package var value: [UInt8]
    /// Never to be put into a compression table (RFC 7541 section 7.1.3).
    package var isSensitive: Bool
    /// The name as HTTP/1.1 had it, where that is not lower case: what no filter changes goes on as it came.
    fileprivate var spelling: [UInt8] = []

    package init(name: [UInt8], value: [UInt8], isSensitive: Bool = false) {
      (self.name, self.value, self.isSensitive) = (name, value, isSensitive)
    }
  }

  /// Of a request.
  package var method: [UInt8] = []
  /// Path and query of a request.
  package var path: [UInt8] = []
  /// Of an answer.
  package var status = 0
  /// Of an answer in HTTP/1.1.
  package var reason: [UInt8] = []
  /// HTTP/2 keeps no body for a filter that asks to `collect` it.
  package var mayCollect = true
  /// The whole body of a request, where a filter asked to `collect` it.
  package var body: [UInt8]?
  package var fields: [Field] = []

  package init() {}

  package subscript(_ name: StaticString) -> [UInt8]? {
    fields.first { $0.name.span.isText(name) }?.value
  }

  package mutating func remove(_ name: StaticString) { fields.removeAll { $0.name.span.isText(name) } }
}

extension RequestFilter {
  package var wouldRefuseRequest: Bool { false }
  package func requestTrailers(_ trailers: MessageHead) -> FilterVerdict { .pass }
  package var holdsAnswerHead: Bool { false }
  package func answerHeadLeaves(_ head: inout MessageHead) {}
  package func interimHead(_ head: inout MessageHead) {}
  package var watchesRelay: Bool { false }
  package func relayed(_ bytes: inout [UInt8], fromClient: Bool) -> FilterVerdict { .pass }
  package var answerPauseMs: UInt64? { nil }
  package func answerPaused(_ chunk: inout [UInt8]) -> FilterVerdict { .pass }
  package func awaitsPersonUntilMs() -> UInt64? { nil }
  package func ruleChanged(to rule: AllowRule?) {}
  package func keeps(under rule: AllowRule) -> Bool { false }
}

extension MessageHead {
  /// Out of the head that `RequestHead.writeUpstream` or `ResponseHead.writeDownstream` wrote.
  init(http1 bytes: [UInt8]) {
    var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: true).map { $0.dropLast() }
    let first = lines.isEmpty ? [] : lines.removeFirst().split(separator: UInt8(ascii: " "), maxSplits: 2)
    if first.count > 1, first[0].starts(with: "HTTP/".utf8) {
      status = first[1].reduce(0) { $0 * 10 + Int($1 & 0x0f) }
      if first.count > 2 { reason = Array(first[2]) }
    } else if first.count > 1 {
      (method, path) = (Array(first[0]), Array(first[1]))
    }
    readFields(lines)
  }

  /// The fields behind a body in chunks.
  init(trailers bytes: [UInt8]) {
    readFields(bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: true).map { $0.dropLast() })
  }

  private mutating func readFields(_ lines: [ArraySlice<UInt8>]) {
    for line in lines {
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
      let spelled = line[..<colon]
      var field = Field(name: Self.lowercased(spelled), value: line[(colon + 1)...].withoutBlanks)
      if !field.name.elementsEqual(spelled) { field.spelling = Array(spelled) }
      fields.append(field)
    }
  }

  private static func lowercased(_ name: ArraySlice<UInt8>) -> [UInt8] {
    name.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 }
  }

  /// The text of HTTP/1.1. What a filter wrote is held to the grammar: no field of it makes a second one.
  func appendHTTP1(to out: inout [UInt8]) -> Bool {
    guard isWellFormed else { return false }
    if status > 0 {
      out += "HTTP/1.1 \(status) ".utf8
      out += reason
    } else {
      out += method + [0x20] + path
      out.append(" HTTP/1.1")
    }
    out.append("\r\n")
    appendFields(to: &out)
    return true
  }

  /// With the empty line behind them.
  func appendTrailers(to out: inout [UInt8]) -> Bool {
    guard isWellFormed else { return false }
    appendFields(to: &out)
    return true
  }

  private func appendFields(to out: inout [UInt8]) {
    for field in fields {
      // A filter may have changed the name.
      out += Self.lowercased(field.spelling[...]) == field.name ? field.spelling : field.name
      out.append(": ")
      out += field.value
      out.append("\r\n")
    }
    out.append("\r\n")
  }

  var isWellFormed: Bool {
    fields.allSatisfy { field in
      !field.name.isEmpty && field.name.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: ":") }
        && Self.isText(field.value)
    } && path.allSatisfy { $0 > 0x20 && $0 < 0x7f } && method.allSatisfy { $0 > 0x20 && $0 < 0x7f }
      && Self.isText(reason)
  }

  private static func isText(_ value: [UInt8]) -> Bool {
    value.allSatisfy { ($0 >= 0x20 && $0 != 0x7f) || $0 == 0x09 }
  }
}

extension ArraySlice<UInt8> {
  var withoutBlanks: [UInt8] {
    var slice = self
    while let first = slice.first, first == 0x20 || first == 0x09 { slice.removeFirst() }
    while let last = slice.last, last == 0x20 || last == 0x09 { slice.removeLast() }
    return Array(slice)
  }
}
