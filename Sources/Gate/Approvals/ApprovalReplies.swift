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
      if let grant = decision.grant { members.append(JSONMember("for", .text(grant.text))) }
      if decision.isGiven { members.append(JSONMember("given", .bool(true))) }
      if decision.isAlways { members.append(JSONMember("always", .bool(true))) }
    }
    if hasRule { members.append(JSONMember("rule", .text("approval:\(id)"))) }
    if let end { members.append(JSONMember("expires", .text(Timestamp.text(end)))) }
    return .object(members)
  }

  /// The rule that an approval would make, in the words of the policy file.
  package var allows: String { ApprovedRule(id: id, scope: key.subject.scope).text }
}
