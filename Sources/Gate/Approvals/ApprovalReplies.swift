// An entry of the approvals as the admin socket says it: docs/approvals.md names each member.
// It relies on JSON to escape what a hostile client wrote; whoever shows it escapes it for the screen.
import Flow
import Kernel
import Policy
import Wire

extension ApprovalEntry {
  /// `hasRule`: the approval lets something out now. `end`: of that rule, in Unix seconds.
  func json(_ now: ApprovalRegistry.Time, hasRule: Bool = false, end: Int64? = nil) -> JSONValue {
    let subject = key.subject
    var members = [
      JSONMember("id", .text(id)), JSONMember("client", .text(key.client)), JSONMember("state", .text(state.rawValue)),
      JSONMember("via", .text(via)), JSONMember("host", .text("\(subject.target.host)")),
      JSONMember("port", .number(Int(subject.target.port))),
    ]
    if let request = subject.request {
      members += [JSONMember("method", .text(request.method)), JSONMember("path", .text(request.path))]
    }
    if let content = subject.content {
      members.append(JSONMember("content", .text(content.kind.rawValue)))
      members += sheet?.members ?? []
    }
    members += [
      JSONMember("reason", .text(reason.rawValue)), JSONMember("allows", .text(decision?.text ?? allows)),
      JSONMember("count", .number(count)), JSONMember("waiting", .number(waiting)),
      JSONMember("asked", .text(Timestamp.text(askedUnixMs / 1000))),
      JSONMember("age_ms", .number(Int(clamping: now.unixMs - askedUnixMs))),
    ]
    if state == .waiting {
      members.append(JSONMember("left_ms", .number(Int(clamping: untilMs - min(untilMs, now.ms)))))
    }
    if let note { members.append(JSONMember("note", .text(note))) }
    if let decision {
      members.append(JSONMember("by", .text(decision.by)))
      if let word = decision.grant?.text ?? decision.review?.rawValue { members.append(JSONMember("for", .text(word))) }
      if decision.isGiven { members.append(JSONMember("given", .bool(true))) }
      if decision.isAlways { members.append(JSONMember("always", .bool(true))) }
    }
    if hasRule { members.append(JSONMember("rule", .text("approval:\(id)"))) }
    if let end { members.append(JSONMember("expires", .text(Timestamp.text(end)))) }
    return .object(members)
  }

  /// The rule that an approval would make, in the words of the policy file.
  package var allows: String {
    guard let content = key.subject.content else { return ApprovedRule(id: id, scope: key.subject.scope).text }
    let found = (sheet?.found ?? []).joined(separator: ", ")
    let words = content.kind == .answer ? "an answer of" : "a request to"
    return "\(words) \(key.subject.target) with \(found)"
  }
}

extension ReviewSheet {
  private static let excerptBytesMax = 240

  /// The beginning of it, for a list.
  fileprivate var members: [JSONMember] {
    var members = [
      JSONMember("found", .list(found.map { .text($0) })), JSONMember("place", .text(place)),
      JSONMember("choices", .list(choices.map { .text($0.rawValue) } + [.text("refuse")])),
    ]
    if let path { members.append(JSONMember("path", .text(path))) }
    if let first = passages.first {
      let text = first.before.suffix(Self.excerptBytesMax / 4) + first.text + first.after
      members.append(JSONMember("excerpt", .text(text.prefix(Self.excerptBytesMax).wholeText)))
    }
    return members
  }
}

extension ReviewSheet.Passage {
  var json: JSONValue {
    .object([
      JSONMember("pattern", .text(pattern)), JSONMember("layer", .text(layer)),
      JSONMember("before", .text(before[...].wholeText)), JSONMember("text", .text(text[...].wholeText)),
      JSONMember("after", .text(after[...].wholeText)),
    ])
  }
}

extension ArraySlice<UInt8> {
  /// Characters that the slice has whole: it may have been cut within the first one, and the last.
  fileprivate var wholeText: String {
    let start = drop { $0 & 0xc0 == 0x80 }
    var end = start
    while let last = end.last, last & 0xc0 == 0x80 { end = end.dropLast() }
    if let last = end.last, last >= 0xc0 {
      let length = last >= 0xf0 ? 4 : last >= 0xe0 ? 3 : 2
      if start.count - end.count + 1 == length { end = start } else { end = end.dropLast() }
    } else {
      end = start
    }
    return String(decoding: end, as: UTF8.self)
  }
}
